import { type Operation, OperationKind, type Steps } from "../../../src/isa/operations.ts";

/** Executes scripts operation by operation on a memory of 8-byte words and one VMCS; everything else does nothing. */
export class ScriptMemory {
  readonly #words = new Map<bigint, bigint>();
  readonly fields = new Map<bigint, bigint>();

  get(address: bigint): bigint {
    return this.#words.get(address) ?? 0n;
  }
  set(address: bigint, value: bigint): void {
    this.#words.set(address, value);
  }

  /** @returns the script's result */
  run<T>(script: Steps<T>): T {
    for (let result = 0n; ; ) {
      const step = script.next(result);
      if (step.done === true) return step.value;
      result = this.execute(step.value);
    }
  }

  execute({ kind, address, size, value, expected }: Operation): bigint {
    const shift = (address & 7n) * 8n;
    const mask = size === 8 ? ~(-1n << 64n) : (1n << BigInt(size * 8)) - 1n;
    const at = address & ~7n;
    const was = (this.get(at) >> shift) & mask;
    const write = (next: bigint): bigint => {
      this.set(at, (this.get(at) & ~(mask << shift)) | ((next & mask) << shift));
      return was;
    };
    switch (kind) {
      case OperationKind.Load:
        return was;
      case OperationKind.Store:
      case OperationKind.Exchange:
        return write(value);
      case OperationKind.CompareExchange:
        return was === expected ? write(value) : was;
      case OperationKind.ExchangeAdd:
        return write(was + value);
      case OperationKind.LockedOr:
        return write(was | value);
      case OperationKind.LockedAnd:
        return write(was & value);
      case OperationKind.BitTestAndSet:
        return this.#testAndSet(address, value);
      case OperationKind.VmRead:
        return this.fields.get(address) ?? 0n;
      case OperationKind.VmWrite:
        this.fields.set(address, value);
        return 0n;
      default:
        return 0n;
    }
  }

  #testAndSet(base: bigint, bit: bigint): bigint {
    const at = base + (bit >> 6n) * 8n;
    const was = this.get(at);
    this.set(at, was | (1n << (bit & 63n)));
    return (was >> (bit & 63n)) & 1n;
  }
}
