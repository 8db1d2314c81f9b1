/**
 * Segment descriptors: reading them from the descriptor tables, and loading segment registers with all checks of
 * "Protection" in the system-programming manual.
 */
import { lpOffset, Segment, segmentOffset, segmentStride } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import { isCanonicalAddress } from "./canonical.ts";
import { joinHalves } from "./halves.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { rightsBit } from "./register-bits.ts";
import {
  setNullSegment,
  setRealModeSegment,
  setSegment,
  setSegmentBelow4G,
} from "./segment-registers.ts";
import { type Fault, generalProtection, notPresent, selectorError, stackFault } from "./trap.ts";

/** Types of system descriptors. */
export const SystemType = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss: 9,
  tssBusy: 11,
  callGate: 12,
  interruptGate: 14,
  trapGate: 15,
} as const;

/** An 8-byte descriptor as read from a table. */
export interface Descriptor {
  readonly selector: number;
  /** Linear address it was read from, by halves. */
  readonly addressLow: number;
  readonly addressHigh: number;
  readonly low: number;
  readonly high: number;
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

// Fields. Rights are in the layout of the window.

export const rightsOf = (d: Descriptor): number => (d.high >>> 8) & 0xf0ff;
export const typeOf = (d: Descriptor): number => (d.high >>> 8) & 15;
export const dplOf = (d: Descriptor): number => (d.high >>> 13) & 3;
export const isPresent = (d: Descriptor): boolean => (d.high & 0x8000) !== 0;
/** A code or data segment, as against a system segment or gate. */
export const isSegment = (d: Descriptor): boolean => (d.high & 0x1000) !== 0;
export const isCode = (d: Descriptor): boolean => (d.high & 0x1800) === 0x1800;
export const isConforming = (d: Descriptor): boolean => (d.high & 0x1c00) === 0x1c00;
export const isWritableData = (d: Descriptor): boolean => (d.high & 0x1a00) === 0x1200;
export const isReadableCode = (d: Descriptor): boolean => (d.high & 0x1a00) === 0x1a00;
/** u32 */
export const baseOf = (d: Descriptor): number =>
  ((d.high & 0xff00_0000) | ((d.high & 0xff) << 16) | (d.low >>> 16)) >>> 0;
export function limitOf(d: Descriptor): number {
  const limit = (d.high & 0xf_0000) | (d.low & 0xffff);
  return (d.high & 0x80_0000) !== 0 ? ((limit << 12) | 0xfff) >>> 0 : limit;
}

/** Linear addresses of tables have 64 bits in IA-32e mode, else 32. */
export function tableAddress(lp: LogicalProcessor, base: bigint, offset: number): bigint {
  return BigInt.asUintN(lp.isLongMode ? 64 : 32, base + BigInt(offset));
}

/**
 * Reads a descriptor from the GDT or LDT.
 * @param outside makes the fault when the table does not reach that far, from the selector's error code
 */
export function readDescriptor(
  lp: LogicalProcessor,
  selector: number,
  outside: (code: number) => Fault = generalProtection,
): Descriptor {
  const { state } = lp;
  const offset = selector & 0xfff8;
  const local = (selector & 4) !== 0;
  const limit = local ? state.limit(Segment.LDTR) : state.read32(lpOffset.gdtrLimit);
  const usable = !local || (state.rights(Segment.LDTR) & rightsBit.unusable) === 0;
  if (!usable || offset + 7 > limit) {
    throw outside(selectorError(selector));
  }
  return readEntry(lp, local ? ldtrBase : lpOffset.gdtrBase, offset, selector);
}
const ldtrBase = lpOffset.segment + Segment.LDTR * segmentStride + segmentOffset.base;

/**
 * Reads 8 bytes of a descriptor table.
 * @param table window offset of the register that holds the table's base
 * @param offset in the table
 */
export function readEntry(
  lp: LogicalProcessor,
  table: number,
  offset: number,
  selector: number,
): Descriptor {
  const { state, linear } = lp;
  const sum = state.read32(table) + offset;
  // Linear addresses of tables have 64 bits in IA-32e mode, else 32.
  const long = lp.isLongMode;
  const base = long ? state.readHigh32(table) : 0;
  const addressLow = sum >>> 0;
  const addressHigh = long && sum > 0xffff_ffff ? (base + 1) >>> 0 : base;
  const nextHigh = long && addressLow > 0xffff_fffb ? (addressHigh + 1) >>> 0 : addressHigh;
  return {
    selector,
    addressLow,
    addressHigh,
    low: linear.read32At(addressLow, addressHigh, AccessClass.System),
    high: linear.read32At((addressLow + 4) >>> 0, nextHigh, AccessClass.System),
  };
}

/** Linear address of a byte of a descriptor. */
export function descriptorAddress(d: Descriptor, byte: number): bigint {
  return BigInt.asUintN(64, joinHalves(d.addressLow, d.addressHigh) + BigInt(byte));
}

/** As `readDescriptor`, but undefined instead of the fault: for instructions that only ask. */
export function tryReadDescriptor(lp: LogicalProcessor, selector: number): Descriptor | undefined {
  const { state } = lp;
  const local = (selector & 4) !== 0;
  const limit = local ? state.limit(Segment.LDTR) : state.read32(lpOffset.gdtrLimit);
  const usable = !local || (state.rights(Segment.LDTR) & rightsBit.unusable) === 0;
  return usable && (selector & 0xfff8) + 7 <= limit ? readDescriptor(lp, selector) : undefined;
}

/** Upper half of a 16-byte system descriptor of IA-32e mode. */
export interface DescriptorTail {
  readonly low: number;
  readonly high: number;
}
export function readTail(
  lp: LogicalProcessor,
  d: Descriptor,
  fault: (code: number) => Fault = generalProtection,
): DescriptorTail {
  const limit =
    (d.selector & 4) !== 0 ? lp.state.limit(Segment.LDTR) : lp.state.read32(lpOffset.gdtrLimit);
  if ((d.selector & 0xfff8) + 15 > limit) {
    throw fault(selectorError(d.selector));
  }
  const tail = {
    low: lp.linear.read32(descriptorAddress(d, 8), AccessClass.System),
    high: lp.linear.read32(descriptorAddress(d, 12), AccessClass.System),
  };
  // The type field of the upper half must be zero, so that it cannot be taken for a descriptor itself.
  if ((tail.high & 0x1f00) !== 0) {
    throw fault(selectorError(d.selector));
  }
  return tail;
}

/** Sets the accessed bit in the table, and answers the rights with it set. */
export function markAccessed(lp: LogicalProcessor, d: Descriptor): number {
  if ((d.high & 0x100) === 0) {
    lp.linear.setBits8(descriptorAddress(d, 5), 1, AccessClass.System);
  }
  return rightsOf(d) | rightsBit.accessed;
}

/** Puts a checked code or data descriptor into a segment register. */
export function loadFromDescriptor(
  lp: LogicalProcessor,
  segment: number,
  selector: number,
  d: Descriptor,
): void {
  const rights = markAccessed(lp, d);
  setSegmentBelow4G(lp.state, segment, selector, rights, limitOf(d), baseOf(d));
}

/**
 * Loads ES, SS, DS, FS or GS as MOV, POP and the L?S instructions do, in any mode.
 * CS is loaded by far transfers only.
 */
export function loadSegment(lp: LogicalProcessor, segment: number, selector: number): void {
  if (!lp.isProtected) {
    setRealModeSegment(lp.state, segment, selector);
  } else if (segment === Segment.SS) {
    loadStackSegment(lp, selector);
  } else {
    loadDataSegment(lp, segment, selector);
  }
  if (segment === Segment.SS) {
    lp.core.codeContextChanged();
  }
}

function loadDataSegment(lp: LogicalProcessor, segment: number, selector: number): void {
  if (isNull(selector)) {
    setNullSegment(lp.state, segment, selector);
    return;
  }
  const d = readDescriptor(lp, selector);
  checkDataSegment(lp.state.cpl, selector, d, generalProtection);
  if (!isPresent(d)) {
    throw notPresent(selectorError(selector));
  }
  loadFromDescriptor(lp, segment, selector, d);
}

/** Type and privilege of a segment for DS, ES, FS, GS. */
export function checkDataSegment(
  cpl: number,
  selector: number,
  d: Descriptor,
  fault: (code: number) => Fault,
): void {
  const readable = isSegment(d) && (!isCode(d) || isReadableCode(d));
  const privileged = isConforming(d) || ((selector & 3) <= dplOf(d) && cpl <= dplOf(d));
  if (!readable || !privileged) {
    throw fault(selectorError(selector));
  }
}

function loadStackSegment(lp: LogicalProcessor, selector: number): void {
  const { cpl } = lp.state;
  if (isNull(selector)) {
    if (!lp.is64Bit || cpl === 3 || (selector & 3) !== cpl) {
      throw generalProtection();
    }
    setNullStack(lp, selector);
    return;
  }
  const d = readDescriptor(lp, selector);
  checkStackSegment(cpl, selector, d, generalProtection);
  loadFromDescriptor(lp, Segment.SS, selector, d);
}

/** SS null in 64-bit mode: its DPL still is CPL. */
export function setNullStack(lp: LogicalProcessor, selector: number): void {
  const rights = rightsBit.unusable | ((selector & 3) << 5);
  setSegment(lp.state, Segment.SS, selector, rights, 0, 0n);
}

/** A segment for SS at privilege level `cpl`: everything must match exactly. */
export function checkStackSegment(
  cpl: number,
  selector: number,
  d: Descriptor,
  fault: (code: number) => Fault,
  external = 0,
): void {
  const code = selectorError(selector) | external;
  if ((selector & 3) !== cpl || !isWritableData(d) || dplOf(d) !== cpl) {
    throw fault(code);
  }
  if (!isPresent(d)) {
    throw stackFault(code);
  }
}

/** LLDT and task switches. @param fault for a selector that is not an LDT */
export function loadLdtr(
  lp: LogicalProcessor,
  selector: number,
  fault: (code: number) => Fault = generalProtection,
  absent: (code: number) => Fault = notPresent,
): void {
  if (isNull(selector)) {
    setNullSegment(lp.state, Segment.LDTR, selector);
    return;
  }
  const code = selectorError(selector);
  if ((selector & 4) !== 0) {
    throw fault(code);
  }
  const d = readDescriptor(lp, selector, fault);
  if (isSegment(d) || typeOf(d) !== SystemType.ldt) {
    throw fault(code);
  }
  if (!isPresent(d)) {
    throw absent(code);
  }
  setSegment(lp.state, Segment.LDTR, selector, rightsOf(d), limitOf(d), wideBase(lp, d, fault));
}

/** LTR. */
export function loadTr(lp: LogicalProcessor, selector: number): void {
  if (isNull(selector)) {
    throw generalProtection();
  }
  const code = selectorError(selector);
  if ((selector & 4) !== 0) {
    throw generalProtection(code);
  }
  const d = readDescriptor(lp, selector);
  const type = typeOf(d);
  const available = type === SystemType.tss || (type === SystemType.tss16 && !lp.isLongMode);
  if (isSegment(d) || !available) {
    throw generalProtection(code);
  }
  if (!isPresent(d)) {
    throw notPresent(code);
  }
  const base = wideBase(lp, d, generalProtection);
  lp.linear.setBits8(descriptorAddress(d, 5), 2, AccessClass.System);
  setSegment(lp.state, Segment.TR, selector, rightsOf(d) | 2, limitOf(d), base);
}

/** Base of a system segment: 64 bits in IA-32e mode, and then canonical. */
function wideBase(lp: LogicalProcessor, d: Descriptor, fault: (code: number) => Fault): bigint {
  const low = baseOf(d);
  if (!lp.isLongMode) {
    return BigInt(low);
  }
  const base = joinHalves(low, readTail(lp, d, fault).low);
  if (!isCanonicalAddress(base)) {
    throw fault(selectorError(d.selector));
  }
  return base;
}

/** After a return to an outer level: data segments that the outer level may not use become null. */
export function dropInnerSegments(lp: LogicalProcessor): void {
  const { state } = lp;
  for (const segment of [Segment.ES, Segment.FS, Segment.GS, Segment.DS]) {
    const rights = state.rights(segment);
    const conforming =
      (rights & (rightsBit.code | rightsBit.conforming)) ===
      (rightsBit.code | rightsBit.conforming);
    const usable = (rights & rightsBit.unusable) === 0;
    if (usable && !conforming && ((rights >>> 5) & 3) < state.cpl) {
      // The base stays: in 64-bit mode that of FS and GS is still in use.
      setSegment(state, segment, 0, rightsBit.unusable, 0, state.segmentBase(segment));
    }
  }
}

/** CPL becomes `cpl`; CS and SS have been loaded. */
export function setPrivilege(lp: LogicalProcessor, cpl: number): void {
  lp.state.write32(lpOffset.cpl, cpl);
  lp.codeSegmentChanged();
}
