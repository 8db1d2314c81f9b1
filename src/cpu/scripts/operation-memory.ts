import { AccessKind, type CoreHost } from "../../execution/core-host.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { type Tlb, TlbAccess } from "../../execution/tlb.ts";
import { type Operation, OperationKind } from "../../isa/operations.ts";
import { ScriptError } from "./script-streams.ts";

export interface OperationMemoryOptions {
  readonly memory: WebAssembly.Memory;
  readonly windowBase: number;
  readonly tlb: Tlb;
  /** The slow paths. */
  readonly host: CoreHost;
  /** A script's store has reached an address of the shared memory. */
  readonly stored: (at: number) => void;
}

type LockedKind =
  | typeof OperationKind.CompareExchange
  | typeof OperationKind.Exchange
  | typeof OperationKind.ExchangeAdd
  | typeof OperationKind.LockedOr
  | typeof OperationKind.LockedAnd;

/** `Atomics` as it is for words of one kind. */
interface AtomicsOn<Words, Value> {
  compareExchange(words: Words, index: number, expected: Value, value: Value): Value;
  exchange(words: Words, index: number, value: Value): Value;
  add(words: Words, index: number, value: Value): Value;
  or(words: Words, index: number, value: Value): Value;
  and(words: Words, index: number, value: Value): Value;
}
const atomicsOnQuads: AtomicsOn<BigUint64Array, bigint> = Atomics;
const atomicsOnLess: AtomicsOn<Uint32Array | Uint16Array | Uint8Array, number> = Atomics;

/** @returns what was there */
function atomically<Words, Value>(
  atomics: AtomicsOn<Words, Value>,
  words: Words,
  index: number,
  kind: LockedKind,
  value: Value,
  expected: Value,
): Value {
  switch (kind) {
    case OperationKind.CompareExchange:
      return atomics.compareExchange(words, index, expected, value);
    case OperationKind.Exchange:
      return atomics.exchange(words, index, value);
    case OperationKind.ExchangeAdd:
      return atomics.add(words, index, value);
    case OperationKind.LockedOr:
      return atomics.or(words, index, value);
    case OperationKind.LockedAnd:
      return atomics.and(words, index, value);
  }
}

/** Linear memory as scripts' loads, stores and locked operations see it: through the LP's TLB, as machine code does. */
export class OperationMemory {
  readonly #tlb: Tlb;
  readonly #host: CoreHost;
  readonly #base: number;
  readonly #stored: OperationMemoryOptions["stored"];
  readonly #u8: Uint8Array;
  readonly #u16: Uint16Array;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #u64: BigUint64Array;
  readonly #i64: BigInt64Array;
  readonly #pending: number;
  /** To take an address apart: shifting a BigInt makes another one. */
  readonly #address = new BigUint64Array(1);
  readonly #halves = new Uint32Array(this.#address.buffer);

  constructor({ memory, windowBase, tlb, host, stored }: OperationMemoryOptions) {
    this.#tlb = tlb;
    this.#host = host;
    this.#base = windowBase;
    this.#stored = stored;
    this.#u8 = new Uint8Array(memory.buffer);
    this.#u16 = new Uint16Array(memory.buffer);
    this.#u32 = new Uint32Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#u64 = new BigUint64Array(memory.buffer);
    this.#i64 = new BigInt64Array(memory.buffer);
    this.#pending = (windowBase + lpOffset.pending) >>> 2;
  }

  /** Executes an operation on memory. @returns its result */
  execute({ kind, address, size, value, expected }: Operation): bigint {
    switch (kind) {
      case OperationKind.Load:
        return this.load(address, size);
      case OperationKind.Store:
        this.store(address, size, value);
        return 0n;
      case OperationKind.Fence:
        Atomics.load(this.#i32, this.#pending);
        return 0n;
      case OperationKind.BitTestAndSet:
      case OperationKind.BitTestAndReset: {
        const at = address + ((value >> 6n) << 3n);
        const bit = 1n << (value & 63n);
        const isSetting = kind === OperationKind.BitTestAndSet;
        const old = isSetting
          ? this.#locked(OperationKind.LockedOr, at, 8, bit)
          : this.#locked(OperationKind.LockedAnd, at, 8, ~bit);
        return (old & bit) === 0n ? 0n : 1n;
      }
      case OperationKind.CompareExchange:
      case OperationKind.Exchange:
      case OperationKind.ExchangeAdd:
      case OperationKind.LockedOr:
      case OperationKind.LockedAnd:
        return this.#locked(kind, address, size, value, expected);
      default:
        throw new ScriptError(`operation ${kind} is unknown`);
    }
  }

  load(address: bigint, size: number): bigint {
    let at = this.#look(address, size, TlbAccess.Read);
    if (at < 0) {
      this.#argument(address);
      at = this.#host.access(size, AccessKind.Read);
    }
    return this.read(at, size);
  }
  store(address: bigint, size: number, value: bigint): void {
    const at = this.#look(address, size, TlbAccess.Write);
    if (at >= 0) {
      this.#write(at, size, value);
      this.#stored(at);
      return;
    }
    this.#argument(address);
    this.#u64[(this.#base + lpOffset.argument1) >>> 3] = value;
    this.#host.store(size);
    const stored = this.#look(address, size, TlbAccess.Write);
    if (stored >= 0) this.#stored(stored);
  }
  /** @returns what was there */
  #locked(kind: LockedKind, address: bigint, size: number, value: bigint, expected = 0n): bigint {
    if ((this.#low(address) & (size - 1)) !== 0) {
      throw new ScriptError(`locked operation at 0x${address.toString(16)} is not aligned`);
    }
    let at = this.#look(address, size, TlbAccess.Write);
    if (at < 0) {
      this.#argument(address);
      at = this.#host.access(size, AccessKind.ReadWrite);
    }
    const bounce = this.#base + lpOffset.bounce;
    const old =
      size === 8
        ? atomically(atomicsOnQuads, this.#u64, at >>> 3, kind, value, expected)
        : this.#lockedNarrow(kind, at, size, value, expected);
    if (at >= bounce && at < bounce + 64) this.#host.commit();
    else this.#stored(at);
    return old;
  }
  #lockedNarrow(
    kind: LockedKind,
    at: number,
    size: number,
    value: bigint,
    expected: bigint,
  ): bigint {
    const narrow = Number(BigInt.asUintN(size * 8, value));
    const narrowExpected = Number(BigInt.asUintN(size * 8, expected));
    const words = size === 4 ? this.#u32 : size === 2 ? this.#u16 : this.#u8;
    const index = size === 4 ? at >>> 2 : size === 2 ? at >>> 1 : at;
    return BigInt(atomically(atomicsOnLess, words, index, kind, narrow, narrowExpected));
  }

  /** @returns where the LP may read there, as an address of the shared memory; negative: the TLB does not know */
  place(address: bigint, size: number): number {
    return this.#look(address, size, TlbAccess.Read);
  }
  #look(address: bigint, size: number, access: TlbAccess): number {
    const low = this.#low(address);
    if ((low & 0xfff) + size > 4096) return -1;
    const context = this.#u32[(this.#base + lpOffset.tlbContext) >>> 2] ?? 0;
    return this.#tlb.lookup(low | 0, (this.#halves[1] ?? 0) | 0, context, access);
  }
  /** Takes an address apart. @returns its low half; the other one is in `#halves` */
  #low(address: bigint): number {
    this.#address[0] = address;
    return this.#halves[0] ?? 0;
  }
  #argument(address: bigint): void {
    this.#u64[(this.#base + lpOffset.argument0) >>> 3] = address;
  }
  /** What stands at an address of the shared memory. */
  read(at: number, size: number): bigint {
    if ((at & (size - 1)) !== 0) {
      let value = 0n;
      for (let n = size - 1; n >= 0; n--) value = (value << 8n) | BigInt(this.#u8[at + n] ?? 0);
      return value;
    }
    if (size === 8) return this.#u64[at >>> 3] ?? 0n;
    if (size === 4) return BigInt(this.#u32[at >>> 2] ?? 0);
    return BigInt((size === 2 ? this.#u16[at >>> 1] : this.#u8[at]) ?? 0);
  }
  #write(at: number, size: number, value: bigint): void {
    if ((at & (size - 1)) !== 0) {
      for (let n = 0; n < size; n++) this.#u8[at + n] = Number((value >> BigInt(8 * n)) & 0xffn);
    } else if (size === 8) {
      this.#i64[at >>> 3] = value;
    } else if (size === 4) {
      this.#u32[at >>> 2] = Number(value & 0xffff_ffffn);
    } else if (size === 2) {
      this.#u16[at >>> 1] = Number(value & 0xffffn);
    } else {
      this.#u8[at] = Number(value & 0xffn);
    }
  }
}
