import { Outcome } from "../../execution/core-host.ts";
import { Segment } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import type { InstructionView } from "../instruction-view.ts";
import type { InstructionTable, LogicalProcessor } from "../logical-processor.ts";
import { supportedCr4 } from "../models/cpu-model.ts";
import { cr0Bit, cr4Bit, eferBit } from "../register-bits.ts";
import { generalProtection, undefinedOpcode } from "../trap.ts";
import { writeRegister } from "./register-operands.ts";

const cr0Defined =
  (cr0Bit.PE |
    cr0Bit.MP |
    cr0Bit.EM |
    cr0Bit.TS |
    cr0Bit.NE |
    cr0Bit.WP |
    cr0Bit.AM |
    cr0Bit.NW |
    cr0Bit.CD |
    cr0Bit.PG) >>>
  0;
/** The machine status word: what LMSW writes. */
const statusWord = cr0Bit.PE | cr0Bit.MP | cr0Bit.EM | cr0Bit.TS;
/** 16-bit TSS, available and busy. */
const tss16 = [1, 3];
const pcidMask = 0xfff;
const noFlush = 1n << 63n;

type InterceptedRegister = 0 | 3 | 4 | 8;

function isIntercepted(register: number): register is InterceptedRegister {
  return register === 0 || register === 3 || register === 4 || register === 8;
}

// ---- Loading control registers ---------------------------------------------------------------------------------------

/** PAE paging is in use: the PDPTEs are registers of the processor. */
function usesPdptes(cr0: number, cr4: number, efer: number): boolean {
  return (cr0 & cr0Bit.PG) !== 0 && (cr4 & cr4Bit.PAE) !== 0 && (efer & eferBit.LMA) === 0;
}

/**
 * Loads CR0, after "Control Registers" and "Initializing IA-32e Mode". Reserved bits are ignored, ET stays 1.
 * @throws #GP(0): nothing has changed
 */
export function loadCr0(lp: LogicalProcessor, value: bigint): void {
  const { state } = lp;
  const old = state.low("cr0");
  const next = ((Number(BigInt.asUintN(32, value)) & cr0Defined) | cr0Bit.ET) >>> 0;
  const { cr0Ones, cr0Allowed } = lp.fixedBits;
  const isMalformed =
    value >> 32n !== 0n ||
    (next & (cr0Bit.PG | cr0Bit.PE)) >>> 0 === cr0Bit.PG ||
    (next & (cr0Bit.NW | cr0Bit.CD)) === cr0Bit.NW ||
    (~next & cr0Ones) !== 0 ||
    (next & ~cr0Allowed) !== 0;
  if (isMalformed) {
    throw generalProtection();
  }
  const changed = old ^ next;
  const efer = pagingSwitched(lp, old, next);
  if (
    (changed & (cr0Bit.PG | cr0Bit.CD | cr0Bit.NW)) !== 0 &&
    usesPdptes(next, state.low("cr4"), efer)
  ) {
    reloadPdptes(lp, state.low("cr3"));
  }
  state.setLow("cr0", next);
  state.setLow("efer", efer);
  if ((changed & cr0Bit.PG) !== 0) {
    lp.addressSpace.changed();
    lp.addressSpace.invalidateVm();
  }
  if ((changed & cr0Bit.PE) !== 0) {
    lp.loadControlState();
  } else if ((changed & ~cr0Bit.MP) !== 0) {
    lp.addressSpace.changed();
    lp.core.codeContextChanged();
  }
}

/**
 * The checks of turning paging on or off.
 * @returns EFER as it will be: LMA follows CR0.PG when LME is set
 */
function pagingSwitched(lp: LogicalProcessor, old: number, next: number): number {
  const { state } = lp;
  const efer = state.low("efer");
  if (((old ^ next) & cr0Bit.PG) === 0) {
    return efer;
  }
  const cr4 = state.low("cr4");
  if ((next & cr0Bit.PG) === 0) {
    if ((cr4 & cr4Bit.PCIDE) !== 0 || lp.is64Bit) {
      throw generalProtection();
    }
    return efer & ~eferBit.LMA;
  }
  if ((efer & eferBit.LME) === 0) {
    return efer;
  }
  const isLongCode = (state.rights(Segment.CS) & (1 << 13)) !== 0;
  if ((cr4 & cr4Bit.PAE) === 0 || isLongCode || tss16.includes(state.rights(Segment.TR) & 0x1f)) {
    throw generalProtection();
  }
  return efer | eferBit.LMA;
}

function reloadPdptes(lp: LogicalProcessor, cr3: number): void {
  if (!lp.walker.loadPdptes(cr3)) {
    throw generalProtection();
  }
}

/**
 * Loads CR3. With PCIDs, bit 63 asks to keep what the TLB knows of the new one.
 * @throws #GP(0): nothing has changed
 */
export function loadCr3(lp: LogicalProcessor, value: bigint): void {
  const { state } = lp;
  const cr4 = state.low("cr4");
  const keep = (cr4 & cr4Bit.PCIDE) !== 0 && (value & noFlush) !== 0n;
  const address = keep ? value & ~noFlush : value;
  if (lp.isLongMode && address >> BigInt(lp.model.physicalAddressBits) !== 0n) {
    throw generalProtection();
  }
  if (usesPdptes(state.low("cr0"), cr4, state.low("efer"))) {
    reloadPdptes(lp, Number(BigInt.asUintN(32, address)));
  }
  state.set("cr3", address);
  lp.addressSpace.cr3Loaded(keep);
}

/** Changes of these bits make what the TLB knows void. */
const cr4Flushing =
  cr4Bit.PGE | cr4Bit.PAE | cr4Bit.PSE | cr4Bit.SMEP | cr4Bit.PCIDE | cr4Bit.PKE | cr4Bit.PKS;
const cr4ReloadsPdptes = cr4Bit.PGE | cr4Bit.PAE | cr4Bit.PSE | cr4Bit.SMEP;

/** @throws #GP(0): nothing has changed */
export function loadCr4(lp: LogicalProcessor, value: bigint): void {
  const { state } = lp;
  const old = state.low("cr4");
  const next = Number(BigInt.asUintN(32, value));
  const { cr4Ones, cr4Allowed } = lp.fixedBits;
  const isMalformed =
    value >> 32n !== 0n ||
    (next & ~supportedCr4(lp.model)) !== 0 ||
    (~next & cr4Ones) !== 0 ||
    (next & ~cr4Allowed) !== 0 ||
    (lp.isLongMode && (next & cr4Bit.PAE) === 0);
  if (isMalformed || !mayEnablePcids(lp, old, next)) {
    throw generalProtection();
  }
  const changed = old ^ next;
  if ((changed & cr4ReloadsPdptes) !== 0 && usesPdptes(state.low("cr0"), next, state.low("efer"))) {
    reloadPdptes(lp, state.low("cr3"));
  }
  state.setLow("cr4", next);
  lp.addressSpace.changed();
  if ((changed & cr4Flushing) !== 0) {
    lp.addressSpace.invalidateVm();
  }
  if ((changed & cr4Bit.DE) !== 0) {
    lp.debugRegistersChanged();
  }
  lp.core.codeContextChanged();
}

/** PCIDE is set only in IA-32e mode, while the current PCID is 0. */
function mayEnablePcids(lp: LogicalProcessor, old: number, next: number): boolean {
  const isEnabling = (next & ~old & cr4Bit.PCIDE) !== 0;
  return !isEnabling || (lp.isLongMode && (lp.state.low("cr3") & pcidMask) === 0);
}

function loadCr8(lp: LogicalProcessor, value: bigint): void {
  if (value > 0xfn) {
    throw generalProtection();
  }
  lp.apic.cr8 = Number(value);
}

function loadControl(lp: LogicalProcessor, register: number, value: bigint): void {
  switch (register) {
    case 0:
      loadCr0(lp, value);
      return;
    case 2:
      lp.state.set("cr2", value);
      return;
    case 3:
      loadCr3(lp, value);
      return;
    case 4:
      loadCr4(lp, value);
      return;
    case 8:
      loadCr8(lp, value);
      return;
    default:
      throw undefinedOpcode();
  }
}

function readControl(lp: LogicalProcessor, register: number): bigint {
  switch (register) {
    case 0:
      return lp.state.get("cr0");
    case 2:
      return lp.state.get("cr2");
    case 3:
      return lp.state.get("cr3");
    case 4:
      return lp.state.get("cr4");
    case 8:
      return BigInt(lp.apic.cr8);
    default:
      throw undefinedOpcode();
  }
}

// ---- Instructions ----------------------------------------------------------------------------------------------------

/** MOV—Move to/from Control Registers: to. */
function movToControl(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  const { state } = lp;
  const register = insn.destination;
  const gpr = insn.source;
  let value = lp.is64Bit ? state.gpr(gpr) : BigInt(state.gpr32(gpr));
  if (lp.intercepts.nonRoot && isIntercepted(register)) {
    const answer = lp.intercepts.writeControl(register, value, insn, gpr);
    if (answer === true) {
      return Outcome.Jump;
    }
    if (answer === false) {
      return Outcome.Next;
    }
    value = answer.load;
  }
  loadControl(lp, register, value);
  return Outcome.Next;
}

/** MOV—Move to/from Control Registers: from. */
function movFromControl(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  const { state } = lp;
  const register = insn.source;
  const gpr = insn.destination;
  let value = readControl(lp, register);
  if (lp.intercepts.nonRoot && isIntercepted(register)) {
    const answer = lp.intercepts.readControl(register, value, insn, gpr);
    if (answer === true) {
      return Outcome.Jump;
    }
    if (answer !== false) {
      value = answer.see;
    }
  }
  writeRegister(state, gpr, lp.is64Bit ? 8 : 4, value);
  return Outcome.Next;
}

/** CLTS—Clear Task-Switched Flag in CR0. */
function clts(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  if (lp.intercepts.nonRoot) {
    const answer = lp.intercepts.clts(insn);
    if (answer === true) {
      return Outcome.Jump;
    }
    if (answer === "ignore") {
      return Outcome.Next;
    }
  }
  const { state } = lp;
  state.setLow("cr0", state.low("cr0") & ~cr0Bit.TS);
  lp.core.codeContextChanged();
  return Outcome.Next;
}

/** LMSW—Load Machine Status Word: the low four bits of CR0; PE can be set, not cleared. */
function lmsw(lp: LogicalProcessor, insn: InstructionView): number {
  lp.requirePrivilege0();
  let source = insn.isMemory
    ? lp.linear.read16(lp.effectiveLinear(insn, 0, 2, false), AccessClass.Current)
    : lp.state.gpr32(insn.destination) & 0xffff;
  if (lp.intercepts.nonRoot) {
    const answer = lp.intercepts.lmsw(source, insn);
    if (answer === true) {
      return Outcome.Jump;
    }
    if (answer !== false) {
      source = answer.load;
    }
  }
  const cr0 = lp.state.low("cr0");
  const kept = cr0 & (~statusWord | cr0Bit.PE);
  loadCr0(lp, BigInt((kept | (source & statusWord)) >>> 0));
  return Outcome.Next;
}

/** SMSW—Store Machine Status Word: a register gets as much of CR0 as it holds, memory gets 16 bits. */
function smsw(lp: LogicalProcessor, insn: InstructionView): number {
  const { state } = lp;
  if ((state.low("cr4") & cr4Bit.UMIP) !== 0 && state.cpl !== 0) {
    throw generalProtection();
  }
  const cr0 = state.low("cr0");
  const value = lp.intercepts.nonRoot ? lp.intercepts.smsw(cr0) >>> 0 : cr0;
  if (insn.isMemory) {
    lp.linear.write16(lp.effectiveLinear(insn, 0, 2, true), value & 0xffff, AccessClass.Current);
  } else {
    writeRegister(state, insn.destination, insn.operandSize, BigInt(value));
  }
  return Outcome.Next;
}

export const controlRegisterInstructions: InstructionTable = {
  Mov_cr_r32: movToControl,
  Mov_cr_r64: movToControl,
  Mov_r32_cr: movFromControl,
  Mov_r64_cr: movFromControl,
  Clts: clts,
  Lmsw: lmsw,
  Smsw: smsw,
};
