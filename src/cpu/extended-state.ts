/**
 * The legacy region that FXSAVE and the XSAVE family share: x87 and SSE state in 512 bytes, and what makes the two state
 * components what they are. Images are `DataView`s of the region.
 */
import { lpOffset } from "../execution/lp-window.ts";
import type { LpState } from "./lp-state.ts";
import {
  isFpuInitial,
  readAbridgedTags,
  readControl,
  readStack,
  readStatus,
  writeAbridgedTags,
  writeControl,
  writeStack,
  writeStatus,
} from "./x87/register-stack.ts";

/** State components by their bit in XCR0. */
export const Component = { x87: 1n, sse: 2n } as const;

export const mxcsrReset = 0x1f80;
/** Bits of MXCSR that may be 1; DAZ (bit 6) is among them. */
export const mxcsrMask = 0xffff;

/** Byte offsets in the legacy region. */
export const legacyOffset = {
  fcw: 0,
  fsw: 2,
  ftw: 4,
  fop: 6,
  fip: 8,
  fdp: 16,
  mxcsr: 24,
  mxcsrMask: 28,
  st: 32,
  xmm: 160,
} as const;
export const legacyBytes = 512;
/** End of what FXSAVE writes; the rest of its 512 bytes belongs to software. */
export const legacyDefinedBytes = 416;

const slotBytes = 16;

/** @param wide 64-bit instruction and data pointers; else 32 bits, beside selectors that are always zero */
export function writeX87(state: LpState, image: DataView, wide: boolean): void {
  image.setUint16(legacyOffset.fcw, readControl(state), true);
  image.setUint16(legacyOffset.fsw, readStatus(state), true);
  image.setUint16(legacyOffset.ftw, readAbridgedTags(state), true);
  image.setUint16(legacyOffset.fop, state.read16(lpOffset.fop), true);
  const width = wide ? 64 : 32;
  image.setBigUint64(legacyOffset.fip, BigInt.asUintN(width, state.read64(lpOffset.fip)), true);
  image.setBigUint64(legacyOffset.fdp, BigInt.asUintN(width, state.read64(lpOffset.fdp)), true);
  for (let n = 0; n < 8; n++) {
    const { signExponent, significand } = readStack(state, n);
    image.setBigUint64(legacyOffset.st + n * slotBytes, significand, true);
    image.setBigUint64(legacyOffset.st + n * slotBytes + 8, BigInt(signExponent), true);
  }
}

export function readX87(state: LpState, image: DataView, wide: boolean): void {
  const width = wide ? 64 : 32;
  // The top of the stack first: the registers are in stack order.
  writeStatus(state, image.getUint16(legacyOffset.fsw, true));
  for (let n = 0; n < 8; n++) {
    const at = legacyOffset.st + n * slotBytes;
    writeStack(state, n, {
      significand: image.getBigUint64(at, true),
      signExponent: image.getUint16(at + 8, true),
    });
  }
  writeAbridgedTags(state, image.getUint8(legacyOffset.ftw));
  writeControl(state, image.getUint16(legacyOffset.fcw, true));
  state.write16(lpOffset.fop, image.getUint16(legacyOffset.fop, true) & 0x7ff);
  const fip = image.getBigUint64(legacyOffset.fip, true);
  const fdp = image.getBigUint64(legacyOffset.fdp, true);
  state.write64(lpOffset.fip, BigInt.asUintN(width, fip));
  state.write64(lpOffset.fdp, BigInt.asUintN(width, fdp));
}

/** @param registers 16 in 64-bit mode, else 8 */
export function writeXmm(state: LpState, image: DataView, registers: number): void {
  for (let half = 0; half < registers * 2; half++) {
    image.setBigUint64(legacyOffset.xmm + half * 8, state.read64(lpOffset.xmm + half * 8), true);
  }
}
export function readXmm(state: LpState, image: DataView, registers: number): void {
  for (let half = 0; half < registers * 2; half++) {
    state.write64(lpOffset.xmm + half * 8, image.getBigUint64(legacyOffset.xmm + half * 8, true));
  }
}
export function clearXmm(state: LpState, registers: number): void {
  for (let half = 0; half < registers * 2; half++) {
    state.write64(lpOffset.xmm + half * 8, 0n);
  }
}

export function writeMxcsr(state: LpState, image: DataView): void {
  image.setUint32(legacyOffset.mxcsr, state.read32(lpOffset.mxcsr), true);
  image.setUint32(legacyOffset.mxcsrMask, mxcsrMask, true);
}

/**
 * XINUSE: the components that are not in their initial configuration.
 * @param withMxcsr a changed MXCSR counts as SSE state, as compaction has it
 */
export function componentsInUse(state: LpState, registers: number, withMxcsr: boolean): bigint {
  let inUse = isFpuInitial(state) ? 0n : Component.x87;
  for (let half = 0; half < registers * 2; half++) {
    if (state.read64(lpOffset.xmm + half * 8) !== 0n) {
      inUse |= Component.sse;
    }
  }
  const isMxcsrChanged = state.read32(lpOffset.mxcsr) !== mxcsrReset;
  return withMxcsr && isMxcsrChanged ? inUse | Component.sse : inUse;
}
