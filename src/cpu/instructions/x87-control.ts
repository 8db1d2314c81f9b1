import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { cr0Bit } from "../register-bits.ts";
import { deviceNotAvailable } from "../trap.ts";
import {
  clearExceptions,
  initializeFpu,
  readControl,
  readStack,
  readStatus,
  writeControl,
  writeStack,
  writeStatus,
  writeTags,
} from "../x87/register-stack.ts";
import { requireFpu, requireNoPendingException } from "./x87.ts";

type Operation = (lp: LogicalProcessor, insn: InstructionView) => void;

/** FN…: does not look at pending exceptions. */
const notWaiting =
  (operation: Operation): InstructionHandler =>
  (lp, insn) => {
    requireFpu(lp);
    operation(lp, insn);
    return Outcome.Next;
  };

const waiting =
  (operation: Operation): InstructionHandler =>
  (lp, insn) => {
    requireFpu(lp);
    requireNoPendingException(lp);
    operation(lp, insn);
    return Outcome.Next;
  };

/** WAIT/FWAIT: CR0.EM does not concern it, TS only together with MP. */
function wait(lp: LogicalProcessor): number {
  const both = cr0Bit.MP | cr0Bit.TS;
  if ((lp.state.low("cr0") & both) === both) {
    throw deviceNotAvailable();
  }
  requireNoPendingException(lp);
  return Outcome.Next;
}

function storeWord(lp: LogicalProcessor, insn: InstructionView, value: number): void {
  lp.linear.write16(lp.effectiveLinear(insn, 0, 2, true), value, AccessClass.Current);
}

/** FNSTSW: to memory or AX. */
function fnstsw(lp: LogicalProcessor, insn: InstructionView): void {
  const status = readStatus(lp.state);
  if (insn.isMemory) {
    storeWord(lp, insn, status);
  } else {
    lp.state.write16(lpOffset.gpr, status);
  }
}

function fldcw(lp: LogicalProcessor, insn: InstructionView): void {
  const linear = lp.effectiveLinear(insn, 0, 2, false);
  writeControl(lp.state, lp.linear.read16(linear, AccessClass.Current));
}

// ---- The environment -------------------------------------------------------------------------------------------------

/** Bytes of the environment for a 16-bit operand size; 28 for 32 bits. */
const narrowEnvironment = 14;
const wideEnvironment = 28;
const registerBytes = 10;
const opcodeMask = 0x7ff;
const allMasked = 0x3f;

/** "x87 FPU State Image" in its four layouts: operand size 16 or 32 bits, protected mode or not. Selectors are zero. */
function writeEnvironment(lp: LogicalProcessor, image: DataView, wide: boolean): void {
  const { state } = lp;
  const step = wide ? 4 : 2;
  if (wide) {
    // The unused halves of the words read as ones.
    for (let at = 0; at < wideEnvironment; at += 4) {
      image.setUint32(at, 0xffff_ffff, true);
    }
  }
  image.setUint16(0, readControl(state), true);
  image.setUint16(step, readStatus(state), true);
  image.setUint16(step * 2, state.read16(lpOffset.ftw), true);
  const fip = state.read32(lpOffset.fip);
  const fdp = state.read32(lpOffset.fdp);
  const opcode = state.read16(lpOffset.fop) & opcodeMask;
  if (!lp.isProtected) {
    writeRealPointers(image, wide, fip, fdp, opcode);
  } else if (wide) {
    image.setUint32(12, fip, true);
    image.setUint32(16, opcode << 16, true);
    image.setUint32(20, fdp, true);
    image.setUint16(24, 0, true);
  } else {
    image.setUint16(6, fip & 0xffff, true);
    image.setUint16(8, 0, true);
    image.setUint16(10, fdp & 0xffff, true);
    image.setUint16(12, 0, true);
  }
}

/** Real and virtual-8086 mode: linear pointers, the opcode beside the upper part of the instruction's. */
function writeRealPointers(
  image: DataView,
  wide: boolean,
  fip: number,
  fdp: number,
  opcode: number,
): void {
  if (wide) {
    image.setUint16(12, fip & 0xffff, true);
    image.setUint32(16, (((fip >>> 16) << 12) | opcode) >>> 0, true);
    image.setUint16(20, fdp & 0xffff, true);
    image.setUint32(24, ((fdp >>> 16) << 12) >>> 0, true);
  } else {
    image.setUint16(6, fip & 0xffff, true);
    image.setUint16(8, (((fip >>> 16) & 0xf) << 12) | opcode, true);
    image.setUint16(10, fdp & 0xffff, true);
    image.setUint16(12, ((fdp >>> 16) & 0xf) << 12, true);
  }
}

function readEnvironment(lp: LogicalProcessor, image: DataView, wide: boolean): void {
  const { state } = lp;
  const step = wide ? 4 : 2;
  const word = (n: number): number =>
    wide ? image.getUint32(12 + n * 4, true) : image.getUint16(6 + n * 2, true);
  const [ip, ipHigh, dp, dpHigh] = [word(0), word(1), word(2), word(3)];
  let [fip, fdp, opcode] = [ip, dp, (ipHigh >>> 16) & opcodeMask];
  if (!lp.isProtected) {
    fip = ((ip & 0xffff) | ((ipHigh >>> 12) << 16)) >>> 0;
    fdp = ((dp & 0xffff) | ((dpHigh >>> 12) << 16)) >>> 0;
    opcode = ipHigh & opcodeMask;
  }
  state.write64(lpOffset.fip, BigInt(fip));
  state.write64(lpOffset.fdp, BigInt(fdp));
  state.write16(lpOffset.fop, opcode);
  writeControl(state, image.getUint16(0, true));
  writeStatus(state, image.getUint16(step, true));
  writeTags(state, image.getUint16(step * 2, true));
}

function writeImage(
  lp: LogicalProcessor,
  insn: InstructionView,
  fill: (image: DataView) => void,
): void {
  const bytes = new Uint8Array(insn.operandSize);
  const linear = lp.effectiveLinear(insn, 0, bytes.length, true);
  fill(new DataView(bytes.buffer));
  lp.linear.writeBytes(linear, bytes, AccessClass.Current);
}

function readImage(lp: LogicalProcessor, insn: InstructionView): DataView {
  const bytes = new Uint8Array(insn.operandSize);
  lp.linear.readBytes(lp.effectiveLinear(insn, 0, bytes.length, false), bytes, AccessClass.Current);
  return new DataView(bytes.buffer);
}

/** FNSTENV: also masks all exceptions. */
function fnstenv(lp: LogicalProcessor, insn: InstructionView): void {
  writeImage(lp, insn, (image) =>
    writeEnvironment(lp, image, insn.operandSize === wideEnvironment),
  );
  writeControl(lp.state, readControl(lp.state) | allMasked);
}

function fldenv(lp: LogicalProcessor, insn: InstructionView): void {
  readEnvironment(lp, readImage(lp, insn), insn.operandSize === wideEnvironment);
}

const wideState = wideEnvironment + 8 * registerBytes;

/** FNSAVE: the environment and the registers in stack order; then as FNINIT. */
function fnsave(lp: LogicalProcessor, insn: InstructionView): void {
  const isWide = insn.operandSize === wideState;
  writeImage(lp, insn, (image) => {
    writeEnvironment(lp, image, isWide);
    for (let n = 0; n < 8; n++) {
      const at = (isWide ? wideEnvironment : narrowEnvironment) + n * registerBytes;
      const { signExponent, significand } = readStack(lp.state, n);
      image.setBigUint64(at, significand, true);
      image.setUint16(at + 8, signExponent, true);
    }
  });
  initializeFpu(lp.state);
}

function frstor(lp: LogicalProcessor, insn: InstructionView): void {
  const isWide = insn.operandSize === wideState;
  const image = readImage(lp, insn);
  const step = isWide ? 4 : 2;
  // The registers' places follow from the top of stack in the image.
  writeStatus(lp.state, image.getUint16(step, true));
  for (let n = 0; n < 8; n++) {
    const at = (isWide ? wideEnvironment : narrowEnvironment) + n * registerBytes;
    writeStack(lp.state, n, {
      significand: image.getBigUint64(at, true),
      signExponent: image.getUint16(at + 8, true),
    });
  }
  readEnvironment(lp, image, isWide);
}

export const x87ControlInstructions: InstructionTable = {
  Wait: wait,
  Fninit: notWaiting(({ state }) => initializeFpu(state)),
  Fnclex: notWaiting(({ state }) => clearExceptions(state)),
  Fnstcw: notWaiting((lp, insn) => storeWord(lp, insn, readControl(lp.state))),
  Fnstsw: notWaiting(fnstsw),
  Fnstenv: notWaiting(fnstenv),
  Fnsave: notWaiting(fnsave),
  Fldcw: waiting(fldcw),
  Fldenv: waiting(fldenv),
  Frstor: waiting(frstor),
};
