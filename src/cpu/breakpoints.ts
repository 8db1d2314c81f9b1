import { lpOffset } from "../execution/lp-window.ts";
import type { LpState } from "./lp-state.ts";
import { cr4Bit, dr7Bit } from "./register-bits.ts";

const Condition = { Execute: 0, Write: 1, Io: 2, ReadWrite: 3 } as const;
const registers = [0, 1, 2, 3] as const;
const dr = ["dr0", "dr1", "dr2", "dr3"] as const;

/** Bytes watched, by the two LEN bits: 1, 2, 8, 4. */
const lengths = [1, 2, 8, 4] as const;

/** The breakpoints that DR7 has enabled. `configure` after every change of a debug register or of CR4.DE. */
export class Breakpoints {
  readonly #state: LpState;
  #execute = 0;
  #write = 0;
  #read = 0;
  #io = 0;

  constructor(state: LpState) {
    this.#state = state;
  }

  configure(): void {
    const dr7 = this.#state.read32(lpOffset.dr7);
    this.#execute = 0;
    this.#write = 0;
    this.#read = 0;
    this.#io = 0;
    for (const n of registers) {
      if (((dr7 >>> (n * 2)) & 3) !== 0) {
        this.#enable(n, (dr7 >>> (16 + n * 4)) & 3);
      }
    }
  }
  #enable(n: number, condition: number): void {
    const bit = 1 << n;
    if (condition === Condition.Execute) {
      this.#execute |= bit;
    } else if (condition === Condition.Io) {
      this.#io |= (this.#state.read32(lpOffset.cr4) & cr4Bit.DE) !== 0 ? bit : 0;
    } else {
      this.#write |= bit;
      this.#read |= condition === Condition.ReadWrite ? bit : 0;
    }
  }

  /** Some breakpoint is enabled: the processor goes instruction by instruction. */
  get any(): boolean {
    return (this.#execute | this.#write | this.#io) !== 0;
  }
  get data(): boolean {
    return this.#write !== 0;
  }
  get generalDetect(): boolean {
    return (this.#state.read32(lpOffset.dr7) & dr7Bit.GD) !== 0;
  }

  /** @returns the enabled breakpoints hit, as bits 3:0 of DR6 */
  dataHits(linear: bigint, size: number, write: boolean): number {
    return this.#hits(write ? this.#write : this.#read, linear, size);
  }
  executeHits(linear: bigint): number {
    return this.#execute === 0 ? 0 : this.#hits(this.#execute, linear, 1);
  }
  ioHits(port: number, size: number): number {
    return this.#io === 0 ? 0 : this.#hits(this.#io, BigInt(port), size);
  }

  #hits(candidates: number, address: bigint, size: number): number {
    const dr7 = this.#state.read32(lpOffset.dr7);
    let hits = 0;
    for (const n of registers) {
      if ((candidates & (1 << n)) === 0) {
        continue;
      }
      const length = BigInt(lengths[((dr7 >>> (18 + n * 4)) & 3) as 0 | 1 | 2 | 3]);
      const start = this.#state.get(dr[n]) & ~(length - 1n);
      if (address < start + length && start < address + BigInt(size)) {
        hits |= 1 << n;
      }
    }
    return hits;
  }
}
