/**
 * Delivery of interrupts and exceptions through the IDT: "Interrupt and Exception Handling" for protected and IA-32e mode,
 * "Interrupt and Exception Handling" of real-address mode, and the ways of virtual-8086 mode.
 */
import { lpOffset, Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import { isCanonicalAddress } from "./canonical.ts";
import {
  checkTarget,
  loadCode,
  requireLongCode,
  requirePresentCode,
  requireSelector,
  transferRealMode,
} from "./code-segment.ts";
import { highHalf, lowHalf } from "./halves.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import type { DeliveredEvent } from "./ports.ts";
import { cr4Bit, flagBit } from "./register-bits.ts";
import { setNullSegment } from "./segment-registers.ts";
import {
  type Descriptor,
  descriptorAddress,
  dplOf,
  isCode,
  isConforming,
  isPresent,
  isSegment,
  loadFromDescriptor,
  markAccessed,
  readDescriptor,
  readEntry,
  SystemType,
  setNullStack,
  setPrivilege,
  typeOf,
} from "./segmentation.ts";
import { currentStack, flatStack, innerStack, type Stack } from "./stack.ts";
import { innerPointer, innerStackOfTss, interruptStack, isTss16 } from "./task-state.ts";
import { enterTask, TaskSwitch, taskGateTarget } from "./task-switch.ts";
import { generalProtection, notPresent, selectorError } from "./trap.ts";

const rsp = lpOffset.gpr + 4 * 8;

/** VMX interruption types that instructions raise and that gates protect against. */
const isProgrammed = (event: DeliveredEvent): boolean => event.type === 4 || event.type === 6;

/** EXT: the fault on the way is the work of something outside the program. INT n, INT3 and INTO are the program's own. */
const externalBit = (event: DeliveredEvent): number => (isProgrammed(event) ? 0 : 1);

/** Where the handler's IRET will go. */
function returnAddress(lp: LogicalProcessor, event: DeliveredEvent): bigint {
  const { rip } = lp.state;
  if (event.type < 4) {
    return rip;
  }
  return BigInt.asUintN(lp.is64Bit ? 64 : 32, rip + BigInt(event.instructionLength));
}

function pushReturnAddress(
  lp: LogicalProcessor,
  event: DeliveredEvent,
  stack: Stack,
  size: number,
): void {
  if (event.type < 4) {
    stack.pushRegister(lpOffset.rip, size);
  } else {
    stack.push(returnAddress(lp, event), size);
  }
}

/**
 * Transfers control to an event's handler. A fault on the way is thrown with the processor's state as it was.
 * @returns false when a VM exit was taken instead (a task gate in VMX non-root operation)
 */
export function deliverThroughIdt(lp: LogicalProcessor, event: DeliveredEvent): boolean {
  if (!lp.isProtected && !lp.isVirtual8086) {
    deliverRealMode(lp, event);
    return true;
  }
  if (lp.isVirtual8086 && event.type === 4 && deliverVirtual8086(lp, event)) {
    return true;
  }
  if (lp.isLongMode) {
    deliverLong(lp, event);
    return true;
  }
  return deliverProtected(lp, event);
}

const clearedByRealMode = flagBit.IF | flagBit.TF | flagBit.AC | flagBit.RF;

function deliverRealMode(lp: LogicalProcessor, event: DeliveredEvent): void {
  const { state } = lp;
  const offset = event.vector * 4;
  if (offset + 3 > state.read32(lpOffset.idtrLimit)) {
    throw generalProtection(event.vector * 8 + 2 + externalBit(event));
  }
  const address = state.read64(lpOffset.idtrBase) + BigInt(offset);
  throughVector(lp, event, address, AccessClass.System, lp.readFlags());
  lp.changeFlags(0, clearedByRealMode);
}

/** Goes where the far pointer of an interrupt vector table says; FLAGS, CS and IP are pushed. */
function throughVector(
  lp: LogicalProcessor,
  event: DeliveredEvent,
  address: bigint,
  as: AccessClass,
  flags: number,
): void {
  const vector = lp.linear.read32(BigInt.asUintN(32, address), as);
  const stack = currentStack(lp);
  stack.pushNumber(flags, 2);
  stack.pushNumber(lp.state.selector(Segment.CS), 2);
  pushReturnAddress(lp, event, stack, 2);
  transferRealMode(lp, vector >>> 16, BigInt(vector & 0xffff));
  stack.commit();
}

/**
 * INT n in virtual-8086 mode. With the mode's extensions, the redirection bitmap of the TSS says whether the program's own
 * handler takes it.
 * @returns false when the IDT is to be used
 */
function deliverVirtual8086(lp: LogicalProcessor, event: DeliveredEvent): boolean {
  const extended = (lp.state.read32(lpOffset.cr4) & cr4Bit.VME) !== 0;
  const toIdt = !extended || isRedirectedToIdt(lp, event.vector);
  if (toIdt) {
    if (lp.ioPrivilegeLevel < 3) {
      throw generalProtection();
    }
    return false;
  }
  const flags = lp.readFlags();
  const address = BigInt(event.vector * 4);
  if (lp.ioPrivilegeLevel === 3) {
    throughVector(lp, event, address, AccessClass.Current, flags);
    lp.changeFlags(0, flagBit.IF | flagBit.TF | flagBit.RF);
    return true;
  }
  // IF belongs to the monitor: the program sees VIF in its place, and an IOPL of 3.
  const seen = (flags & flagBit.VIF) !== 0 ? flags | flagBit.IF : flags & ~flagBit.IF;
  throughVector(lp, event, address, AccessClass.Current, seen | flagBit.IOPL);
  lp.changeFlags(0, flagBit.VIF | flagBit.TF | flagBit.RF);
  return true;
}

/** The bitmap is the 32 bytes below the I/O permission bitmap; a set bit sends the vector to the IDT. */
function isRedirectedToIdt(lp: LogicalProcessor, vector: number): boolean {
  const { state } = lp;
  const limit = state.limit(Segment.TR);
  const base = state.segmentBase(Segment.TR);
  if (isTss16(state.rights(Segment.TR)) || limit < 0x67) {
    throw generalProtection();
  }
  const map = lp.linear.read16(base + 0x66n, AccessClass.System) - 32 + (vector >>> 3);
  if (map < 0 || map > limit) {
    throw generalProtection();
  }
  const byte = lp.linear.read8(base + BigInt(map), AccessClass.System);
  return (byte & (1 << (vector & 7))) !== 0;
}

/** Reads a gate and checks what holds for all of them. @param bytes of an entry */
function readGate(lp: LogicalProcessor, event: DeliveredEvent, bytes: number): Descriptor {
  const { state } = lp;
  const offset = event.vector * bytes;
  if (offset + bytes - 1 > state.read32(lpOffset.idtrLimit)) {
    throw generalProtection(gateError(event));
  }
  return readEntry(lp, lpOffset.idtrBase, offset, 0);
}

/** Error code that names an IDT entry. */
const gateError = (event: DeliveredEvent): number => event.vector * 8 + 2 + externalBit(event);

function checkGate(
  lp: LogicalProcessor,
  event: DeliveredEvent,
  gate: Descriptor,
  types: readonly number[],
): void {
  if (isSegment(gate) || !types.includes(typeOf(gate))) {
    throw generalProtection(gateError(event));
  }
  if (isProgrammed(event) && dplOf(gate) < lp.state.cpl) {
    throw generalProtection(gateError(event));
  }
  if (!isPresent(gate)) {
    throw notPresent(gateError(event));
  }
}

/** The handler's code segment: not less privileged than the program interrupted. */
function readHandlerCode(lp: LogicalProcessor, selector: number, external: number): Descriptor {
  requireSelector(selector, external);
  const code = readDescriptor(lp, selector, (at) => generalProtection(at | external));
  if (!isCode(code) || dplOf(code) > lp.state.cpl) {
    throw generalProtection(selectorError(selector) | external);
  }
  return code;
}

const legacyTypes = [
  SystemType.taskGate,
  SystemType.interruptGate16,
  SystemType.trapGate16,
  SystemType.interruptGate,
  SystemType.trapGate,
];

function deliverProtected(lp: LogicalProcessor, event: DeliveredEvent): boolean {
  const gate = readGate(lp, event, 8);
  checkGate(lp, event, gate, legacyTypes);
  if (typeOf(gate) === SystemType.taskGate) {
    return deliverToTask(lp, event, gate);
  }
  const external = externalBit(event);
  const selector = gate.low >>> 16;
  const code = readHandlerCode(lp, selector, external);
  const level = isConforming(code) ? lp.state.cpl : dplOf(code);
  if (lp.isVirtual8086 && level !== 0) {
    throw generalProtection(selectorError(selector) | external);
  }
  requirePresentCode(code, external);
  const wide = typeOf(gate) >= SystemType.interruptGate;
  const low16 = gate.low & 0xffff;
  const offset = BigInt(wide ? ((gate.high & 0xffff_0000) | low16) >>> 0 : low16);
  const handler = { gate, code, selector, offset, level, size: wide ? 4 : 2, external };
  if (level < lp.state.cpl) {
    enterInnerHandler(lp, event, handler);
  } else {
    const stack = currentStack(lp, external);
    pushFrame(lp, event, stack, handler.size);
    checkTarget(lp, code, offset, external);
    loadCode(lp, selector, code, level);
    stack.commit();
    finish(lp, handler);
  }
  return true;
}

interface Handler {
  readonly gate: Descriptor;
  readonly code: Descriptor;
  readonly selector: number;
  readonly offset: bigint;
  readonly level: number;
  /** Width of what is pushed. */
  readonly size: number;
  readonly external: number;
}

function pushFrame(lp: LogicalProcessor, event: DeliveredEvent, stack: Stack, size: number): void {
  stack.pushNumber(flagsImage(lp, event), size);
  stack.pushNumber(lp.state.selector(Segment.CS), size);
  pushReturnAddress(lp, event, stack, size);
  pushErrorCode(event, stack, size);
}
function pushErrorCode(event: DeliveredEvent, stack: Stack, size: number): void {
  if (event.errorCode !== undefined) {
    stack.pushNumber(event.errorCode, size);
  }
}

/** RFLAGS as pushed. RF has been set for faults by who raised them; an instruction that completes leaves it clear. */
function flagsImage(lp: LogicalProcessor, event: DeliveredEvent): number {
  const flags = lp.readFlags();
  return event.type >= 4 ? flags & ~flagBit.RF : flags;
}

function enterInnerHandler(lp: LogicalProcessor, event: DeliveredEvent, handler: Handler): void {
  const { state } = lp;
  const { size, external, level } = handler;
  const inner = innerStackOfTss(lp, level, external);
  const errorCode = selectorError(inner.selector) | external;
  const stack = innerStack(lp, inner.descriptor, inner.pointer, errorCode);
  const virtual = lp.isVirtual8086;
  if (virtual) {
    for (const segment of [Segment.GS, Segment.FS, Segment.DS, Segment.ES]) {
      stack.pushNumber(state.selector(segment), size);
    }
  }
  stack.pushNumber(state.selector(Segment.SS), size);
  stack.pushRegister(rsp, size);
  pushFrame(lp, event, stack, size);
  checkTarget(lp, handler.code, handler.offset, external);
  // The last accesses that may fault: from here on the state changes.
  markAccessed(lp, handler.code);
  markAccessed(lp, inner.descriptor);
  if (virtual) {
    for (const segment of [Segment.GS, Segment.FS, Segment.DS, Segment.ES]) {
      setNullSegment(state, segment, 0);
    }
    // Loading CS and SS below is protected mode's already.
    state.write32(lpOffset.systemFlags, state.read32(lpOffset.systemFlags) & ~flagBit.VM);
  }
  loadCode(lp, handler.selector, handler.code, level);
  loadFromDescriptor(lp, Segment.SS, inner.selector, inner.descriptor);
  stack.commit();
  finish(lp, handler);
}

const clearedAlways = flagBit.TF | flagBit.NT | flagBit.RF | flagBit.VM;

/** Flags, RIP and privilege of the handler. */
function finish(lp: LogicalProcessor, handler: Handler): void {
  const isInterruptGate = (typeOf(handler.gate) & 1) === 0;
  const { state } = lp;
  const cleared = clearedAlways | (isInterruptGate ? flagBit.IF : 0);
  state.write32(lpOffset.systemFlags, state.read32(lpOffset.systemFlags) & ~cleared);
  state.rip = handler.offset;
  setPrivilege(lp, handler.level);
}

const longTypes = [SystemType.interruptGate, SystemType.trapGate];

function deliverLong(lp: LogicalProcessor, event: DeliveredEvent): void {
  const { state } = lp;
  const external = externalBit(event);
  const gate = readGate(lp, event, 16);
  checkGate(lp, event, gate, longTypes);
  const selector = gate.low >>> 16;
  const code = readHandlerCode(lp, selector, external);
  requireLongCode(code, external);
  requirePresentCode(code, external);
  const level = isConforming(code) ? state.cpl : dplOf(code);
  const offset = gateOffset(lp, gate);
  const inner = level < state.cpl;
  const stack = handlerStack(lp, gate.high & 7, inner, level, external);
  stack.pushNumber(state.selector(Segment.SS), 8);
  stack.pushRegister(rsp, 8);
  pushFrame(lp, event, stack, 8);
  if (!isCanonicalAddress(offset)) {
    throw generalProtection(external);
  }
  loadCode(lp, selector, code, level);
  if (inner) {
    setNullStack(lp, level);
  }
  stack.commit();
  finish(lp, { gate, code, selector, offset, level, size: 8, external });
}

function gateOffset(lp: LogicalProcessor, gate: Descriptor): bigint {
  const low = BigInt(((gate.high & 0xffff_0000) | (gate.low & 0xffff)) >>> 0);
  const high = lp.linear.read32(descriptorAddress(gate, 8), AccessClass.System);
  return low | (BigInt(high) << 32n);
}

/** "Stack Switching in IA-32e Mode"; the frame starts on 16 bytes. */
function handlerStack(
  lp: LogicalProcessor,
  ist: number,
  inner: boolean,
  level: number,
  external: number,
): Stack {
  const as = inner ? AccessClass.Supervisor : AccessClass.Current;
  if (ist === 0 && !inner) {
    const { state } = lp;
    return flatStack(lp, as, state.read32(rsp) & ~15, state.readHigh32(rsp), external);
  }
  const pointer = ist !== 0 ? interruptStack(lp, ist, external) : innerPointer(lp, level, external);
  return flatStack(lp, as, lowHalf(pointer) & ~15, highHalf(pointer), external);
}

function deliverToTask(lp: LogicalProcessor, event: DeliveredEvent, gate: Descriptor): boolean {
  const external = externalBit(event);
  const tss = taskGateTarget(lp, gate, external);
  const next = returnAddress(lp, event);
  if (!enterTask(lp, tss, TaskSwitch.gate, next, undefined, external)) {
    return false;
  }
  if (event.errorCode !== undefined) {
    const stack = currentStack(lp, external);
    pushErrorCode(event, stack, isTss16(typeOf(tss)) ? 2 : 4);
    stack.commit();
  }
  return true;
}
