/** SYSCALL, SYSRET, SYSENTER, SYSEXIT: transfers between levels 3 and 0 without descriptors or stacks in memory. */
import { Outcome } from "../../execution/core-host.ts";
import { lpOffset, Segment } from "../../execution/lp-window.ts";
import { isCanonicalAddress } from "../canonical.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { eferBit, flagBit, flagsDefined } from "../register-bits.ts";
import { setSegment } from "../segment-registers.ts";
import { setPrivilege } from "../segmentation.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";

const rsp = 4;
const rcx = 1;
const rdx = 2;
const r11 = 11;
const flat = 0xffff_ffff;

/** Rights of the fixed, flat segments: accessed, present. */
const code64 = 0xa09b;
const code32 = 0xc09b;
const data32 = 0xc093;
const level3 = 3 << 5;

function loadFlat(lp: LogicalProcessor, code: number, codeRights: number, stack: number): void {
  const level = codeRights & level3;
  setSegment(lp.state, Segment.CS, code, codeRights, flat, 0n);
  setSegment(lp.state, Segment.SS, stack, data32 | level, flat, 0n);
}

/** SYSCALL—Fast System Call. */
function syscall(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  if (!lp.is64Bit || (state.read32(lpOffset.efer) & eferBit.SCE) === 0) {
    throw undefinedOpcode();
  }
  const flags = lp.readFlags();
  state.setGpr(rcx, insn.next);
  state.setGpr(r11, BigInt(flags & ~flagBit.RF));
  state.rip = state.get("lstar");
  const selector = state.readHigh32(lpOffset.star) & 0xfffc;
  lp.changeFlags(0, state.read32(lpOffset.fmask) | flagBit.RF);
  loadFlat(lp, selector, code64, selector + 8);
  setPrivilege(lp, 0);
  // A trap flag that the mask clears steps over the call.
  lp.stepAfter &&= (state.read32(lpOffset.systemFlags) & flagBit.TF) !== 0;
  return Outcome.Jump;
}

/** Flags that SYSRET loads: everything but RF and VM. */
const returnedFlags = flagsDefined & ~(flagBit.RF | flagBit.VM);

/** SYSRET—Return From Fast System Call. */
function sysret(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  if (!lp.is64Bit || (state.read32(lpOffset.efer) & eferBit.SCE) === 0) {
    throw undefinedOpcode();
  }
  lp.requirePrivilege0();
  const wide = insn.operandSize === 8;
  const target = wide ? state.gpr(rcx) : BigInt(state.gpr32(rcx));
  if (wide && !isCanonicalAddress(target)) {
    throw generalProtection();
  }
  const base = state.readHigh32(lpOffset.star) >>> 16;
  const code = (wide ? base + 16 : base) | 3;
  state.rip = target;
  loadFlat(lp, code & 0xffff, (wide ? code64 : code32) | level3, ((base + 8) | 3) & 0xffff);
  lp.changeFlags(state.gpr32(r11), returnedFlags | flagBit.RF);
  setPrivilege(lp, 3);
  return Outcome.Jump;
}

/** SYSENTER—Fast System Call. */
function sysenter(lp: LogicalProcessor): number {
  const { state } = lp;
  const selector = state.read32(lpOffset.sysenterCs) & 0xfffc;
  if (!lp.isProtected && !lp.isVirtual8086) {
    throw generalProtection();
  }
  if (selector === 0) {
    throw generalProtection();
  }
  const long = lp.isLongMode;
  lp.changeFlags(0, flagBit.VM | flagBit.IF | flagBit.RF);
  const mask = long ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn;
  state.setGpr(rsp, state.get("sysenterEsp") & mask);
  state.rip = state.get("sysenterEip") & mask;
  loadFlat(lp, selector, long ? code64 : code32, selector + 8);
  setPrivilege(lp, 0);
  return Outcome.Jump;
}

/** SYSEXIT—Fast Return from Fast System Call. */
function sysexit(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  const selector = state.read32(lpOffset.sysenterCs) & 0xfffc;
  if (!lp.isProtected || selector === 0) {
    throw generalProtection();
  }
  lp.requirePrivilege0();
  const wide = insn.operandSize === 8;
  const target = wide ? state.gpr(rdx) : BigInt(state.gpr32(rdx));
  const stack = wide ? state.gpr(rcx) : BigInt(state.gpr32(rcx));
  if (wide && !(isCanonicalAddress(target) && isCanonicalAddress(stack))) {
    throw generalProtection();
  }
  state.rip = target;
  state.setGpr(rsp, stack);
  const code = ((selector + (wide ? 32 : 16)) | 3) & 0xffff;
  loadFlat(lp, code, (wide ? code64 : code32) | level3, (code + 8) & 0xffff);
  setPrivilege(lp, 3);
  return Outcome.Jump;
}

export const fastCallInstructions: InstructionTable = {
  Syscall: syscall,
  Sysret: sysret,
  Sysretq: sysret,
  Sysenter: sysenter,
  Sysexit: sysexit,
  Sysexitq: sysexit,
};
