import { readFileSync } from "node:fs";
import { brotliDecompressSync } from "node:zlib";
import { deriveInputState, FIXED_FLAGS, type MachineState, type Mode } from "./input-state.ts";
import {
  type FaultName,
  faultName,
  INPUT_VALUE,
  type Layout,
  MAGIC,
  unpackStatusFlags,
  type VectorForm,
  type VectorHeader,
} from "./vector-format.ts";

export type { FaultName, VectorForm, VectorHeader } from "./vector-format.ts";

/**
 * Integer instructions in 64-bit mode, in 32-bit mode; SSE/SSE2 moves and integer operations, and floating-point arithmetic, in
 * 64-bit mode with MXCSR at its power-up value.
 */
export type VectorFileName = "integer-64" | "integer-32" | "sse-64" | "float-64";

/** Registers, flags and memory area before or after a case. */
export interface VectorState {
  /** Sixteen registers in encoding order; in 32-bit mode the first eight, as 32-bit values. */
  readonly gpr: readonly bigint[];
  /** CF, PF, AF, ZF, SF, DF, OF as the case has them, IF and bit 1 set, all else clear. */
  readonly rflags: bigint;
  /** XMM0 to XMM15, 16 bytes each. */
  readonly xmm: Uint8Array;
  /** The 256-byte memory operand area. */
  readonly memory: Uint8Array;
}

/** One recorded instruction execution. All segment bases are 0, and the case ran at CPL 3 with alignment checks off. */
export interface Vector {
  /** Name of the form and number of the case in it. */
  readonly name: string;
  readonly form: VectorForm;
  readonly mode: Mode;
  readonly code: Uint8Array;
  readonly codeAddress: bigint;
  /** Linear address of the memory operand area. */
  readonly memoryAddress: bigint;
  /** Every 4-KiB page that must be mapped (readable and writable; code may span two of them). Neighbours must be absent. */
  readonly mappedPages: readonly bigint[];
  readonly input: VectorState;
  /** The state afterwards, and the instruction pointer: of the faulting instruction if it is a fault. */
  readonly output: VectorState & { readonly rip: bigint };
  readonly fault: FaultName | undefined;
  /** Error code of #PF (user bit set), #GP and #SS, else 0. */
  readonly faultErrorCode: number;
  /** What CR2 held after #PF. */
  readonly faultAddress: bigint | undefined;
  /** Flags in `output.rflags` that the architecture leaves undefined for this case. */
  readonly undefinedFlags: bigint;
}

export interface VectorFile extends VectorHeader {
  /** The cases of all forms that `wanted` accepts, in file order. */
  cases(wanted?: (form: VectorForm) => boolean): Generator<Vector, void, undefined>;
}

class ByteReader {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  offset: number;

  constructor(bytes: Uint8Array, offset: number) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
  }

  u8(): number {
    return this.#view.getUint8(this.offset++);
  }

  u16(): number {
    return this.u8() | (this.u8() << 8);
  }

  u32(): number {
    return this.u16() + this.u16() * 0x10000;
  }

  take(length: number): Uint8Array {
    const start = this.offset;
    if (start + length > this.bytes.length) throw new Error("the vector file ends inside a case");
    this.offset += length;
    return this.bytes.subarray(start, this.offset);
  }

  /** Unsigned integer of `length` bytes, little endian. */
  unsigned(length: number): bigint {
    return this.take(length).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.u8();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  signedVarint(): bigint {
    const value = this.varint();
    return value & 1n ? -(value >> 1n) - 1n : value >> 1n;
  }
}

function setLowBits(state: MachineState, register: number, bits: number, value: bigint): void {
  const mask = (1n << BigInt(bits)) - 1n;
  state.gpr[register] = ((state.gpr[register] ?? 0n) & ~mask) | (value & mask);
}

function writeXmmLow64(xmm: Uint8Array, register: number, value: bigint): void {
  new DataView(xmm.buffer, xmm.byteOffset).setBigUint64(register * 16, value, true);
}

/** Width and value of a general-register input; `undefined` if the kind is another one. */
function readRegisterValue(
  reader: ByteReader,
  kind: number,
  memoryAddress: bigint,
): readonly [bits: number, value: bigint] | undefined {
  switch (kind) {
    case INPUT_VALUE.low8:
      return [8, reader.unsigned(1)];
    case INPUT_VALUE.low16:
      return [16, reader.unsigned(2)];
    case INPUT_VALUE.low32:
      return [32, reader.unsigned(4)];
    case INPUT_VALUE.full:
      return [64, reader.unsigned(8)];
    case INPUT_VALUE.pointer64:
      return [64, memoryAddress + reader.signedVarint()];
    case INPUT_VALUE.pointer32:
      return [32, memoryAddress + reader.signedVarint()];
    default:
      return undefined;
  }
}

function readInputValue(reader: ByteReader, state: MachineState, memoryAddress: bigint): void {
  const head = reader.u8();
  const kind = head >> 4;
  const number = head & 15;
  const general = readRegisterValue(reader, kind, memoryAddress);
  if (general !== undefined) {
    setLowBits(state, number, ...general);
  } else if (kind === INPUT_VALUE.xmmLow64) {
    writeXmmLow64(state.xmm, number, reader.varint());
  } else if (kind === INPUT_VALUE.memory) {
    const offset = reader.u8();
    state.memory.set(reader.take(reader.u8()), offset);
  } else {
    throw new Error(`unknown kind of input value ${kind}`);
  }
}

/** Replaces the bytes of one register that a mask names. */
function readChangedBytes(reader: ByteReader, target: Uint8Array, mask: number): void {
  for (let i = 0; i < target.length; i++) {
    if (mask & (1 << i)) target[i] = reader.u8();
  }
}

function readChangedRegisters(reader: ByteReader, input: readonly bigint[]): bigint[] {
  const changed = reader.u16();
  return input.map((value, i) => {
    if (!(changed & (1 << i))) return value;
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, value, true);
    readChangedBytes(reader, new Uint8Array(view.buffer), reader.u8());
    return view.getBigUint64(0, true);
  });
}

function readChangedXmm(reader: ByteReader, input: Uint8Array): Uint8Array {
  const changed = reader.u16();
  const output = input.slice();
  for (let i = 0; i < 16; i++) {
    if (!(changed & (1 << i))) continue;
    readChangedBytes(reader, output.subarray(i * 16, i * 16 + 16), reader.u16());
  }
  return output;
}

function readChangedMemory(reader: ByteReader, input: Uint8Array): Uint8Array {
  const output = input.slice();
  for (let runs = reader.u8(); runs > 0; runs--) {
    const offset = reader.u8();
    output.set(reader.take(reader.u8()), offset);
  }
  return output;
}

interface FaultRecord {
  readonly fault: FaultName | undefined;
  readonly faultErrorCode: number;
  readonly faultAddress: bigint | undefined;
}

function readFault(reader: ByteReader): FaultRecord {
  const vector = reader.u8() - 1;
  if (vector < 0) return { fault: undefined, faultErrorCode: 0, faultAddress: undefined };
  const fault = faultName(vector);
  const faultErrorCode = Number(reader.varint());
  const faultAddress = fault === "#PF" ? reader.varint() : undefined;
  return { fault, faultErrorCode, faultAddress };
}

function readCase(
  reader: ByteReader,
  form: VectorForm,
  name: string,
  seed: number,
  layouts: readonly Layout[],
): Vector {
  const layout = layouts[reader.u8()];
  if (layout === undefined) throw new Error(`${name} names a layout that the file does not have`);
  const memoryAddress = BigInt(layout.memoryAddress);
  const codeAddress = BigInt(layout.codeAddress);
  const undefinedFlags = unpackStatusFlags(reader.u8());
  const code = reader.take(reader.u8());
  const input = deriveInputState(seed, form.mode, form.fill);
  for (let values = reader.u8(); values > 0; values--) readInputValue(reader, input, memoryAddress);
  const fault = readFault(reader);
  const follows = fault.fault === undefined ? codeAddress + BigInt(code.length) : codeAddress;
  const rip = follows + reader.signedVarint();
  const rflags = FIXED_FLAGS | unpackStatusFlags(reader.u8());
  const gpr = readChangedRegisters(reader, input.gpr);
  const xmm = readChangedXmm(reader, input.xmm);
  const memory = readChangedMemory(reader, input.memory);
  return {
    name,
    form,
    mode: form.mode,
    code,
    codeAddress,
    memoryAddress,
    mappedPages: layout.mappedPages.map(BigInt),
    input,
    output: { gpr, rflags, xmm, memory, rip },
    ...fault,
    undefinedFlags,
  };
}

/** Opens a vector file that lies beside this module. Throws when the file is absent or damaged. */
export function readVectors(fileName: VectorFileName): VectorFile {
  const bytes = brotliDecompressSync(readFileSync(new URL(`./${fileName}.bin`, import.meta.url)));
  const reader = new ByteReader(bytes, 0);
  if (new TextDecoder().decode(reader.take(MAGIC.length)) !== MAGIC) {
    throw new Error(`${fileName}.bin is not a vector file`);
  }
  const headerText = new TextDecoder().decode(reader.take(reader.u32()));
  const header = JSON.parse(headerText) as VectorHeader;
  const casesStart = reader.offset;

  function* cases(wanted: (form: VectorForm) => boolean = () => true) {
    let formStart = casesStart;
    let seed = 0;
    for (const form of header.forms) {
      if (wanted(form)) {
        const formReader = new ByteReader(bytes, formStart);
        for (let i = 0; i < form.caseCount; i++) {
          yield readCase(formReader, form, `${form.name} #${i}`, seed + i, header.layouts);
        }
        if (formReader.offset !== formStart + form.byteLength) {
          throw new Error(`the cases of ${form.name} do not end where the header says`);
        }
      }
      formStart += form.byteLength;
      seed += form.caseCount;
    }
  }

  return { ...header, cases };
}
