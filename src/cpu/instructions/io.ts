import { Outcome } from "../../execution/core-host.ts";
import { prefixBit } from "../../execution/instruction-record.ts";
import { Iteration, lpOffset, Segment } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import { requireIoPermission } from "../io-permission.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { flagBit } from "../register-bits.ts";
import { writeRegister } from "./register-operands.ts";

type Size = 1 | 2 | 4;

const sizeMask = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;
const Gpr = { rax: 0, rcx: 1, rdx: 2, rsi: 6, rdi: 7 } as const;
/** Elements a repeated INS or OUTS moves before others get their turn. */
const elementsMax = 256;

/** I/O breakpoints are traps: they are reported at the next boundary. */
function noteBreakpoints(lp: LogicalProcessor, port: number, size: number): void {
  const hits = lp.breakpoints.ioHits(port, size);
  if (hits !== 0) {
    lp.pendingDebug |= hits;
  }
}

function portOf(lp: LogicalProcessor, insn: InstructionView, immediate: boolean): number {
  return immediate ? Number(insn.immediate & 0xffn) : lp.state.gpr32(Gpr.rdx) & 0xffff;
}

/** IN—Input from Port. */
const input =
  (size: Size, immediate: boolean): InstructionHandler =>
  (lp, insn) => {
    const port = portOf(lp, insn, immediate);
    requireIoPermission(lp, port, size);
    if (lp.intercepts.nonRoot && lp.intercepts.io(port, size, true, insn, false, immediate, 0n)) {
      return Outcome.Jump;
    }
    const value = lp.bus.readPort(port, size) & sizeMask[size];
    writeRegister(lp.state, Gpr.rax, size, BigInt(value >>> 0));
    noteBreakpoints(lp, port, size);
    return Outcome.Next;
  };

/** OUT—Output to Port. */
const output =
  (size: Size, immediate: boolean): InstructionHandler =>
  (lp, insn) => {
    const port = portOf(lp, insn, immediate);
    requireIoPermission(lp, port, size);
    if (lp.intercepts.nonRoot && lp.intercepts.io(port, size, false, insn, false, immediate, 0n)) {
      return Outcome.Jump;
    }
    lp.bus.writePort(port, size, (lp.state.gpr32(Gpr.rax) & sizeMask[size]) >>> 0);
    noteBreakpoints(lp, port, size);
    return Outcome.Next;
  };

// ---- INS and OUTS ----------------------------------------------------------------------------------------------------

/** A register as the address size sees it. */
function readAddressRegister(lp: LogicalProcessor, gpr: number, addressSize: number): bigint {
  return BigInt.asUintN(addressSize * 8, lp.state.gpr(gpr));
}

function addToAddressRegister(
  lp: LogicalProcessor,
  gpr: number,
  addressSize: number,
  distance: number,
): void {
  const sum = readAddressRegister(lp, gpr, addressSize) + BigInt(distance);
  writeRegister(lp.state, gpr, addressSize, BigInt.asUintN(addressSize * 8, sum));
}

/** Linear address for the exit information, which comes before all checks of the segment. */
function reportedLinear(lp: LogicalProcessor, segment: number, offset: bigint): bigint {
  const flat = lp.is64Bit && segment < Segment.FS;
  const linear = (flat ? 0n : lp.state.segmentBase(segment)) + offset;
  return BigInt.asUintN(lp.is64Bit ? 64 : 32, linear);
}

function inputElement(
  lp: LogicalProcessor,
  port: number,
  size: Size,
  segment: number,
  offset: bigint,
): void {
  const linear = lp.segmentLinear(segment, offset, size, true);
  // A fault comes before the device is read.
  lp.linear.checkWritable(linear, size, AccessClass.Current);
  const value = (lp.bus.readPort(port, size) & sizeMask[size]) >>> 0;
  if (size === 4) {
    lp.linear.write32(linear, value, AccessClass.Current);
  } else if (size === 2) {
    lp.linear.write16(linear, value, AccessClass.Current);
  } else {
    lp.linear.write8(linear, value, AccessClass.Current);
  }
}

function outputElement(
  lp: LogicalProcessor,
  port: number,
  size: Size,
  segment: number,
  offset: bigint,
): void {
  const linear = lp.segmentLinear(segment, offset, size, false);
  const value =
    size === 4
      ? lp.linear.read32(linear, AccessClass.Current)
      : size === 2
        ? lp.linear.read16(linear, AccessClass.Current)
        : lp.linear.read8(linear, AccessClass.Current);
  lp.bus.writePort(port, size, value >>> 0);
}

/** Another element now, or is it time to let events and others in? */
function mayContinue(lp: LogicalProcessor, moved: number): boolean {
  const { state } = lp;
  return (
    moved < elementsMax &&
    state.read32(lpOffset.iteration) === Iteration.Continue &&
    Atomics.load(state.i32, (state.base + lpOffset.pending) >>> 2) === 0
  );
}

/** Leaves the instruction between two elements. What comes there finds RFLAGS.RF set. */
function interrupted(lp: LogicalProcessor): Outcome {
  const { state } = lp;
  state.write32(lpOffset.systemFlags, state.read32(lpOffset.systemFlags) | flagBit.RF);
  lp.resumeIsNew = true;
  if (state.read32(lpOffset.iteration) === Iteration.Continue) {
    return Outcome.Jump;
  }
  state.write32(lpOffset.iteration, Iteration.Stopped);
  return Outcome.Again;
}

/** What an INS or OUTS is about: worked out once, however often it repeats. */
interface StringTransfer {
  readonly size: Size;
  readonly isInput: boolean;
  readonly port: number;
  readonly segment: number;
  readonly pointer: number;
  readonly addressSize: number;
}

/** One element, complete. @returns false when a VM exit was taken instead */
function transferElement(
  lp: LogicalProcessor,
  insn: InstructionView,
  transfer: StringTransfer,
): boolean {
  const { size, isInput, port, segment, pointer, addressSize } = transfer;
  requireIoPermission(lp, port, size);
  const offset = readAddressRegister(lp, pointer, addressSize);
  if (lp.intercepts.nonRoot) {
    const linear = reportedLinear(lp, segment, offset);
    if (lp.intercepts.io(port, size, isInput, insn, true, false, linear)) {
      return false;
    }
  }
  const move = isInput ? inputElement : outputElement;
  move(lp, port, size, segment, offset);
  const isDown = (lp.state.read32(lpOffset.systemFlags) & flagBit.DF) !== 0;
  addToAddressRegister(lp, pointer, addressSize, isDown ? -size : size);
  noteBreakpoints(lp, port, size);
  return true;
}

/**
 * INS and OUTS, repeated or not. Each element is complete before the next begins, so a fault or an exit finds the registers
 * at the element it is about. A long repetition is left now and then with RIP still at it.
 */
const stringIo =
  (size: Size, isInput: boolean): InstructionHandler =>
  (lp, insn) => {
    const { addressSize } = insn;
    const transfer = {
      size,
      isInput,
      port: lp.state.gpr32(Gpr.rdx) & 0xffff,
      segment: isInput ? Segment.ES : insn.segment,
      pointer: isInput ? Gpr.rdi : Gpr.rsi,
      addressSize,
    };
    if ((insn.prefixes & (prefixBit.rep | prefixBit.repne)) === 0) {
      return transferElement(lp, insn, transfer) ? Outcome.Next : Outcome.Jump;
    }
    for (let moved = 0; readAddressRegister(lp, Gpr.rcx, addressSize) !== 0n; moved++) {
      if (moved > 0 && !mayContinue(lp, moved)) {
        return interrupted(lp);
      }
      if (!transferElement(lp, insn, transfer)) {
        return Outcome.Jump;
      }
      addToAddressRegister(lp, Gpr.rcx, addressSize, -1);
    }
    return Outcome.Next;
  };

export const ioInstructions: InstructionTable = {
  In_AL_imm8: input(1, true),
  In_AX_imm8: input(2, true),
  In_EAX_imm8: input(4, true),
  In_AL_DX: input(1, false),
  In_AX_DX: input(2, false),
  In_EAX_DX: input(4, false),
  Out_imm8_AL: output(1, true),
  Out_imm8_AX: output(2, true),
  Out_imm8_EAX: output(4, true),
  Out_DX_AL: output(1, false),
  Out_DX_AX: output(2, false),
  Out_DX_EAX: output(4, false),
  Insb: stringIo(1, true),
  Insw: stringIo(2, true),
  Insd: stringIo(4, true),
  Outsb: stringIo(1, false),
  Outsw: stringIo(2, false),
  Outsd: stringIo(4, false),
};
