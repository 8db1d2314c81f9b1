import type { RequesterPort } from "../../requester.ts";
import type { DescriptorChain } from "./descriptor-chain.ts";

/** The queues of a running virtio device, as what is behind the transport uses them. */
export interface VirtioQueues {
  /** Memory as the device reaches it. */
  readonly port: RequesterPort;
  /** Whether `take` would give a chain. */
  hasChain(queue: number): boolean;
  /** The next chain of a queue; undefined: there is none, or the device needs a reset. */
  take(queue: number): DescriptorChain | undefined;
  /** Gives a chain back, with the bytes written to it, and tells the driver if it wants to hear. */
  give(queue: number, chain: DescriptorChain, written: number): void;
  /** The driver has asked for what makes no sense: nothing goes on until it resets the device. */
  fail(): void;
}

/** What a virtio device is, apart from how it is reached. */
export interface VirtioModel {
  /** "Device Types". */
  readonly deviceType: number;
  /** PCI class, subclass and programming interface. */
  readonly classCode: number;
  /** Feature bits of the device type. */
  readonly features: bigint;
  /** Largest size of each queue: a power of two. */
  readonly queueSizes: readonly number[];
  /** The device-specific configuration. */
  readonly configuration: Uint8Array;
  /** Does one thing that a queue asks for. @returns false when there is nothing to do for it now */
  step(queue: number, queues: VirtioQueues): boolean;
  /** Software has written to the configuration. */
  configurationWritten?(offset: number, size: number, value: number): void;
}
