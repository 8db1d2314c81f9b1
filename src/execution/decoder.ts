import {
  Code,
  Decoder,
  DecoderError,
  DecoderOptions,
  Instruction as IcedInstruction,
  type Instruction,
  Mnemonic,
  OpKind,
  Register,
} from "iced-x86";
import { assert } from "../base/assert.ts";
import { pageBytes } from "../memory/physical-memory.ts";
import type { AccessSize } from "../wasm/expression.ts";
import { codeMode } from "./code-mode.ts";
import {
  type DecodePlan,
  isImmediate,
  isStringMemory,
  planFor,
  registerOf,
} from "./decode-plan.ts";
import { findForm, specialArm } from "./forms.ts";
import { prefixBit, recordBytes, recordOffset } from "./instruction-record.ts";
import { lpOffset, Segment } from "./lp-window.ts";
import { operandRegister } from "./operand-registers.ts";
import type { OperandPlace } from "./semantics/instruction-emitter.ts";

/** Most instructions of one block. */
export const blockInstructionsMax = 64;
const decodersKept = 8;
/** Bits of a canonical address that count. */
const linearBits = 48;

/** Prefixes that mean nothing on a processor without the instruction that they make. */
const prefixOptions: readonly (readonly [Code, DecoderOptions])[] = [
  [Code.Tzcnt_r32_rm32, DecoderOptions.NoMPFX_0FBC],
  [Code.Lzcnt_r32_rm32, DecoderOptions.NoMPFX_0FBD],
  [Code.Wbnoinvd, DecoderOptions.NoWbnoinvd],
];

const segmentNumber = new Map<number, number>([
  [Register.ES, Segment.ES],
  [Register.CS, Segment.CS],
  [Register.SS, Segment.SS],
  [Register.DS, Segment.DS],
  [Register.FS, Segment.FS],
  [Register.GS, Segment.GS],
]);

const placeOfLetter: Readonly<Record<string, OperandPlace>> = {
  r: "register",
  x: "register",
  i: "immediate",
};

export interface DecodedBlock {
  /** Address of the first record. */
  readonly record: number;
  /** Records written, end record included. */
  readonly records: number;
  /** Bytes of code covered. */
  readonly bytes: number;
}

/**
 * Whether the block goes on behind an instruction. An ended block still needs an end record, for a transfer executed in a cold
 * function that is not taken; a complete one finds its own way.
 */
type BlockEnd = "open" | "ended" | "complete";

interface PageDecoder {
  readonly key: string;
  readonly version: number;
  /** The page as it was when the decoder was made. */
  readonly bytes: Uint8Array;
  readonly decoder: Decoder;
}

/** Turns guest bytes into records with iced-x86. Holds a few decoders, one per page and code size, while the page keeps its bytes. */
export class BlockDecoder {
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #u64: BigUint64Array;
  readonly #window: number;
  readonly #pages: PageDecoder[] = [];
  /** Copy of the page that `decode` was last called for. */
  #latest: Uint8Array = new Uint8Array();
  readonly #instruction = new IcedInstruction();

  readonly #offers: (code: number) => boolean;
  /** Answers of `offers` so far. */
  readonly #offered: (boolean | undefined)[] = [];
  readonly #options: number;

  /** By iced's number of the encoding: where its assistant is in the interpreter's table. */
  readonly #assistants = new Map<number, number>();

  /** @param offers which encodings there are, by iced's number */
  constructor(memory: WebAssembly.Memory, windowBase: number, offers: (code: number) => boolean) {
    const { buffer } = memory;
    this.#offers = offers;
    this.#options = prefixOptions.reduce(
      (options, [code, option]) => (offers(code) ? options : options | option),
      DecoderOptions.None as number,
    );
    this.#u8 = new Uint8Array(buffer);
    this.#u16 = new Uint16Array(buffer);
    this.#u32 = new Uint32Array(buffer);
    this.#u64 = new BigUint64Array(buffer);
    this.#window = windowBase;
  }

  /** From now on, instructions of this encoding go to an assistant first. */
  assist(code: number, place: number): void {
    this.#assistants.set(code, place);
  }

  /**
   * Decodes from `physical` to the end of the block: a control transfer, an instruction of TypeScript, the page's end.
   * @param rip offset of the first instruction in its code segment
   * @param lastOffset highest offset that may be fetched (CS.limit), as a bigint
   * @param at where the records go; room for `blockInstructionsMax + 1`
   * @returns undefined when the first instruction runs over the page's end
   */
  decode(
    physical: number,
    rip: bigint,
    mode: number,
    version: number,
    lastOffset: bigint,
    at: number,
  ): DecodedBlock | undefined {
    const decoder = this.#decoderOf(physical, mode, version);
    decoder.position = physical % pageBytes;
    decoder.ip = rip;
    const most = (mode & codeMode.single) !== 0 ? 1 : blockInstructionsMax;
    let record = at;
    let bytes = 0;
    let count = 0;
    let end: BlockEnd = "open";
    while (count < most && end === "open") {
      if (!decoder.canDecode) break;
      decoder.decodeOut(this.#instruction);
      const insn = this.#instruction;
      // Out of bytes: the instruction goes on in the next page.
      if (decoder.lastError === DecoderError.NoMoreBytes) break;
      if (insn.ip + BigInt(insn.length) - 1n > lastOffset) break;
      end = this.#write(record, insn, mode, lastOffset);
      record += recordBytes;
      bytes += insn.length;
      count += 1;
    }
    if (count === 0) {
      return undefined;
    }
    return this.#finish(at, record, count, bytes, rip, end, mode);
  }

  /** Decodes the one instruction whose bytes are given: it lies on two pages. */
  decodeOne(
    code: Uint8Array,
    rip: bigint,
    mode: number,
    lastOffset: bigint,
    at: number,
  ): DecodedBlock {
    const decoder = new Decoder(bitness(mode), code, this.#options);
    decoder.ip = rip;
    decoder.decodeOut(this.#instruction);
    decoder.free();
    const end = this.#write(at, this.#instruction, mode, lastOffset);
    return this.#finish(at, at + recordBytes, 1, this.#instruction.length, rip, end, mode);
  }

  /** Marks records so that executing any of them looks its block up anew. */
  invalidate(record: number, records: number): void {
    for (let n = 0; n < records; n++) {
      this.#u16[(record + n * recordBytes + recordOffset.op) >>> 1] = specialArm.relook;
    }
  }

  /** Adds the end record and the counts of instructions left. */
  #finish(
    first: number,
    end: number,
    count: number,
    bytes: number,
    rip: bigint,
    last: BlockEnd,
    mode: number,
  ): DecodedBlock {
    let records = count;
    if (last !== "complete") {
      this.#u8.fill(0, end, end + recordBytes);
      this.#u16[(end + recordOffset.op) >>> 1] = specialArm.end;
      this.#u64[(end + recordOffset.next) >>> 3] = wrapRip(rip + BigInt(bytes), mode);
      records += 1;
    }
    for (let n = 0; n < count; n++) {
      this.#u16[(first + n * recordBytes + recordOffset.left) >>> 1] = count - n;
    }
    return { record: first, records, bytes };
  }

  #decoderOf(physical: number, mode: number, version: number): Decoder {
    const page = physical - (physical % pageBytes);
    const key = `${page}/${mode & codeMode.sizeMask}`;
    const found = this.#pages.findIndex((kept) => kept.key === key);
    const kept = this.#pages[found];
    if (kept && kept.version === version) {
      this.#latest = kept.bytes;
      return kept.decoder;
    }
    if (kept) {
      this.#pages.splice(found, 1);
      kept.decoder.free();
    } else if (this.#pages.length >= decodersKept) {
      this.#pages.shift()?.decoder.free();
    }
    const bytes = this.#u8.slice(page, page + pageBytes);
    const decoder = new Decoder(bitness(mode), bytes, this.#options);
    this.#pages.push({ key, version, bytes, decoder });
    this.#latest = bytes;
    return decoder;
  }

  /** The bytes that the latest `decode` has seen. */
  bytesOf(physical: number, count: number): Uint8Array {
    const from = physical % pageBytes;
    return this.#latest.subarray(from, from + count);
  }

  /** Forgets copies of code bytes: they may have changed, though their version has not. */
  forget(): void {
    for (const { decoder } of this.#pages.splice(0)) {
      decoder.free();
    }
  }

  // ——— one record

  #write(record: number, insn: Instruction, mode: number, lastOffset: bigint): BlockEnd {
    const plan = planFor(insn);
    this.#u8.fill(0, record, record + recordBytes);
    this.#u8[record + recordOffset.length] = insn.length;
    this.#u64[(record + recordOffset.next) >>> 3] = wrapRip(insn.ip + BigInt(insn.length), mode);
    this.#u16[(record + recordOffset.code) >>> 1] = insn.code;
    this.#u16[(record + recordOffset.mnemonic) >>> 1] = insn.mnemonic;
    this.#u8[record + recordOffset.operandSize] = plan.operandSize;
    this.#u8[record + recordOffset.addressSize] = plan.counterSize;
    const zero = this.#window + lpOffset.zero;
    for (const field of [
      recordOffset.destination,
      recordOffset.source,
      recordOffset.base,
      recordOffset.index,
      recordOffset.third,
    ]) {
      this.#set32(record + field, zero);
    }
    const memory = this.#writeOperands(record, insn, plan, mode);
    this.#u8[record + recordOffset.prefixes] = prefixes(insn, memory !== "none");
    if (!this.#isOffered(insn.code)) {
      return this.#writeUndefined(record, insn);
    }
    if (plan.ends && isStrayBranch(insn, mode, lastOffset)) {
      return this.#writeSystem(record);
    }
    return this.#writeForm(record, insn, plan, memory, mode);
  }

  #isOffered(code: number): boolean {
    let answer = this.#offered[code];
    if (answer === undefined) {
      answer = this.#offers(code);
      this.#offered[code] = answer;
    }
    return answer;
  }

  /** The processor does not know the instruction: whatever it would do, it is undefined. What it is goes to `form`, for reports. */
  #writeUndefined(record: number, insn: Instruction): BlockEnd {
    this.#u16[(record + recordOffset.code) >>> 1] = Code.INVALID;
    this.#u16[(record + recordOffset.mnemonic) >>> 1] = Mnemonic.INVALID;
    this.#u16[(record + recordOffset.form) >>> 1] = insn.mnemonic;
    return this.#writeSystem(record);
  }

  /** The instruction is executed in TypeScript. */
  #writeSystem(record: number): BlockEnd {
    this.#u16[(record + recordOffset.op) >>> 1] = specialArm.system;
    return "complete";
  }

  #writeAssisted(record: number, insn: Instruction): BlockEnd | undefined {
    const assistant = this.#assistants.get(insn.code);
    if (assistant === undefined) {
      return undefined;
    }
    this.#u16[(record + recordOffset.op) >>> 1] = specialArm.assisted;
    this.#u16[(record + recordOffset.form) >>> 1] = assistant;
    return "complete";
  }

  #writeForm(
    record: number,
    insn: Instruction,
    plan: DecodePlan,
    memory: OperandPlace,
    mode: number,
  ): BlockEnd {
    const blocked = plan.simd && (mode & codeMode.simdBlocked) !== 0;
    const place = (letter: string): OperandPlace =>
      letter === "m" ? memory : (placeOfLetter[letter] ?? "none");
    const form =
      plan.family < 0 || blocked
        ? undefined
        : findForm(
            plan.family,
            plan.operandSize as AccessSize,
            place(plan.destination),
            place(plan.source),
            insn.hasLockPrefix,
            (mode & codeMode.sizeMask) !== codeMode.bits64,
          );
    if (!form) {
      return this.#writeAssisted(record, insn) ?? this.#writeSystem(record);
    }
    if (form.arm !== undefined) {
      this.#u16[(record + recordOffset.op) >>> 1] = form.arm;
      return plan.ends ? "complete" : "open";
    }
    assert(form.cold !== undefined, "a form is hot or cold");
    this.#u16[(record + recordOffset.op) >>> 1] = specialArm.cold;
    this.#u16[(record + recordOffset.form) >>> 1] = form.cold;
    return plan.ends ? "ended" : "open";
  }

  /** @returns where the memory operand is, if there is one */
  #writeOperands(record: number, insn: Instruction, plan: DecodePlan, mode: number): OperandPlace {
    let memory: OperandPlace = "none";
    for (let n = 0; n < insn.opCount; n++) {
      const kind = insn.opKind(n);
      const role = plan.roles[n] ?? "skip";
      if (kind === OpKind.Register) {
        this.#writeRegister(record, role, this.#window + registerOf(insn, n).offset);
      } else if (kind === OpKind.Memory) {
        memory = this.#writeMemory(record, insn, mode);
      } else if (isStringMemory(kind)) {
        this.#writeStringMemory(record, insn, kind, mode);
      } else {
        this.#writeImmediate(record, insn, n, kind, plan);
      }
    }
    return memory;
  }

  #writeRegister(record: number, role: string, address: number): void {
    switch (role) {
      case "destination":
        this.#set32(record + recordOffset.destination, address);
        break;
      case "source":
        this.#set32(record + recordOffset.source, address);
        break;
      case "third":
        this.#set32(record + recordOffset.third, address);
        break;
      default:
    }
  }

  #writeImmediate(
    record: number,
    insn: Instruction,
    operand: number,
    kind: OpKind,
    plan: DecodePlan,
  ): void {
    const field = (record + recordOffset.immediate) >>> 3;
    if (kind === OpKind.Immediate8_2nd) {
      this.#u64[field] = (this.#u64[field] ?? 0n) | (BigInt(insn.immediate8_2nd) << 16n);
    } else if (isImmediate(kind)) {
      const bits =
        plan.family >= 0 &&
        plan.operandSize > 0 &&
        plan.operandSize < 8 &&
        plan.roles[operand] !== "skip"
          ? plan.operandSize * 8
          : 64;
      const value = BigInt.asUintN(
        Math.max(bits, kind === OpKind.Immediate16 ? 16 : bits),
        insn.immediate(operand),
      );
      this.#u64[field] = value;
    } else if (kind === OpKind.FarBranch16) {
      this.#u64[field] = BigInt(insn.farBranch16) | (BigInt(insn.farBranchSelector) << 32n);
    } else if (kind === OpKind.FarBranch32) {
      this.#u64[field] = BigInt(insn.farBranch32) | (BigInt(insn.farBranchSelector) << 32n);
    } else {
      this.#u64[field] = insn.nearBranchTarget;
    }
  }

  #writeMemory(record: number, insn: Instruction, mode: number): OperandPlace {
    const base = insn.memoryBase;
    const index = insn.memoryIndex;
    const addressSize = memoryAddressSize(insn, mode);
    const segment = segmentNumber.get(insn.memorySegment) ?? Segment.DS;
    this.#u8[record + recordOffset.segment] = segment;
    this.#u8[record + recordOffset.addressSize] = addressSize;
    this.#u8[record + recordOffset.scale] = Math.log2(insn.memoryIndexScale);
    let displacement = insn.memoryDisplacement;
    if (base === Register.RIP || base === Register.EIP) {
      this.#set32(record + recordOffset.base, record + recordOffset.next);
      displacement -= insn.ip + BigInt(insn.length);
    } else if (base !== Register.None) {
      this.#set32(record + recordOffset.base, this.#window + operandRegister(base).offset);
    } else if (insn.memoryDisplSize === 8) {
      // A 64-bit absolute address does not fit the displacement; such instructions have no immediate.
      if (BigInt.asIntN(32, displacement) !== BigInt.asIntN(64, displacement)) {
        this.#u64[(record + recordOffset.immediate) >>> 3] = displacement;
        this.#set32(record + recordOffset.base, record + recordOffset.immediate);
        displacement = 0n;
      }
    }
    if (index !== Register.None) {
      this.#set32(record + recordOffset.index, this.#window + operandRegister(index).offset);
    }
    this.#set32(record + recordOffset.displacement, Number(BigInt.asUintN(32, displacement)));
    const flat =
      (mode & codeMode.sizeMask) === codeMode.bits64 && addressSize === 8 && segment < Segment.FS;
    return flat ? "simple" : "general";
  }

  /** String instructions: the segment of the source and the address size; the registers are implied. */
  #writeStringMemory(record: number, insn: Instruction, kind: OpKind, mode: number): void {
    const sizes = new Map<number, number>([
      [OpKind.MemorySegSI, 2],
      [OpKind.MemorySegDI, 2],
      [OpKind.MemoryESDI, 2],
      [OpKind.MemorySegESI, 4],
      [OpKind.MemorySegEDI, 4],
      [OpKind.MemoryESEDI, 4],
    ]);
    this.#u8[record + recordOffset.addressSize] = sizes.get(kind) ?? 8;
    if (kind <= OpKind.MemorySegRDI) {
      this.#u8[record + recordOffset.segment] = segmentNumber.get(insn.memorySegment) ?? Segment.DS;
    }
    assert((mode & codeMode.sizeMask) <= codeMode.bits64, "decode mode");
  }

  #set32(address: number, value: number): void {
    this.#u32[address >>> 2] = value;
  }
}

/** A direct branch that faults when it is taken: its target is not canonical, or lies beyond CS.limit. */
function isStrayBranch(insn: Instruction, mode: number, lastOffset: bigint): boolean {
  const kind = insn.opCount > 0 ? insn.opKind(0) : OpKind.Register;
  if (kind < OpKind.NearBranch16 || kind > OpKind.NearBranch64) {
    return false;
  }
  const target = insn.nearBranchTarget;
  if ((mode & codeMode.sizeMask) !== codeMode.bits64) {
    return target > lastOffset;
  }
  return BigInt.asIntN(linearBits, target) !== BigInt.asIntN(64, target);
}

function bitness(mode: number): number {
  return 16 << (mode & codeMode.sizeMask);
}

/** RIP has as many bits as the code size makes of it: 64, or 32 outside 64-bit mode. */
function wrapRip(rip: bigint, mode: number): bigint {
  const size = mode & codeMode.sizeMask;
  return BigInt.asUintN(size === codeMode.bits64 ? 64 : 32, rip);
}

function prefixes(insn: Instruction, memory: boolean): number {
  return (
    (insn.hasLockPrefix ? prefixBit.lock : 0) |
    (insn.hasRepPrefix || insn.hasRepePrefix ? prefixBit.rep : 0) |
    (insn.hasRepnePrefix ? prefixBit.repne : 0) |
    (memory ? prefixBit.memory : 0)
  );
}

/** Bytes of the address of a memory operand. */
function memoryAddressSize(insn: Instruction, mode: number): number {
  const { memoryBase: base, memoryIndex: index } = insn;
  if (base === Register.RIP) return 8;
  if (base === Register.EIP) return 4;
  const named = base !== Register.None ? base : index;
  if (named !== Register.None) {
    return operandRegister(named).size;
  }
  const size = insn.memoryDisplSize;
  if (size !== 0) {
    return size;
  }
  return 2 << (mode & codeMode.sizeMask);
}
