import { Outcome } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { AccessClass } from "../address-space.ts";
import {
  Component,
  clearXmm,
  componentsInUse,
  legacyBytes,
  legacyDefinedBytes,
  legacyOffset,
  mxcsrMask,
  mxcsrReset,
  readX87,
  readXmm,
  writeMxcsr,
  writeX87,
  writeXmm,
} from "../extended-state.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import type { CpuFeature } from "../models/cpu-features.ts";
import { cr0Bit, cr4Bit } from "../register-bits.ts";
import { deviceNotAvailable, generalProtection, undefinedOpcode } from "../trap.ts";
import { resetFpu } from "../x87/register-stack.ts";
import { readEdxEax, writeEdxEax } from "./register-operands.ts";
import { requireFpu } from "./x87.ts";

/** XMM registers that the mode reaches. */
function xmmRegisters(lp: LogicalProcessor): number {
  return lp.is64Bit ? 16 : 8;
}

/** Linear address of a state area. @throws #GP(0) when it is not aligned */
function stateArea(
  lp: LogicalProcessor,
  insn: InstructionView,
  bytes: number,
  alignment: bigint,
  isWrite: boolean,
): bigint {
  const linear = lp.effectiveLinear(insn, 0, bytes, isWrite);
  if (linear % alignment !== 0n) {
    throw generalProtection();
  }
  return linear;
}

// ---- FXSAVE and FXRSTOR ----------------------------------------------------------------------------------------------

/** FXSAVE—Save x87 FPU, MMX Technology, and SSE State. */
const fxsave =
  (wide: boolean): InstructionHandler =>
  (lp, insn) => {
    requireFpu(lp);
    const linear = stateArea(lp, insn, legacyBytes, 16n, true);
    const registers = xmmRegisters(lp);
    const bytes = new Uint8Array(registers === 16 ? legacyDefinedBytes : legacyOffset.xmm + 8 * 16);
    const image = new DataView(bytes.buffer);
    writeX87(lp.state, image, wide);
    writeMxcsr(lp.state, image);
    writeXmm(lp.state, image, registers);
    lp.linear.checkWritable(linear, legacyBytes, AccessClass.Current);
    lp.linear.writeBytes(linear, bytes, AccessClass.Current);
    return Outcome.Next;
  };

/** FXRSTOR—Restore x87 FPU, MMX, XMM, and MXCSR State. */
const fxrstor =
  (wide: boolean): InstructionHandler =>
  (lp, insn) => {
    requireFpu(lp);
    const image = readArea(lp, stateArea(lp, insn, legacyBytes, 16n, false), legacyBytes);
    const mxcsr = image.getUint32(legacyOffset.mxcsr, true);
    if ((mxcsr & ~mxcsrMask) !== 0) {
      throw generalProtection();
    }
    readX87(lp.state, image, wide);
    lp.state.write32(lpOffset.mxcsr, mxcsr);
    readXmm(lp.state, image, xmmRegisters(lp));
    return Outcome.Next;
  };

function readArea(lp: LogicalProcessor, linear: bigint, size: number): DataView {
  const bytes = new Uint8Array(size);
  lp.linear.readBytes(linear, bytes, AccessClass.Current);
  return new DataView(bytes.buffer);
}

// ---- The XSAVE family ------------------------------------------------------------------------------------------------

/** The XSAVE header behind the legacy region: XSTATE_BV, XCOMP_BV, and 48 bytes that stay zero. */
const headerOffset = {
  states: legacyBytes,
  compaction: legacyBytes + 8,
  reserved: legacyBytes + 16,
} as const;
const areaBytes = legacyBytes + 64;
const areaAlignment = 64n;
const compacted = 1n << 63n;

/** @throws #UD without the feature or CR4.OSXSAVE, #NM with CR0.TS set */
function requireXsave(lp: LogicalProcessor, feature: CpuFeature): void {
  const isEnabled = (lp.state.low("cr4") & cr4Bit.OSXSAVE) !== 0;
  if (!lp.model.features.has(feature) || !isEnabled) {
    throw undefinedOpcode();
  }
  if ((lp.state.low("cr0") & cr0Bit.TS) !== 0) {
    throw deviceNotAvailable();
  }
}

interface XsaveForm {
  readonly feature: CpuFeature;
  /** Compacted format; components in their initial configuration are not written. */
  readonly compacts: boolean;
  /** Standard format; components in their initial configuration are not written. */
  readonly skipsInitial: boolean;
  /** Privileged, and manages the components of IA32_XSS too. */
  readonly supervisor: boolean;
}

/** The components asked for that the system has enabled: RFBM. */
function requestedComponents(lp: LogicalProcessor, supervisor: boolean): bigint {
  const enabled = lp.state.get("xcr0") | (supervisor ? lp.state.get("xss") : 0n);
  return readEdxEax(lp.state) & enabled;
}

/** The checks that XSAVES and XRSTORS make besides. @returns true when a VM exit was taken */
function supervisorExits(
  lp: LogicalProcessor,
  insn: InstructionView,
  which: "XSAVES" | "XRSTORS",
): boolean {
  const { nonRoot } = lp.intercepts;
  if (nonRoot && lp.intercepts.isUndefined("XSAVES")) {
    throw undefinedOpcode();
  }
  lp.requirePrivilege0();
  return nonRoot && lp.intercepts.instruction(which, insn, requestedComponents(lp, true));
}

/** XSAVE, XSAVEC, XSAVEOPT and XSAVES. No modified optimization: what is in use is written. */
const xsave =
  (form: XsaveForm, wide: boolean): InstructionHandler =>
  (lp, insn) => {
    requireXsave(lp, form.feature);
    if (form.supervisor && supervisorExits(lp, insn, "XSAVES")) {
      return Outcome.Jump;
    }
    const linear = stateArea(lp, insn, areaBytes, areaAlignment, true);
    lp.linear.checkWritable(linear, areaBytes, AccessClass.Current);
    const requested = requestedComponents(lp, form.supervisor);
    const inUse = requested & componentsInUse(lp.state, xmmRegisters(lp), form.compacts);
    const written = form.compacts || form.skipsInitial ? inUse : requested;
    const image = new DataView(new ArrayBuffer(areaBytes));
    if ((written & Component.x87) !== 0n) {
      writeX87(lp.state, image, wide);
      copyOut(lp, linear, image, legacyOffset.fcw, legacyOffset.mxcsr);
      copyOut(lp, linear, image, legacyOffset.st, legacyOffset.xmm);
    }
    if (((form.compacts ? written : requested) & Component.sse) !== 0n) {
      writeMxcsr(lp.state, image);
      copyOut(lp, linear, image, legacyOffset.mxcsr, legacyOffset.st);
    }
    if ((written & Component.sse) !== 0n) {
      const registers = xmmRegisters(lp);
      writeXmm(lp.state, image, registers);
      copyOut(lp, linear, image, legacyOffset.xmm, legacyOffset.xmm + registers * 16);
    }
    writeHeader(lp, linear, form.compacts, requested, inUse);
    return Outcome.Next;
  };

/** Bytes `from` up to `end` of the area. */
function copyOut(
  lp: LogicalProcessor,
  linear: bigint,
  image: DataView,
  from: number,
  end: number,
): void {
  lp.linear.writeBytes(
    linear + BigInt(from),
    new Uint8Array(image.buffer, from, end - from),
    AccessClass.Current,
  );
}

function writeHeader(
  lp: LogicalProcessor,
  linear: bigint,
  compacts: boolean,
  requested: bigint,
  inUse: bigint,
): void {
  const states = linear + BigInt(headerOffset.states);
  const old = compacts ? 0n : lp.linear.read64(states, AccessClass.Current);
  lp.linear.write64(states, (old & ~requested) | inUse, AccessClass.Current);
  if (compacts) {
    const compaction = linear + BigInt(headerOffset.compaction);
    lp.linear.write64(compaction, compacted | requested, AccessClass.Current);
  }
}

/** XRSTOR and XRSTORS: the components asked for are loaded, or initialized where the area does not hold them. */
const xrstor =
  (supervisor: boolean, wide: boolean): InstructionHandler =>
  (lp, insn) => {
    requireXsave(lp, supervisor ? "xsaves" : "xsave");
    if (supervisor && supervisorExits(lp, insn, "XRSTORS")) {
      return Outcome.Jump;
    }
    const image = readArea(lp, stateArea(lp, insn, areaBytes, areaAlignment, false), areaBytes);
    if (!isHeaderValid(lp, image, supervisor)) {
      throw generalProtection();
    }
    const requested = requestedComponents(lp, supervisor);
    const held = image.getBigUint64(headerOffset.states, true);
    const isCompacted = (image.getBigUint64(headerOffset.compaction, true) & compacted) !== 0n;
    // The standard format holds MXCSR whether or not it holds the rest of the SSE state.
    const hasMxcsr = !isCompacted || (held & Component.sse) !== 0n;
    const mxcsr = hasMxcsr ? image.getUint32(legacyOffset.mxcsr, true) : mxcsrReset;
    if ((requested & Component.sse) !== 0n && (mxcsr & ~mxcsrMask) !== 0) {
      throw generalProtection();
    }
    if ((requested & Component.x87) !== 0n) {
      restoreX87(lp, image, held, wide);
    }
    if ((requested & Component.sse) !== 0n) {
      lp.state.write32(lpOffset.mxcsr, mxcsr);
      restoreXmm(lp, image, held);
    }
    return Outcome.Next;
  };

function restoreX87(lp: LogicalProcessor, image: DataView, held: bigint, wide: boolean): void {
  if ((held & Component.x87) !== 0n) {
    readX87(lp.state, image, wide);
  } else {
    resetFpu(lp.state);
  }
}

function restoreXmm(lp: LogicalProcessor, image: DataView, held: bigint): void {
  if ((held & Component.sse) !== 0n) {
    readXmm(lp.state, image, xmmRegisters(lp));
  } else {
    clearXmm(lp.state, xmmRegisters(lp));
  }
}

/** "Operation of XRSTOR": what of the header leads to #GP. */
function isHeaderValid(lp: LogicalProcessor, image: DataView, supervisor: boolean): boolean {
  const states = image.getBigUint64(headerOffset.states, true);
  const compaction = image.getBigUint64(headerOffset.compaction, true);
  const enabled = lp.state.get("xcr0") | (supervisor ? lp.state.get("xss") : 0n);
  if ((compaction & compacted) === 0n) {
    const isStandard = compaction === 0n && image.getBigUint64(headerOffset.reserved, true) === 0n;
    return !supervisor && isStandard && (states & ~enabled) === 0n;
  }
  for (let at: number = headerOffset.reserved; at < areaBytes; at += 8) {
    if (image.getBigUint64(at, true) !== 0n) {
      return false;
    }
  }
  const holds = compaction & ~compacted;
  return lp.model.features.has("xsavec") && (holds & ~enabled) === 0n && (states & ~holds) === 0n;
}

// ---- XCR0 ------------------------------------------------------------------------------------------------------------

/** @throws #UD */
function requireXcr(lp: LogicalProcessor): void {
  if (!lp.model.features.has("xsave") || (lp.state.low("cr4") & cr4Bit.OSXSAVE) === 0) {
    throw undefinedOpcode();
  }
}

/** XGETBV—Get Value of Extended Control Register. Register 1: the components in use. */
function xgetbv(lp: LogicalProcessor): number {
  requireXcr(lp);
  const number = lp.state.gpr32(1);
  const xcr0 = lp.state.get("xcr0");
  if (number === 0) {
    writeEdxEax(lp.state, xcr0);
  } else if (number === 1 && lp.model.features.has("xgetbv1")) {
    writeEdxEax(lp.state, xcr0 & componentsInUse(lp.state, xmmRegisters(lp), true));
  } else {
    throw generalProtection();
  }
  return Outcome.Next;
}

/** XSETBV—Set Extended Control Register. x87 state cannot be left out. */
function xsetbv(lp: LogicalProcessor, insn: InstructionView): number {
  requireXcr(lp);
  lp.requirePrivilege0();
  if (lp.intercepts.nonRoot && lp.intercepts.instruction("XSETBV", insn, 0n)) {
    return Outcome.Jump;
  }
  const value = readEdxEax(lp.state);
  const { eax, edx } = lp.cpuid.query(0xd, 0);
  const supported = (BigInt(edx) << 32n) | BigInt(eax);
  if (lp.state.gpr32(1) !== 0 || (value & Component.x87) === 0n || (value & ~supported) !== 0n) {
    throw generalProtection();
  }
  lp.state.set("xcr0", value);
  return Outcome.Next;
}

const standard: XsaveForm = {
  feature: "xsave",
  compacts: false,
  skipsInitial: false,
  supervisor: false,
};
const optimized: XsaveForm = { ...standard, feature: "xsaveopt", skipsInitial: true };
const compacting: XsaveForm = { ...standard, feature: "xsavec", compacts: true };
const privileged: XsaveForm = { ...compacting, feature: "xsaves", supervisor: true };

export const extendedStateInstructions: InstructionTable = {
  Fxsave: fxsave(false),
  Fxsave64: fxsave(true),
  Fxrstor: fxrstor(false),
  Fxrstor64: fxrstor(true),
  Xsave: xsave(standard, false),
  Xsave64: xsave(standard, true),
  Xsaveopt: xsave(optimized, false),
  Xsaveopt64: xsave(optimized, true),
  Xsavec: xsave(compacting, false),
  Xsavec64: xsave(compacting, true),
  Xsaves: xsave(privileged, false),
  Xsaves64: xsave(privileged, true),
  Xrstor: xrstor(false, false),
  Xrstor64: xrstor(false, true),
  Xrstors: xrstor(true, false),
  Xrstors64: xrstor(true, true),
  Xgetbv: xgetbv,
  Xsetbv: xsetbv,
};
