import { lpOffset } from "../../execution/lp-window.ts";
import type { LpState } from "../lp-state.ts";

/** Writes a general register operand: 32 bits are zero-extended, 16 and 8 leave the rest of the register. */
export function writeRegister(state: LpState, register: number, size: number, value: bigint): void {
  switch (size) {
    case 8:
      state.setGpr(register, value);
      return;
    case 4:
      state.setGpr32(register, Number(BigInt.asUintN(32, value)));
      return;
    case 2:
      state.write16(lpOffset.gpr + register * 8, Number(BigInt.asUintN(16, value)));
      return;
    default:
      state.u8[state.base + lpOffset.gpr + register * 8] = Number(BigInt.asUintN(8, value));
  }
}

/** EDX:EAX as one number. */
export function readEdxEax(state: LpState): bigint {
  return (BigInt(state.gpr32(2)) << 32n) | BigInt(state.gpr32(0));
}

/** Splits into EDX:EAX, zero-extended. */
export function writeEdxEax(state: LpState, value: bigint): void {
  state.setGpr32(0, Number(value & 0xffff_ffffn));
  state.setGpr32(2, Number((value >> 32n) & 0xffff_ffffn));
}
