import type { MemoryFill, Mode } from "./input-state.ts";

/**
 * Layout of a vector file (`*.bin`), shared by the recorder and the reader.
 *
 * A file is one brotli stream. Inside: the magic, the byte length of a JSON header (32 bits, little endian), the header
 * (`VectorHeader`), then the cases of all forms one after another. A case is:
 *
 * | part | bytes |
 * |---|---|
 * | layout index into `VectorHeader.layouts` | 1 |
 * | undefined status flags, packed by `packStatusFlags` | 1 |
 * | code length, code | 1 + n |
 * | number of explicit input values, then each (see `InputValue`) | 1 + … |
 * | fault: 0 for none, else vector + 1; then error code and, for #PF, the fault address | 1 + varints |
 * | next RIP as difference to the address behind the instruction (to its start for a fault) | signed varint |
 * | output status flags, packed | 1 |
 * | mask of changed registers (2), each: mask of changed bytes (1) and those bytes | … |
 * | mask of changed XMM registers (2), each: mask of changed bytes (2) and those bytes | … |
 * | number of changed runs of memory, each: offset, length, bytes | 1 + … |
 *
 * Inputs that are not listed explicitly come from `deriveInputState` with the case's ordinal in the file as seed.
 */
export const MAGIC = "vmxvec01";

/** Where a case's memory area and code lie, and all the pages that may be mapped while it runs. */
export interface Layout {
  readonly memoryAddress: number;
  readonly codeAddress: number;
  /** Addresses of the 4-KiB pages to map; the pages before and behind them must be absent. */
  readonly mappedPages: readonly number[];
}

export interface VectorForm {
  /** The iced-x86 code name and the kind of its r/m operand, e.g. `Add_rm64_r64 lock mem`. */
  readonly name: string;
  /** Name of the iced-x86 `Code` value; `INVALID` for encodings that must raise #UD. */
  readonly code: string;
  /** Name of the iced-x86 `Mnemonic` value. */
  readonly mnemonic: string;
  readonly mode: Mode;
  readonly fill: MemoryFill;
  readonly caseCount: number;
  /** Bytes that the cases of this form take in the file. */
  readonly byteLength: number;
}

export interface VectorHeader {
  /** The processor that produced the outputs. */
  readonly recordedOn: {
    readonly vendor: string;
    readonly brand: string;
    readonly family: number;
    readonly model: number;
    readonly stepping: number;
  };
  readonly layouts: readonly Layout[];
  readonly forms: readonly VectorForm[];
}

/** Kinds of explicit input values. The first byte holds the kind in bits 7:4 and a register number in bits 3:0. */
export const INPUT_VALUE = {
  /** Low byte of a register; one byte follows. */
  low8: 0,
  /** Low word of a register; two bytes follow. */
  low16: 1,
  /** Low doubleword of a register; four bytes follow. */
  low32: 2,
  /** A whole register; eight bytes follow. */
  full: 3,
  /** A whole register: memory address plus a signed varint. */
  pointer64: 4,
  /** Low doubleword of a register: memory address plus a signed varint. */
  pointer32: 5,
  /** Low quadword of an XMM register: an unsigned varint. */
  xmmLow64: 6,
  /** Bytes in the memory area: offset, length, bytes. */
  memory: 7,
} as const;

const STATUS_BITS: readonly number[] = [0, 2, 4, 6, 7, 11, 10];

/** Packs CF, PF, AF, ZF, SF, OF, DF into bits 0 to 6. */
export function packStatusFlags(rflags: bigint): number {
  return STATUS_BITS.reduce(
    (packed, bit, i) => packed | (Number((rflags >> BigInt(bit)) & 1n) << i),
    0,
  );
}

export function unpackStatusFlags(packed: number): bigint {
  return STATUS_BITS.reduce(
    (flags, bit, i) => flags | (BigInt((packed >> i) & 1) << BigInt(bit)),
    0n,
  );
}

const FAULT_NAMES = {
  0: "#DE",
  4: "#OF",
  5: "#BR",
  6: "#UD",
  12: "#SS",
  13: "#GP",
  14: "#PF",
  17: "#AC",
} as const;

export type FaultName = (typeof FAULT_NAMES)[keyof typeof FAULT_NAMES];

/** The manual's name of an exception vector that a vector may end in; throws for one that none may. */
export function faultName(vector: number): FaultName {
  const entry = Object.entries(FAULT_NAMES).find(([number]) => Number(number) === vector);
  if (entry === undefined) throw new Error(`exception vector ${vector} cannot end a recorded case`);
  return entry[1];
}
