import { CodePages } from "../execution/code-pages.ts";
import { Pending } from "../execution/lp-window.ts";
import type { DmaMemory } from "../platform/device.ts";
import type { ControlRegion } from "./control-region.ts";

/**
 * RAM as devices reach it. What lies in one aligned word is read and written as one, as on the bus: rings' indices and status
 * words are such. A write to decoded code makes every LP drop it.
 */
export class RamDma implements DmaMemory {
  readonly #ram: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Uint32Array;
  readonly #quads: BigUint64Array;
  readonly #pages: CodePages;
  readonly #control: ControlRegion;

  constructor(memory: WebAssembly.Memory, control: ControlRegion) {
    const { ramBytes } = control.layout;
    this.#ram = new Uint8Array(memory.buffer, 0, ramBytes);
    this.#halves = new Uint16Array(memory.buffer, 0, ramBytes / 2);
    this.#words = new Uint32Array(memory.buffer, 0, ramBytes / 4);
    this.#quads = new BigUint64Array(memory.buffer, 0, ramBytes / 8);
    this.#pages = new CodePages(memory, control.layout);
    this.#control = control;
  }

  read(address: number, into: Uint8Array): boolean {
    const { length } = into;
    if (!this.#isRam(address, length)) {
      return false;
    }
    if (length > 8 || !isOneWord(address, length)) {
      into.set(this.#ram.subarray(address, address + length));
      return true;
    }
    const view = new DataView(into.buffer, into.byteOffset, length);
    switch (length) {
      case 8:
        view.setBigUint64(0, Atomics.load(this.#quads, address / 8), true);
        break;
      case 4:
        view.setUint32(0, Atomics.load(this.#words, address / 4), true);
        break;
      case 2:
        view.setUint16(0, Atomics.load(this.#halves, address / 2), true);
        break;
      default:
        view.setUint8(0, Atomics.load(this.#ram, address));
    }
    return true;
  }

  write(address: number, from: Uint8Array): boolean {
    if (!this.#isRam(address, from.length)) {
      return false;
    }
    this.#store(address, from);
    for (let at = address; at < address + from.length; ) {
      const bytes = Math.min(4096 - (at % 4096), address + from.length - at);
      this.#pages.written(at, bytes, () => this.#announce());
      at += bytes;
    }
    return true;
  }

  #store(address: number, from: Uint8Array): void {
    const { length } = from;
    if (length > 8 || !isOneWord(address, length)) {
      this.#ram.set(from, address);
      return;
    }
    const view = new DataView(from.buffer, from.byteOffset, length);
    switch (length) {
      case 8:
        Atomics.store(this.#quads, address / 8, view.getBigUint64(0, true));
        break;
      case 4:
        Atomics.store(this.#words, address / 4, view.getUint32(0, true));
        break;
      case 2:
        Atomics.store(this.#halves, address / 2, view.getUint16(0, true));
        break;
      default:
        Atomics.store(this.#ram, address, view.getUint8(0));
    }
  }

  #isRam(address: number, length: number): boolean {
    return address >= 0 && address + length <= this.#ram.length;
  }

  #announce(): void {
    for (let lp = 0; lp < this.#control.layout.lpCount; lp++) {
      this.#control.signal(lp, Pending.CodeChanged);
    }
  }
}

/** The range is a byte, or an aligned half, word or doubleword. */
function isOneWord(address: number, length: number): boolean {
  return length > 0 && (length & (length - 1)) === 0 && address % length === 0;
}
