import { eptBytes, largePageBytes } from "../vmx/guest-memory.ts";
import type { VcpuPages } from "../vmx/vmcs.ts";

const pageBytes = 4096;
/** A cache line. */
const lineBytes = 64;
/** VMCS, virtual-APIC page, and a page for the descriptor and the hypervisor's own words. */
const pagesPerVcpu = 3;
/** Within a vCPU's third page: the word that a halt poll looks at when interrupts are not posted. */
const wakeWordOffset = 0x100;

/** Where everything of the hypervisor and its guests lies in physical memory. */
export interface MemoryPlan {
  /** VMXON region of each LP. */
  readonly vmxonRegions: readonly number[];
  /** A word of each LP, on a line of its own, that it looks at while it waits for another LP. */
  readonly waitWords: readonly bigint[];
  readonly msrBitmaps: number;
  /** Pointers to descriptors by virtual APIC id, a page for each VM. */
  readonly pidTables: readonly number[];
  /** Tables of the second stage, by VM. */
  readonly eptTables: readonly number[];
  /** Memory of each VM: one large page. */
  readonly guests: readonly number[];
  readonly vcpus: readonly VcpuPages[];
  /** The registers of devices that are passed through: a large page, its first word the doorbell. */
  readonly devices: number;
  /** First byte behind it all. */
  readonly end: number;
}

/** Most that a plan can need, wherever it begins: for the size of the machine's memory. */
export const plannedBytes = (lps: number, vms: number, vcpus: number): number =>
  (lps + 1 + vms + vcpus * pagesPerVcpu) * pageBytes +
  waitWordBytes(lps) +
  vms * eptBytes +
  (vms + 3) * largePageBytes;

const waitWordBytes = (lps: number): number => Math.ceil((lps * lineBytes) / pageBytes) * pageBytes;

/** @param from first byte that is free */
export function planMemory(from: number, lps: number, vms: number, vcpus: number): MemoryPlan {
  let at = Math.ceil(from / pageBytes) * pageBytes;
  const take = (bytes: number): number => {
    at += bytes;
    return at - bytes;
  };
  const many = (count: number, bytes: number): number[] =>
    Array.from({ length: count }, () => take(bytes));
  const vmxonRegions = many(lps, pageBytes);
  const waitWords = take(waitWordBytes(lps));
  const msrBitmaps = take(pageBytes);
  const pidTables = many(vms, pageBytes);
  const eptTables = many(vms, eptBytes);
  const pages = many(vcpus, pagesPerVcpu * pageBytes);
  at = Math.ceil(at / largePageBytes) * largePageBytes;
  const guests = many(vms, largePageBytes);
  const devices = take(largePageBytes);
  return {
    vmxonRegions,
    waitWords: Array.from({ length: lps }, (_, lp) => BigInt(waitWords + lp * lineBytes)),
    msrBitmaps,
    pidTables,
    eptTables,
    guests,
    devices,
    vcpus: pages.map((page) => ({
      vmcs: BigInt(page),
      virtualApic: BigInt(page + pageBytes),
      descriptor: BigInt(page + 2 * pageBytes),
    })),
    end: at,
  };
}

/** Guest-physical address of the doorbell of a device that is passed through: behind the guest's memory. */
export const passThroughDoorbell = BigInt(largePageBytes);

/** The word that is written when a vCPU whose LP polls for it gets an interrupt. */
export const wakeWord = (pages: VcpuPages): bigint => pages.descriptor + BigInt(wakeWordOffset);
