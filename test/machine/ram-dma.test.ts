import { beforeEach, describe, expect, it } from "vitest";
import { CodePages } from "../../src/execution/code-pages.ts";
import { lpWindowBytes, Pending } from "../../src/execution/lp-window.ts";
import { ControlRegion } from "../../src/machine/control-region.ts";
import { RamDma } from "../../src/machine/ram-dma.ts";
import { createMemory, layOutMemory } from "../../src/memory/physical-memory.ts";

const ramBytes = 2 ** 20;
const layout = layOutMemory(ramBytes, 2, lpWindowBytes);
let memory: WebAssembly.Memory;
let ram: Uint8Array;
let control: ControlRegion;
let dma: RamDma;

beforeEach(() => {
  memory = createMemory(layout);
  ram = new Uint8Array(memory.buffer, 0, ramBytes);
  control = new ControlRegion(memory, layout);
  dma = new RamDma(memory, control);
});

describe("DMA to RAM", () => {
  it.each([1, 2, 3, 4, 5, 7, 8, 9, 100, 5000])("of %i bytes, at any alignment", (length) => {
    for (const address of [0x1000, 0x1001, 0x1002, 0x1ffe, ramBytes - length]) {
      const bytes = Uint8Array.from({ length }, (_, n) => (n * 7 + address) & 0xff);
      expect(dma.write(address, bytes)).toBe(true);
      expect([...ram.subarray(address, address + length)]).toEqual([...bytes]);
      const back = new Uint8Array(length);
      expect(dma.read(address, back)).toBe(true);
      expect([...back]).toEqual([...bytes]);
    }
  });

  it("refuses what is not all RAM, and then moves nothing", () => {
    const bytes = new Uint8Array(8).fill(0x55);
    const { NaN: none, POSITIVE_INFINITY: infinity } = Number;
    for (const address of [ramBytes - 7, ramBytes, 2 ** 40, -1, -8, none, infinity]) {
      expect(dma.write(address, bytes)).toBe(false);
      expect(dma.read(address, bytes)).toBe(false);
    }
    expect(ram.at(-1)).toBe(0);
    expect(bytes.every((byte) => byte === 0x55)).toBe(true);
  });

  it("tells every LP of decoded code that it changes, on each page of a write", () => {
    const pages = new CodePages(memory, layout);
    pages.mark(0x2010, 4);
    const told = (): boolean =>
      [0, 1].every((lp) => {
        const word = control.pendingWord(lp);
        const was = Atomics.load(control.words, word) & Pending.CodeChanged;
        control.clear(lp, Pending.CodeChanged);
        return was !== 0;
      });
    dma.write(0x1000, new Uint8Array(0x1000));
    expect(told()).toBe(false);
    dma.write(0x1ff0, new Uint8Array(0x40));
    expect(told()).toBe(true);
  });
});
