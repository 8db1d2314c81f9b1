import { vmxOffset } from "../vmx-unit.ts";

/**
 * Which VMCSs are active where, as the checkers of all LPs know it.
 *
 * Each LP has a list in its window; it alone writes there, everybody reads. An LP publishes its own entry before it looks at
 * the others', so of two that load the same VMCS at once at least one sees the other.
 */
const entryWords = 4;
/** VMCSs that are watched on one LP; more are left out. */
export const watchedMax = 120;

const word = { page: 0, flags: 1, status: 2 } as const;
export const residencyFlag = {
  launched: 1 << 0,
  current: 1 << 1,
  /** The LP has left VMX operation without VMCLEAR of it. */
  left: 1 << 2,
  /** `status` holds the guest interrupt status as last known. */
  hasStatus: 1 << 3,
} as const;

const noPage = 0;
const pageOf = (vmcs: number): number => vmcs / 4096 + 1;

/** One LP's list. */
export class ResidencyList {
  readonly #words: Int32Array;
  readonly #first: number;

  /** @param words 32-bit view of the machine's memory */
  constructor(words: Int32Array, windowBase: number) {
    this.#words = words;
    this.#first = (windowBase + vmxOffset.residency) >>> 2;
  }

  /** Position of a VMCS's entry, or -1. */
  find(vmcs: number): number {
    return this.#search(pageOf(vmcs));
  }
  /** The entry of a VMCS, made when there is none; -1 when the list is full. */
  add(vmcs: number): number {
    const known = this.find(vmcs);
    if (known >= 0) {
      return known;
    }
    const at = this.#search(noPage);
    if (at >= 0) {
      Atomics.store(this.#words, at + word.flags, 0);
      Atomics.store(this.#words, at + word.page, pageOf(vmcs));
    }
    return at;
  }
  get isFull(): boolean {
    return this.#search(noPage) < 0;
  }
  remove(at: number): void {
    Atomics.store(this.#words, at + word.page, noPage);
  }

  *entries(): Generator<number> {
    for (let n = 0; n < watchedMax; n++) {
      const at = this.#first + n * entryWords;
      if (Atomics.load(this.#words, at + word.page) !== noPage) {
        yield at;
      }
    }
  }
  vmcsAt(at: number): number {
    return (Atomics.load(this.#words, at + word.page) - 1) * 4096;
  }
  has(at: number, flag: number): boolean {
    return (Atomics.load(this.#words, at + word.flags) & flag) !== 0;
  }
  set(at: number, flag: number, isSet = true): void {
    if (isSet) {
      Atomics.or(this.#words, at + word.flags, flag);
    } else {
      Atomics.and(this.#words, at + word.flags, ~flag);
    }
  }
  status(at: number): number | undefined {
    return this.has(at, residencyFlag.hasStatus)
      ? Atomics.load(this.#words, at + word.status)
      : undefined;
  }
  setStatus(at: number, status: number): void {
    Atomics.store(this.#words, at + word.status, status);
    this.set(at, residencyFlag.hasStatus);
  }

  #search(page: number): number {
    for (let n = 0; n < watchedMax; n++) {
      const at = this.#first + n * entryWords;
      if (Atomics.load(this.#words, at + word.page) === page) {
        return at;
      }
    }
    return -1;
  }
}
