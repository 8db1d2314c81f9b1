/** Fields of the task-state segment that TR points at: inner stacks, interrupt stacks. */
import { Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import { isCanonicalAddress } from "./canonical.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import {
  checkStackSegment,
  type Descriptor,
  isNull,
  readDescriptor,
  SystemType,
  tableAddress,
} from "./segmentation.ts";
import { invalidTss, selectorError, stackFault } from "./trap.ts";

export interface InnerStack {
  readonly selector: number;
  readonly descriptor: Descriptor;
  readonly pointer: bigint;
}

/** The TSS in TR is a 16-bit one. */
export const isTss16 = (rights: number): boolean => (rights & 15) <= SystemType.tss16Busy;

/**
 * SS and ESP of an inner level from a TSS outside IA-32e mode, checked.
 * @param external EXT bit for error codes
 */
export function innerStackOfTss(lp: LogicalProcessor, level: number, external: number): InnerStack {
  const { state } = lp;
  const is16 = isTss16(state.rights(Segment.TR));
  const offset = is16 ? 2 + level * 4 : 4 + level * 8;
  if (offset + (is16 ? 3 : 5) > state.limit(Segment.TR)) {
    throw invalidTss(selectorError(state.selector(Segment.TR)) | external);
  }
  const address = tableAddress(lp, state.segmentBase(Segment.TR), offset);
  const pointer = is16
    ? lp.linear.read16(address, AccessClass.System)
    : lp.linear.read32(address, AccessClass.System);
  const selector = lp.linear.read16(address + (is16 ? 2n : 4n), AccessClass.System);
  if (isNull(selector)) {
    throw invalidTss(external);
  }
  const fault = (code: number) => invalidTss(code | external);
  const descriptor = readDescriptor(lp, selector, fault);
  checkStackSegment(level, selector, descriptor, fault, external);
  return { selector, descriptor, pointer: BigInt(pointer) };
}

/** RSP of an inner level from the 64-bit TSS. */
export function innerPointer(lp: LogicalProcessor, level: number, external: number): bigint {
  return pointerAt(lp, 4 + level * 8, external);
}
/** @param n 1..7 */
export function interruptStack(lp: LogicalProcessor, n: number, external: number): bigint {
  return pointerAt(lp, 28 + n * 8, external);
}

function pointerAt(lp: LogicalProcessor, offset: number, external: number): bigint {
  const { state } = lp;
  if (offset + 7 > state.limit(Segment.TR)) {
    throw invalidTss(selectorError(state.selector(Segment.TR)) | external);
  }
  const address = tableAddress(lp, state.segmentBase(Segment.TR), offset);
  const pointer = lp.linear.read64(address, AccessClass.System);
  if (!isCanonicalAddress(pointer)) {
    throw stackFault(external);
  }
  return pointer;
}
