import { load, type Steps, store } from "../../isa/operations.ts";
import { largePageBytes, mapWithEpt } from "../vmx/guest-memory.ts";
import type { MemoryPlan } from "./memory-plan.ts";

const pageBytes = 4096;
/** Offset of the page directory among the tables of `mapWithEpt`. */
const directory = 2 * pageBytes;
const all = 7n;
const uncached = 0n << 3n;
const writeBack = 6n << 3n;
const largePage = 0x80n;

/**
 * The second stage of a guest: its memory, which is not there before it is first touched, and behind it the registers of devices that
 * are passed through.
 * @param base of the guest's memory
 * @returns EPT pointer
 */
export function mapGuest(ram: Uint8Array, plan: MemoryPlan, vm: number, base: number): bigint {
  const tables = plan.eptTables[vm] ?? 0;
  const pointer = mapWithEpt(ram, tables, base, largePageBytes);
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  view.setBigUint64(tables + directory, 0n, true);
  view.setBigUint64(
    tables + directory + 8,
    BigInt(plan.devices) | all | uncached | largePage,
    true,
  );
  return pointer;
}

/** A guest has touched memory that is not there. @returns whether it is now */
export function* populate(plan: MemoryPlan, vm: number, guestPhysical: bigint): Steps<boolean> {
  if (guestPhysical >= BigInt(largePageBytes)) return false;
  const entry = BigInt((plan.eptTables[vm] ?? 0) + directory);
  // Another vCPU may have touched it at the same time.
  if ((yield load(entry, 8)) !== 0n) return true;
  const base = BigInt(plan.guests[vm] ?? 0);
  yield store(entry, 8, base | all | writeBack | largePage);
  return true;
}
