/** IRET in every mode: "Returning From an Exception- or Interrupt-Handler Procedure". */
import { lpOffset, Segment } from "../execution/lp-window.ts";
import { checkTarget, loadCode, transferRealMode } from "./code-segment.ts";
import { returnOutward, returnTarget } from "./far-transfer.ts";
import type { InstructionView } from "./instruction-view.ts";
import { Blocking, type LogicalProcessor } from "./logical-processor.ts";
import { cr4Bit, flagBit } from "./register-bits.ts";
import { setRealModeSegment } from "./segment-registers.ts";
import { setPrivilege } from "./segmentation.ts";
import { currentStack, type Stack } from "./stack.ts";
import { returnToPreviousTask } from "./task-switch.ts";
import { generalProtection } from "./trap.ts";

/** Flags that any IRET of 16 bits may load; IF and IOPL depend on privilege. */
const always16 =
  flagBit.CF |
  flagBit.PF |
  flagBit.AF |
  flagBit.ZF |
  flagBit.SF |
  flagBit.TF |
  flagBit.DF |
  flagBit.OF |
  flagBit.NT;
const always32 = always16 | flagBit.RF | flagBit.AC | flagBit.ID;

/** Flags that POPF and IRET may change at the current privilege, VM, VIF and VIP apart. */
export function loadableFlags(lp: LogicalProcessor, size: number): number {
  const { cpl } = lp.state;
  return (
    (size === 2 ? always16 : always32) |
    (cpl === 0 ? flagBit.IOPL : 0) |
    (cpl <= lp.ioPrivilegeLevel ? flagBit.IF : 0)
  );
}

/** @param size bytes of the operand size */
export function interruptReturn(lp: LogicalProcessor, size: number, insn: InstructionView): void {
  unblockNmi(lp);
  if (!lp.isProtected) {
    returnInRealOrVirtual(lp, size);
  } else if ((lp.readFlags() & flagBit.NT) !== 0) {
    if (lp.isLongMode) {
      throw generalProtection();
    }
    returnToPreviousTask(lp, insn);
  } else {
    returnProtected(lp, size);
  }
  lp.nmiUnblockedByIret = false;
}

/** NMIs are unblocked even when the IRET faults afterwards. */
function unblockNmi(lp: LogicalProcessor): void {
  if (lp.intercepts.nonRoot && lp.intercepts.iret()) {
    return;
  }
  const { state } = lp;
  if ((state.interruptibility & Blocking.nmi) !== 0) {
    state.interruptibility &= ~Blocking.nmi;
    lp.nmiUnblockedByIret = true;
    if (lp.nmiPending || lp.eventsHeldBack) {
      lp.requestEvents();
    }
  }
}

interface Frame {
  readonly offset: bigint;
  readonly selector: number;
  readonly flags: number;
}
function popFrame(stack: Stack, size: number): Frame {
  const offset = stack.pop(size);
  const selector = stack.popSelector(size);
  const flags = stack.popNumber(size);
  return { offset, selector, flags };
}

function returnInRealOrVirtual(lp: LogicalProcessor, size: number): void {
  if (lp.isVirtual8086 && lp.ioPrivilegeLevel < 3) {
    returnInVirtualExtended(lp, size);
    return;
  }
  const stack = currentStack(lp);
  const { offset, selector, flags } = popFrame(stack, size);
  transferRealMode(lp, selector, offset);
  stack.commit();
  loadFlags(lp, flags, loadableFlags(lp, size));
}

/** With the virtual-8086 mode extensions a 16-bit IRET works on VIF in place of IF. */
function returnInVirtualExtended(lp: LogicalProcessor, size: number): void {
  if (size !== 2 || (lp.state.read32(lpOffset.cr4) & cr4Bit.VME) === 0) {
    throw generalProtection();
  }
  const stack = currentStack(lp);
  const { offset, selector, flags } = popFrame(stack, size);
  const enables = (flags & flagBit.IF) !== 0;
  if ((flags & flagBit.TF) !== 0 || (enables && (lp.readFlags() & flagBit.VIP) !== 0)) {
    throw generalProtection();
  }
  transferRealMode(lp, selector, offset);
  stack.commit();
  const image = enables ? flags | flagBit.VIF : flags & ~flagBit.VIF;
  loadFlags(lp, image, (loadableFlags(lp, size) & ~flagBit.IF) | flagBit.VIF);
}

function returnProtected(lp: LogicalProcessor, size: number): void {
  const { state } = lp;
  const stack = currentStack(lp);
  const frame = popFrame(stack, size);
  if ((frame.flags & flagBit.VM) !== 0 && size === 4 && state.cpl === 0 && !lp.isLongMode) {
    returnToVirtual8086(lp, stack, frame);
    return;
  }
  const { offset, selector } = frame;
  const code = returnTarget(lp, selector);
  const mask = loadableFlags(lp, size) | (size > 2 && state.cpl === 0 ? virtualFlags : 0);
  const level = selector & 3;
  if (level === state.cpl && !lp.is64Bit) {
    checkTarget(lp, code, offset);
    loadCode(lp, selector, code, level);
    stack.commit();
    state.rip = offset;
    lp.codeSegmentChanged();
  } else {
    const pointer = stack.pop(size);
    const stackSelector = stack.popSelector(size);
    returnOutward(lp, { selector, code, offset, stackSelector, pointer, release: 0 });
  }
  loadFlags(lp, frame.flags, mask);
}
const virtualFlags = flagBit.VIF | flagBit.VIP;

function loadFlags(lp: LogicalProcessor, image: number, mask: number): void {
  lp.resumeIsNew = (image & mask & flagBit.RF) !== 0;
  lp.changeFlags(image, mask);
}

function returnToVirtual8086(lp: LogicalProcessor, stack: Stack, frame: Frame): void {
  const { state } = lp;
  const pointer = stack.pop(4);
  const selectors = [Segment.SS, Segment.ES, Segment.DS, Segment.FS, Segment.GS].map(
    (segment) => [segment, stack.popSelector(4)] as const,
  );
  if (frame.offset > 0xffffn) {
    throw generalProtection();
  }
  lp.writeFlags(frame.flags);
  lp.resumeIsNew = (frame.flags & flagBit.RF) !== 0;
  setRealModeSegment(state, Segment.CS, frame.selector);
  for (const [segment, selector] of selectors) {
    setRealModeSegment(state, segment, selector);
  }
  state.setGpr(4, pointer);
  state.rip = frame.offset;
  setPrivilege(lp, 3);
  lp.requestEventsAfterFlags();
}
