import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import type { InstructionView } from "../instruction-view.ts";
import { loadableFlags } from "../interrupt-return.ts";
import { Blocking, type InstructionTable, type LogicalProcessor } from "../logical-processor.ts";
import { cr4Bit, flagBit } from "../register-bits.ts";
import { currentStack } from "../stack.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";

const hasVirtualInterrupts = (lp: LogicalProcessor): boolean =>
  (lp.state.read32(lpOffset.cr4) & (lp.isVirtual8086 ? cr4Bit.VME : cr4Bit.PVI)) !== 0;

/** In virtual-8086 mode below IOPL 3, only the 16-bit forms work, and only with the mode's extensions. */
function usesVirtualInterruptFlag(lp: LogicalProcessor, size: number): boolean {
  if (!lp.isVirtual8086 || lp.ioPrivilegeLevel === 3) {
    return false;
  }
  if (size !== 2 || !hasVirtualInterrupts(lp)) {
    throw generalProtection();
  }
  return true;
}

/** PUSHF—Push EFLAGS Register Onto the Stack. */
function pushf(lp: LogicalProcessor, insn: InstructionView): number {
  const size = insn.operandSize;
  let image = lp.readFlags() & ~(flagBit.VM | flagBit.RF);
  if (usesVirtualInterruptFlag(lp, size)) {
    const enabled = (image & flagBit.VIF) !== 0;
    image = (enabled ? image | flagBit.IF : image & ~flagBit.IF) | flagBit.IOPL;
  }
  const stack = currentStack(lp);
  stack.pushNumber(image, size);
  stack.commit();
  return Outcome.Next;
}

/** POPF—Pop Stack Into EFLAGS Register. */
function popf(lp: LogicalProcessor, insn: InstructionView): number {
  const size = insn.operandSize;
  const virtual = usesVirtualInterruptFlag(lp, size);
  const stack = currentStack(lp);
  const image = stack.popNumber(size);
  if (virtual) {
    popVirtual(lp, image);
  } else {
    // RF is cleared, not loaded; nothing of VM, VIF and VIP changes.
    const loadable = loadableFlags(lp, size);
    lp.changeFlags(image & ~flagBit.RF, loadable);
  }
  stack.commit();
  return Outcome.Next;
}
function popVirtual(lp: LogicalProcessor, image: number): void {
  const enables = (image & flagBit.IF) !== 0;
  if ((image & flagBit.TF) !== 0 || (enables && (lp.readFlags() & flagBit.VIP) !== 0)) {
    throw generalProtection();
  }
  const seen = enables ? image | flagBit.VIF : image & ~flagBit.VIF;
  lp.changeFlags(seen, (loadableFlags(lp, 2) & ~flagBit.IF) | flagBit.VIF);
}

/** What CLI and STI work on: IF itself, VIF in its place, or a fault. */
function interruptFlag(lp: LogicalProcessor): number {
  if (lp.state.cpl <= lp.ioPrivilegeLevel) {
    return flagBit.IF;
  }
  if (lp.state.cpl === 3 && hasVirtualInterrupts(lp)) {
    return flagBit.VIF;
  }
  throw generalProtection();
}

/** CLI—Clear Interrupt Flag. */
function cli(lp: LogicalProcessor): number {
  lp.changeFlags(0, interruptFlag(lp));
  return Outcome.Next;
}

/** STI—Set Interrupt Flag. Interrupts begin behind the instruction that follows. */
function sti(lp: LogicalProcessor): number {
  const flag = interruptFlag(lp);
  const flags = lp.readFlags();
  if (flag === flagBit.VIF && (flags & flagBit.VIP) !== 0) {
    throw generalProtection();
  }
  if ((flags & flag) === 0) {
    lp.changeFlags(-1, flag);
    if (flag === flagBit.IF) {
      lp.blockNextBoundary(Blocking.sti);
    }
  }
  return Outcome.Next;
}

/** CLAC and STAC: Clear, Set AC Flag in EFLAGS Register. */
const setAccess = (image: number) => (lp: LogicalProcessor) => {
  if (lp.state.cpl !== 0) {
    throw undefinedOpcode();
  }
  lp.changeFlags(image, flagBit.AC);
  return Outcome.Next;
};

export const flagInstructions: InstructionTable = {
  Pushf: pushf,
  Pushfd: pushf,
  Pushfq: pushf,
  Popf: popf,
  Popfd: popf,
  Popfq: popf,
  Cli: cli,
  Sti: sti,
  Clac: setAccess(0),
  Stac: setAccess(-1),
};
