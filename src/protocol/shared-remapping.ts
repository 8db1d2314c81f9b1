/**
 * What the interrupt remapping of the machine is at this moment, for a device on another thread that remaps its messages itself,
 * with a cache of entries of its own.
 *
 * ```
 *   unit    version odd ─▶ wait while the device is busy ─▶ change ─▶ version even
 *   device  busy ─▶ look at the version ─▶ message ─▶ idle
 *                        └ odd: the message is left to the unit; another than before: what is cached is forgotten
 * ```
 *
 * Each side says what it does before it looks at what the other one does, so that at least one of them sees the other: when a
 * change is made no message is under way that has used what is changed, and none uses it afterwards.
 */
export interface RemappingState {
  /** Else requests pass as they are. */
  readonly enabled: boolean;
  /** Requests in the compatibility format pass. */
  readonly compatibilityFormat: boolean;
  /** First page of the table, and the low half of the register that names it: size, width of destinations. */
  readonly table: number;
  readonly tableRegister: number;
}

/** Word offsets; the two sides have a cache line each. */
const word = { version: 0, flags: 1, table: 2, tableHigh: 3, tableRegister: 4, busy: 16 } as const;
const flag = { enabled: 1, compatibilityFormat: 2 } as const;
export const sharedRemappingBytes = 128;

/** Looks at a device that is busy before going to sleep: a message takes a microsecond. */
const spins = 2000;
const sleepMs = 1;

export class SharedRemapping {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #at: number;

  /** @param address byte address of `sharedRemappingBytes`, zero before first use: remapping is off */
  constructor(words: Int32Array<ArrayBufferLike>, address: number) {
    this.#words = words;
    this.#at = address / 4;
  }

  // ——— the unit

  /** From the return on the device remaps nothing. @param idle called now and then; may throw to give up */
  close(idle: () => void): void {
    const words = this.#words;
    const busy = this.#at + word.busy;
    Atomics.add(words, this.#at + word.version, 1);
    for (let n = 0; n < spins && Atomics.load(words, busy) !== 0; n++);
    while (Atomics.load(words, busy) !== 0) {
      Atomics.wait(words, busy, 1, sleepMs);
      idle();
    }
  }
  /** The change has been made. */
  open({ enabled, compatibilityFormat, table, tableRegister }: RemappingState): void {
    const words = this.#words;
    words[this.#at + word.flags] =
      (enabled ? flag.enabled : 0) | (compatibilityFormat ? flag.compatibilityFormat : 0);
    words[this.#at + word.table] = table | 0;
    words[this.#at + word.tableHigh] = Math.floor(table / 2 ** 32);
    words[this.#at + word.tableRegister] = tableRegister | 0;
    Atomics.add(words, this.#at + word.version, 1);
  }

  // ——— the device

  /** A message begins; `leave` is to follow, also when it is left to the unit. @returns the version, odd when the message is to be left */
  enter(): number {
    Atomics.store(this.#words, this.#at + word.busy, 1);
    return Atomics.load(this.#words, this.#at + word.version);
  }
  leave(): void {
    Atomics.store(this.#words, this.#at + word.busy, 0);
  }
  /** Between `enter` and `leave`, while the version is even. */
  get state(): RemappingState {
    const words = this.#words;
    const flags = words[this.#at + word.flags] ?? 0;
    const low = (words[this.#at + word.table] ?? 0) >>> 0;
    return {
      enabled: (flags & flag.enabled) !== 0,
      compatibilityFormat: (flags & flag.compatibilityFormat) !== 0,
      table: low + (words[this.#at + word.tableHigh] ?? 0) * 2 ** 32,
      tableRegister: (words[this.#at + word.tableRegister] ?? 0) >>> 0,
    };
  }
}
