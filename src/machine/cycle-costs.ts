import type { CostlyOperation } from "../cpu/ports.ts";

/** What the driver itself charges for. */
type DriverOperation = "instruction" | "deviceAccess" | "interruptSent";
/** Cycles (nanoseconds) that operations take beside the one of an instruction. */
export type CycleCosts = Readonly<Record<CostlyOperation | DriverOperation, number>>;

/** An estimate of a processor of about 1 GHz, good for orders, not for predictions. */
export const defaultCycleCosts: CycleCosts = {
  instruction: 1,
  /** A port or memory-mapped access that goes to a device. */
  deviceAccess: 400,
  vmEntry: 500,
  vmExit: 700,
  /** Delivery of an exception or interrupt through the IDT. */
  eventDelivery: 100,
  /** WBINVD and its like. */
  cacheFlush: 100_000,
  /** An INIT, SIPI, NMI or fixed interrupt put on the bus. */
  interruptSent: 300,
  lockedAccess: 20,
  cpuid: 100,
  rdmsr: 50,
  wrmsr: 100,
  pause: 40,
  vmread: 30,
  vmwrite: 35,
  vmptrld: 150,
  vmclear: 300,
  invept: 500,
  invvpid: 300,
};
