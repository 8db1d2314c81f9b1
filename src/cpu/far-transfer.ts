/** Far JMP, CALL and RET: "Calling Procedures", "Privilege Levels", "Call Gates". */
import { lpOffset, Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import {
  checkCodeSize,
  checkTarget,
  isLongCode,
  loadCode,
  requireLongCode,
  requirePresentCode,
  requireSelector,
  transferRealMode,
} from "./code-segment.ts";
import { highHalf, lowHalf } from "./halves.ts";
import type { InstructionView } from "./instruction-view.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import {
  checkStackSegment,
  type Descriptor,
  dplOf,
  dropInnerSegments,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isSegment,
  loadFromDescriptor,
  markAccessed,
  readDescriptor,
  readTail,
  SystemType,
  setNullStack,
  setPrivilege,
  typeOf,
} from "./segmentation.ts";
import { currentStack, flatStack, innerStack, type Stack } from "./stack.ts";
import { innerPointer, innerStackOfTss } from "./task-state.ts";
import { enterTask, TaskSwitch, taskGateTarget } from "./task-switch.ts";
import { generalProtection, notPresent, selectorError } from "./trap.ts";

const rsp = lpOffset.gpr + 4 * 8;

/** A far JMP or CALL in progress. */
interface Transfer {
  readonly isCall: boolean;
  readonly selector: number;
  readonly offset: bigint;
  /** Bytes of the operand size: width of what a CALL pushes. */
  readonly size: number;
  readonly insn: InstructionView;
}

/** RIP is left at the target; on a fault nothing has changed. */
export function farJump(
  lp: LogicalProcessor,
  selector: number,
  offset: bigint,
  size: number,
  insn: InstructionView,
): void {
  if (!lp.isProtected) {
    transferRealMode(lp, selector, offset);
    return;
  }
  transfer(lp, { isCall: false, selector, offset, size, insn });
}

export function farCall(
  lp: LogicalProcessor,
  selector: number,
  offset: bigint,
  size: number,
  insn: InstructionView,
): void {
  if (lp.isProtected) {
    transfer(lp, { isCall: true, selector, offset, size, insn });
    return;
  }
  const stack = currentStack(lp);
  pushReturn(lp, stack, insn.next, size);
  transferRealMode(lp, selector, offset);
  stack.commit();
}

function pushReturn(lp: LogicalProcessor, stack: Stack, next: bigint, size: number): void {
  stack.pushNumber(lp.state.selector(Segment.CS), size);
  stack.push(next, size);
}

function transfer(lp: LogicalProcessor, what: Transfer): void {
  const { selector } = what;
  requireSelector(selector);
  const d = readDescriptor(lp, selector);
  if (isSegment(d)) {
    toCodeSegment(lp, what, d);
    return;
  }
  switch (typeOf(d)) {
    case SystemType.callGate:
      throughCallGate(lp, what, d);
      return;
    case SystemType.callGate16:
      requireLegacy(lp, selector);
      throughCallGate(lp, what, d);
      return;
    case SystemType.taskGate:
      requireLegacy(lp, selector);
      checkGateAccess(lp, selector, d);
      toTask(lp, what, taskGateTarget(lp, d, 0));
      return;
    case SystemType.tss:
    case SystemType.tss16:
      requireLegacy(lp, selector);
      checkPrivilegeOf(lp, selector, d);
      if (!isPresent(d)) {
        throw notPresent(selectorError(selector));
      }
      toTask(lp, what, d);
      return;
    default:
      throw generalProtection(selectorError(selector));
  }
}

/** 16-bit gates, task gates and TSSs are no targets in IA-32e mode. */
function requireLegacy(lp: LogicalProcessor, selector: number): void {
  if (lp.isLongMode) {
    throw generalProtection(selectorError(selector));
  }
}

function checkPrivilegeOf(lp: LogicalProcessor, selector: number, d: Descriptor): void {
  if (dplOf(d) < lp.state.cpl || dplOf(d) < (selector & 3)) {
    throw generalProtection(selectorError(selector));
  }
}
function checkGateAccess(lp: LogicalProcessor, selector: number, gate: Descriptor): void {
  checkPrivilegeOf(lp, selector, gate);
  if (!isPresent(gate)) {
    throw notPresent(selectorError(selector));
  }
}

function toTask(lp: LogicalProcessor, what: Transfer, tss: Descriptor): void {
  const source = what.isCall ? TaskSwitch.call : TaskSwitch.jump;
  enterTask(lp, tss, source, what.insn.next, what.insn);
}

/** Straight to a code segment: privilege stays as it is. */
function toCodeSegment(lp: LogicalProcessor, what: Transfer, d: Descriptor): void {
  const { selector, offset, size } = what;
  const { cpl } = lp.state;
  const allowed = isConforming(d) ? dplOf(d) <= cpl : dplOf(d) === cpl && (selector & 3) <= cpl;
  if (!isCode(d) || !allowed) {
    throw generalProtection(selectorError(selector));
  }
  checkCodeSize(lp, d);
  requirePresentCode(d);
  if (what.isCall) {
    const stack = currentStack(lp);
    pushReturn(lp, stack, what.insn.next, size);
    checkTarget(lp, d, offset);
    loadCode(lp, selector, d, cpl);
    stack.commit();
  } else {
    checkTarget(lp, d, offset);
    loadCode(lp, selector, d, cpl);
  }
  lp.state.rip = offset;
  lp.codeSegmentChanged();
}

interface GateTarget {
  readonly gate: Descriptor;
  readonly selector: number;
  readonly offset: bigint;
  readonly code: Descriptor;
  /** Width of what is pushed. */
  readonly size: number;
}

function throughCallGate(lp: LogicalProcessor, what: Transfer, gate: Descriptor): void {
  const target = callGateTarget(lp, what.selector, gate);
  const { code } = target;
  const { cpl } = lp.state;
  if (!isConforming(code) && dplOf(code) < cpl) {
    if (!what.isCall) {
      throw generalProtection(selectorError(target.selector));
    }
    requirePresentCode(code);
    if (lp.isLongMode) {
      callInnerLong(lp, what, target);
    } else {
      callInner(lp, what, target);
    }
    return;
  }
  requirePresentCode(code);
  const stack = currentStack(lp);
  if (what.isCall) {
    pushReturn(lp, stack, what.insn.next, target.size);
  }
  checkTarget(lp, code, target.offset);
  loadCode(lp, target.selector, code, cpl);
  stack.commit();
  lp.state.rip = target.offset;
  lp.codeSegmentChanged();
}

function callGateTarget(lp: LogicalProcessor, gateSelector: number, gate: Descriptor): GateTarget {
  const long = lp.isLongMode;
  const tail = long ? readTail(lp, gate) : undefined;
  checkGateAccess(lp, gateSelector, gate);
  const selector = gate.low >>> 16;
  requireSelector(selector);
  const code = readDescriptor(lp, selector);
  if (!isCode(code) || dplOf(code) > lp.state.cpl) {
    throw generalProtection(selectorError(selector));
  }
  if (long) {
    requireLongCode(code);
  }
  const low16 = gate.low & 0xffff;
  if (typeOf(gate) === SystemType.callGate16) {
    return { gate, selector, offset: BigInt(low16), code, size: 2 };
  }
  const low = BigInt(((gate.high & 0xffff_0000) | low16) >>> 0);
  const offset = tail === undefined ? low : low | (BigInt(tail.low) << 32n);
  return { gate, selector, offset, code, size: long ? 8 : 4 };
}

/** To an inner level outside IA-32e mode: the stack comes from the TSS, parameters are copied. */
function callInner(lp: LogicalProcessor, what: Transfer, target: GateTarget): void {
  const { state } = lp;
  const { gate, code, size } = target;
  const level = dplOf(code);
  const inner = innerStackOfTss(lp, level, 0);
  const stack = innerStack(lp, inner.descriptor, inner.pointer, selectorError(inner.selector));
  const outer = currentStack(lp);
  stack.pushNumber(state.selector(Segment.SS), size);
  stack.pushRegister(rsp, size);
  for (let n = (gate.high & 31) - 1; n >= 0; n--) {
    stack.push(outer.peek(n * size, size), size);
  }
  pushReturn(lp, stack, what.insn.next, size);
  checkTarget(lp, code, target.offset);
  markAccessed(lp, inner.descriptor);
  loadCode(lp, target.selector, code, level);
  loadFromDescriptor(lp, Segment.SS, inner.selector, inner.descriptor);
  stack.commit();
  state.rip = target.offset;
  setPrivilege(lp, level);
}

function callInnerLong(lp: LogicalProcessor, what: Transfer, target: GateTarget): void {
  const { state } = lp;
  const level = dplOf(target.code);
  const pointer = innerPointer(lp, level, 0);
  const stack = flatStack(lp, AccessClass.Supervisor, lowHalf(pointer), highHalf(pointer), 0);
  stack.pushNumber(state.selector(Segment.SS), 8);
  stack.pushRegister(rsp, 8);
  pushReturn(lp, stack, what.insn.next, 8);
  checkTarget(lp, target.code, target.offset);
  loadCode(lp, target.selector, target.code, level);
  setNullStack(lp, level);
  stack.commit();
  state.rip = target.offset;
  setPrivilege(lp, level);
}

/** @param release bytes of parameters to drop */
export function farReturn(lp: LogicalProcessor, size: number, release: number): void {
  const stack = currentStack(lp);
  const offset = stack.pop(size);
  const selector = stack.popSelector(size);
  if (!lp.isProtected) {
    transferRealMode(lp, selector, offset);
    stack.skip(release);
    stack.commit();
    return;
  }
  const code = returnTarget(lp, selector);
  stack.skip(release);
  if ((selector & 3) === lp.state.cpl) {
    checkTarget(lp, code, offset);
    loadCode(lp, selector, code, selector & 3);
    stack.commit();
    lp.state.rip = offset;
    lp.codeSegmentChanged();
    return;
  }
  const pointer = stack.pop(size);
  const stackSelector = stack.popSelector(size);
  returnOutward(lp, { selector, code, offset, stackSelector, pointer, release });
}

/** Checks the code segment that a RET or IRET goes back to. */
export function returnTarget(lp: LogicalProcessor, selector: number): Descriptor {
  requireSelector(selector);
  const code = readDescriptor(lp, selector);
  const rpl = selector & 3;
  const allowed = isConforming(code) ? dplOf(code) <= rpl : dplOf(code) === rpl;
  if (!isCode(code) || rpl < lp.state.cpl || !allowed) {
    throw generalProtection(selectorError(selector));
  }
  checkCodeSize(lp, code);
  requirePresentCode(code);
  return code;
}

export interface OutwardReturn {
  readonly selector: number;
  readonly code: Descriptor;
  readonly offset: bigint;
  readonly stackSelector: number;
  readonly pointer: bigint;
  /** Parameter bytes to drop from the outer stack. */
  readonly release: number;
}

/** A return that loads SS and RSP too. Data segments the outer level may not use are dropped. */
export function returnOutward(lp: LogicalProcessor, to: OutwardReturn): void {
  const { state } = lp;
  const level = to.selector & 3;
  const descriptor = returnStack(lp, to);
  checkTarget(lp, to.code, to.offset);
  if (descriptor !== undefined) {
    markAccessed(lp, descriptor);
  }
  const outward = level > state.cpl;
  loadCode(lp, to.selector, to.code, level);
  if (descriptor === undefined) {
    setNullStack(lp, to.stackSelector);
  } else {
    loadFromDescriptor(lp, Segment.SS, to.stackSelector, descriptor);
  }
  state.rip = to.offset;
  setPrivilege(lp, level);
  const stack = currentStack(lp);
  stack.pointer = to.pointer;
  stack.skip(to.release);
  stack.commit();
  if (outward) {
    dropInnerSegments(lp);
  }
}

/** @returns undefined for a null selector, which 64-bit code of levels 0 to 2 may have */
function returnStack(lp: LogicalProcessor, to: OutwardReturn): Descriptor | undefined {
  const level = to.selector & 3;
  if (isNull(to.stackSelector)) {
    if (!isLongCode(lp, to.code) || level === 3 || (to.stackSelector & 3) !== level) {
      throw generalProtection();
    }
    return undefined;
  }
  const d = readDescriptor(lp, to.stackSelector);
  checkStackSegment(level, to.stackSelector, d, generalProtection);
  return d;
}
