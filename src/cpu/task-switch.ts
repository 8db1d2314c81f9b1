/** "Task Management": hardware task switches with 32-bit and 16-bit task-state segments. None of this exists in IA-32e mode. */
import { lpOffset, Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import type { InstructionView } from "./instruction-view.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { cr0Bit, cr4Bit, dr6Bit, flagBit } from "./register-bits.ts";
import { setNullSegment, setRealModeSegment, setSegment } from "./segment-registers.ts";
import {
  baseOf,
  checkDataSegment,
  checkStackSegment,
  type Descriptor,
  descriptorAddress,
  dplOf,
  isCode,
  isConforming,
  isNull,
  isPresent,
  isSegment,
  limitOf,
  loadFromDescriptor,
  loadLdtr,
  readDescriptor,
  rightsOf,
  SystemType,
  setNullStack,
  setPrivilege,
  typeOf,
} from "./segmentation.ts";
import { isTss16 } from "./task-state.ts";
import { Fault, generalProtection, invalidTss, notPresent, selectorError } from "./trap.ts";

/** What led to a task switch, in the encoding of the exit qualification. */
export const TaskSwitch = { call: 0, iret: 1, jump: 2, gate: 3 } as const;
export type TaskSwitch = (typeof TaskSwitch)[keyof typeof TaskSwitch];

/** Places of the fields that a switch saves and loads. `registers` in the order EAX ECX EDX EBX ESP EBP ESI EDI. */
interface TssLayout {
  readonly width: 2 | 4;
  readonly limitMin: number;
  readonly cr3: number | undefined;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number;
  readonly selectors: number;
  /** ES CS SS DS, and FS GS in the 32-bit layout. */
  readonly selectorCount: number;
  readonly ldt: number;
  readonly trap: number | undefined;
}
const layout32: TssLayout = {
  width: 4,
  limitMin: 0x67,
  cr3: 0x1c,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  selectors: 0x48,
  selectorCount: 6,
  ldt: 0x60,
  trap: 0x64,
};
const layout16: TssLayout = {
  width: 2,
  limitMin: 0x2b,
  cr3: undefined,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  selectors: 0x22,
  selectorCount: 4,
  ldt: 0x2a,
  trap: undefined,
};

/** The TSS that a task gate names, checked. @param external EXT bit of error codes */
export function taskGateTarget(
  lp: LogicalProcessor,
  gate: Descriptor,
  external: number,
): Descriptor {
  const selector = gate.low >>> 16;
  const code = selectorError(selector) | external;
  if ((selector & 4) !== 0 || isNull(selector)) {
    throw generalProtection(code);
  }
  const tss = readDescriptor(lp, selector, (at) => generalProtection(at | external));
  const type = typeOf(tss);
  if (isSegment(tss) || (type !== SystemType.tss && type !== SystemType.tss16)) {
    throw generalProtection(code);
  }
  if (!isPresent(tss)) {
    throw notPresent(code);
  }
  return tss;
}

/** IRET with NT set: back to the task named by the TSS's link field. */
export function returnToPreviousTask(lp: LogicalProcessor, insn: InstructionView): void {
  const selector = lp.linear.read16(lp.state.segmentBase(Segment.TR), AccessClass.System);
  const code = selectorError(selector);
  if ((selector & 4) !== 0 || isNull(selector)) {
    throw invalidTss(code);
  }
  const tss = readDescriptor(lp, selector, invalidTss);
  const type = typeOf(tss);
  if (isSegment(tss) || (type !== SystemType.tssBusy && type !== SystemType.tss16Busy)) {
    throw invalidTss(code);
  }
  if (!isPresent(tss)) {
    throw notPresent(code);
  }
  enterTask(lp, tss, TaskSwitch.iret, insn.next, insn);
}

/**
 * Switches to the task of a checked TSS descriptor. Faults up to the point of no return are thrown in the old task; those in
 * loading the new task's segments are delivered in the new one.
 * @param next where the old task goes on
 * @param external EXT bit of error codes
 * @returns false when a VM exit was taken instead
 */
export function enterTask(
  lp: LogicalProcessor,
  tss: Descriptor,
  source: TaskSwitch,
  next: bigint,
  insn: InstructionView | undefined,
  external = 0,
): boolean {
  const layout = isTss16(typeOf(tss)) ? layout16 : layout32;
  if (limitOf(tss) < layout.limitMin) {
    throw invalidTss(selectorError(tss.selector) | external);
  }
  if (lp.intercepts.nonRoot && lp.intercepts.taskSwitch(tss.selector, source, insn)) {
    return false;
  }
  const task = readTask(lp, tss, layout);
  saveTask(lp, source, next);
  linkTasks(lp, tss, source);
  const nested = source === TaskSwitch.call || source === TaskSwitch.gate;
  const rights = rightsOf(tss) | 2;
  setSegment(lp.state, Segment.TR, tss.selector, rights, limitOf(tss), BigInt(baseOf(tss)));
  lp.state.setLow("cr0", lp.state.low("cr0") | cr0Bit.TS);
  lp.stepAfter = false;
  try {
    loadTask(lp, task, nested, external);
  } catch (trap) {
    if (!(trap instanceof Fault)) {
      throw trap;
    }
    lp.loadControlState();
    lp.deliverFault(trap);
  }
  return true;
}

interface Task {
  readonly layout: TssLayout;
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: readonly number[];
  /** ES CS SS DS FS GS */
  readonly selectors: readonly number[];
  readonly ldt: number;
  readonly trap: boolean;
}

function readTask(lp: LogicalProcessor, tss: Descriptor, layout: TssLayout): Task {
  const base = BigInt(baseOf(tss));
  const { linear } = lp;
  const word = (offset: number): number => linear.read16(base + BigInt(offset), AccessClass.System);
  const field = (offset: number): number =>
    layout.width === 4 ? linear.read32(base + BigInt(offset), AccessClass.System) : word(offset);
  const { width } = layout;
  return {
    layout,
    cr3: layout.cr3 === undefined ? 0 : field(layout.cr3),
    ip: field(layout.ip),
    flags: field(layout.flags),
    registers: Array.from({ length: 8 }, (_, n) => field(layout.registers + n * width)),
    selectors: Array.from({ length: 6 }, (_, n) =>
      n < layout.selectorCount ? word(layout.selectors + n * width) : 0,
    ),
    ldt: word(layout.ldt),
    trap: layout.trap !== undefined && (word(layout.trap) & 1) !== 0,
  };
}

/** Writes the processor's state into the TSS in TR. */
function saveTask(lp: LogicalProcessor, source: TaskSwitch, next: bigint): void {
  const { state, linear } = lp;
  const layout = isTss16(state.rights(Segment.TR)) ? layout16 : layout32;
  const base = state.segmentBase(Segment.TR);
  const last = layout.selectors + layout.selectorCount * layout.width - 1;
  linear.checkWritable(base + BigInt(layout.ip), last - layout.ip + 1, AccessClass.System);
  const write = (offset: number, value: number): void => {
    const at = base + BigInt(offset);
    if (layout.width === 4) {
      linear.write32(at, value, AccessClass.System);
    } else {
      linear.write16(at, value, AccessClass.System);
    }
  };
  const flags = lp.readFlags();
  write(layout.ip, Number(next & 0xffff_ffffn));
  write(layout.flags, source === TaskSwitch.iret ? flags & ~flagBit.NT : flags);
  for (let n = 0; n < 8; n++) {
    write(layout.registers + n * layout.width, state.gpr32(n));
  }
  for (let n = 0; n < layout.selectorCount; n++) {
    linear.write16(
      base + BigInt(layout.selectors + n * layout.width),
      state.selector(n),
      AccessClass.System,
    );
  }
}

/** Busy bits of both descriptors, and the link to the interrupted task. */
function linkTasks(lp: LogicalProcessor, tss: Descriptor, source: TaskSwitch): void {
  const { state, linear } = lp;
  const old = state.selector(Segment.TR);
  const nested = source === TaskSwitch.call || source === TaskSwitch.gate;
  if (!nested && !isNull(old)) {
    const at = state.get("gdtrBase") + BigInt((old & 0xfff8) + 5);
    const type = linear.read8(at, AccessClass.System);
    linear.write8(at, type & ~2, AccessClass.System);
  }
  if (nested) {
    linear.write16(BigInt(baseOf(tss)), old, AccessClass.System);
  }
  if (source !== TaskSwitch.iret) {
    linear.setBits8(descriptorAddress(tss, 5), 2, AccessClass.System);
  }
}

function loadTask(lp: LogicalProcessor, task: Task, nested: boolean, external: number): void {
  const { state } = lp;
  if (task.layout.cr3 !== undefined && (state.low("cr0") & cr0Bit.PG) !== 0) {
    loadCr3(lp, task.cr3);
  }
  const wide = task.layout.width === 4;
  lp.writeFlags((wide ? task.flags : task.flags & 0xffff) | (nested ? flagBit.NT : 0));
  lp.resumeIsNew = true;
  state.rip = BigInt(task.ip);
  task.registers.forEach((value, n) => {
    state.setGpr32(n, wide ? value : (0xffff_0000 | value) >>> 0);
  });
  if (task.trap) {
    lp.pendingDebug |= dr6Bit.BT;
  }
  for (let n = 0; n < 6; n++) {
    setNullSegment(state, n, task.selectors[n] ?? 0);
  }
  setNullStack(
    lp,
    ((task.selectors[Segment.SS] ?? 0) & 0xfffc) | ((task.selectors[Segment.CS] ?? 0) & 3),
  );
  setNullSegment(state, Segment.LDTR, task.ldt);
  loadTaskSegments(lp, task, external);
  lp.loadControlState();
}

function loadCr3(lp: LogicalProcessor, cr3: number): void {
  if ((lp.state.low("cr4") & cr4Bit.PAE) !== 0 && !lp.walker.loadPdptes(cr3)) {
    throw generalProtection();
  }
  lp.state.setLow("cr3", cr3);
  lp.addressSpace.cr3Loaded(false);
}

function loadTaskSegments(lp: LogicalProcessor, task: Task, external: number): void {
  const { state } = lp;
  const [es = 0, cs = 0, ss = 0, ds = 0, fs = 0, gs = 0] = task.selectors;
  const fault = (code: number): Fault => invalidTss(code | external);
  const absent = (code: number): Fault => notPresent(code | external);
  loadLdtr(lp, task.ldt, fault, fault);
  if ((task.flags & flagBit.VM) !== 0 && task.layout.width === 4) {
    task.selectors.forEach((selector, n) => {
      setRealModeSegment(state, n, selector);
    });
    setPrivilege(lp, 3);
    checkInstructionPointer(lp, task, external);
    return;
  }
  const level = cs & 3;
  state.write32(lpOffset.cpl, level);
  if (isNull(ss)) {
    throw invalidTss(external);
  }
  const stack = readDescriptor(lp, ss, fault);
  checkStackSegment(level, ss, stack, fault, external);
  loadFromDescriptor(lp, Segment.SS, ss, stack);
  loadTaskCode(lp, cs, fault, absent);
  for (const [segment, selector] of [
    [Segment.ES, es],
    [Segment.DS, ds],
    [Segment.FS, fs],
    [Segment.GS, gs],
  ] as const) {
    if (!isNull(selector)) {
      const d = readDescriptor(lp, selector, fault);
      checkDataSegment(level, selector, d, fault);
      if (!isPresent(d)) {
        throw absent(selectorError(selector));
      }
      loadFromDescriptor(lp, segment, selector, d);
    }
  }
  checkInstructionPointer(lp, task, external);
}

function loadTaskCode(
  lp: LogicalProcessor,
  selector: number,
  fault: (code: number) => Fault,
  absent: (code: number) => Fault,
): void {
  const code = selectorError(selector);
  if (isNull(selector)) {
    throw fault(0);
  }
  const d = readDescriptor(lp, selector, fault);
  const level = selector & 3;
  const allowed = isConforming(d) ? dplOf(d) <= level : dplOf(d) === level;
  if (!isCode(d) || !allowed) {
    throw fault(code);
  }
  if (!isPresent(d)) {
    throw absent(code);
  }
  loadFromDescriptor(lp, Segment.CS, selector, d);
}

function checkInstructionPointer(lp: LogicalProcessor, task: Task, external: number): void {
  if (task.ip > lp.state.limit(Segment.CS)) {
    throw generalProtection(external);
  }
}
