/**
 * What unwinds an instruction. Generated code and handlers are left by throwing one of these; `Processor.run` catches them.
 */

/** Exception vectors. */
export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  VE: 20,
} as const;

/** An exception raised by the current instruction, which has not retired. Not an `Error`: it is architecture, and has no stack. */
export class Fault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** #PF: linear address for CR2. #DB: bits for DR6. */
  readonly qualification: bigint;

  constructor(vector: number, errorCode: number | undefined, qualification = 0n) {
    this.vector = vector;
    this.errorCode = errorCode;
    this.qualification = qualification;
  }
}

/** Thrown when a VM exit was taken in the middle of an access or a delivery: the LP is already in root operation. */
export const vmExitTaken: { readonly kind: "VM exit taken" } = { kind: "VM exit taken" };

// The helpers make a fault; the caller throws it, so that control flow shows.

/** @param code selector-format error code */
export const generalProtection = (code = 0): Fault => new Fault(Vector.GP, code);
export const stackFault = (code = 0): Fault => new Fault(Vector.SS, code);
export const notPresent = (code: number): Fault => new Fault(Vector.NP, code);
export const invalidTss = (code: number): Fault => new Fault(Vector.TS, code);
export const undefinedOpcode = (): Fault => new Fault(Vector.UD, undefined);
export const deviceNotAvailable = (): Fault => new Fault(Vector.NM, undefined);
export const divideError = (): Fault => new Fault(Vector.DE, undefined);
export const alignmentCheck = (): Fault => new Fault(Vector.AC, 0);
export const pageFault = (code: number, linear: bigint): Fault =>
  new Fault(Vector.PF, code, linear);
/** @param bits of DR6 */
export const debugException = (bits: number): Fault =>
  new Fault(Vector.DB, undefined, BigInt(bits >>> 0));

/** Error code that names a selector: the requested privilege level is replaced by EXT and IDT, both zero here. */
export const selectorError = (selector: number): number => selector & 0xfffc;
