import { lpOffset } from "../../execution/lp-window.ts";
import type { LpState } from "../lp-state.ts";

/** Reads and writes one LP's APIC page in its window. Its owner writes; any thread may read. */
export class ApicPage {
  readonly #state: LpState;
  readonly #floats: Float64Array;
  readonly #base: number;

  constructor(state: LpState) {
    this.#state = state;
    this.#base = state.base + lpOffset.apicPage;
    this.#floats = new Float64Array(state.u8.buffer);
  }

  read(offset: number): number {
    return this.#state.u32[(this.#base + offset) >>> 2] ?? 0;
  }
  write(offset: number, value: number): void {
    this.#state.u32[(this.#base + offset) >>> 2] = value;
  }
  readFloat(offset: number): number {
    return this.#floats[(this.#base + offset) / 8] ?? 0;
  }
  writeFloat(offset: number, value: number): void {
    this.#floats[(this.#base + offset) / 8] = value;
  }

  /** Vector sets (ISR, TMR, IRR): bit `vector & 31` of the register at `set + (vector >> 5) * 16`. */
  has(set: number, vector: number): boolean {
    return (this.read(set + ((vector >>> 5) << 4)) & (1 << (vector & 31))) !== 0;
  }
  add(set: number, vector: number): void {
    const offset = set + ((vector >>> 5) << 4);
    this.write(offset, this.read(offset) | (1 << (vector & 31)));
  }
  remove(set: number, vector: number): void {
    const offset = set + ((vector >>> 5) << 4);
    this.write(offset, this.read(offset) & ~(1 << (vector & 31)));
  }
  /** Highest vector of a set, -1 when it is empty. */
  highest(set: number): number {
    for (let n = 7; n >= 0; n--) {
      const bits = this.read(set + n * 16);
      if (bits !== 0) {
        return n * 32 + 31 - Math.clz32(bits);
      }
    }
    return -1;
  }
}
