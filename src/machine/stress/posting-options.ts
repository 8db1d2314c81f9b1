import type { PostingBug } from "../../hypervisor/posting/faults.ts";
import type { DriverName } from "../configuration.ts";

/** A stress of interrupt posting, all values checked. Rates are per second of the machine's time; a cycle is a nanosecond. */
export interface PostingOptions {
  /** LPs that run vCPUs. */
  readonly lps: number;
  readonly vcpus: number;
  readonly devices: number;
  /** Vectors in use. */
  readonly vectors: number;
  /** Posts per second of each poster; `Infinity`: as fast as it can. */
  readonly rate: number;
  /** Posts after which a run ends, or `Infinity`. */
  readonly posts: number;
  /** Seconds of the machine's time after which it ends, or `Infinity`. */
  readonly seconds: number;
  /** Disturbances per second: of all vCPUs or LPs together; halts of each vCPU. */
  readonly migrate: number;
  readonly halt: number;
  readonly preempt: number;
  readonly affinity: number;
  /** Emulated interrupt lines raised, and device messages that the VT-d unit must block, per second; deterministic driver. */
  readonly lines: number;
  readonly blocked: number;
  readonly ipiVirtualization: boolean;
  /** The hypervisor posts too, not only devices and guests. */
  readonly hypervisorPosts: boolean;
  /** Guests send IPIs. */
  readonly guestPosts: boolean;
  /** The first vCPU sends too; else it only receives. */
  readonly firstPosts: boolean;
  /** The part of device interrupts that are urgent, 0 to 1. */
  readonly urgent: number;
  readonly driver: DriverName;
  /** Invariants that are watched, by number; undefined: all. */
  readonly check: readonly number[] | undefined;
  readonly bug: PostingBug | undefined;
  readonly cpuModel: string;
}

export const postingDefaults: Omit<PostingOptions, "cpuModel"> = {
  lps: 2,
  vcpus: 3,
  devices: 1,
  vectors: 16,
  rate: 500_000,
  posts: 10_000,
  seconds: Number.POSITIVE_INFINITY,
  migrate: 10_000,
  halt: 20_000,
  preempt: 10_000,
  affinity: 10_000,
  lines: 50_000,
  blocked: 20_000,
  ipiVirtualization: false,
  hypervisorPosts: true,
  guestPosts: true,
  firstPosts: true,
  urgent: 0,
  driver: "deterministic",
  check: undefined,
  bug: undefined,
};
