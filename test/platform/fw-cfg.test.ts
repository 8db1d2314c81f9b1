import { describe, expect, test } from "vitest";
import { FwCfg } from "../../src/platform/fw-cfg.ts";

const ramBytes = 512 * 1024 ** 2;
const file = Uint8Array.from({ length: 300 }, (_, n) => n & 0xff);

class Bench {
  readonly ram = new Uint8Array(4096);
  readonly device = new FwCfg({
    ramBytes,
    lpCount: 6,
    files: new Map([
      ["etc/e820", file],
      ["opt/two", Uint8Array.of(9)],
    ]),
    memory: {
      read: (address, into) =>
        this.#inside(address, into.length, () =>
          into.set(this.ram.subarray(address, address + into.length)),
        ),
      write: (address, from) =>
        this.#inside(address, from.length, () => this.ram.set(from, address)),
    },
  });

  #inside(address: number, length: number, move: () => void): boolean {
    if (address + length > this.ram.length) {
      return false;
    }
    move();
    return true;
  }

  read(key: number, count: number): number[] {
    this.device.writePort(0x510, 2, key);
    return Array.from({ length: count }, () => this.device.readPort(0x511, 1));
  }

  /** Runs a DMA descriptor placed at address 0. @returns the control word afterwards */
  dma(control: number, length: number, address: number): number {
    const view = new DataView(this.ram.buffer);
    view.setUint32(0, control);
    view.setUint32(4, length);
    view.setBigUint64(8, BigInt(address));
    this.device.writePort(0x514, 4, 0);
    this.device.writePort(0x518, 4, 0);
    return view.getUint32(0);
  }
}

const text = (bytes: readonly number[]): string => String.fromCharCode(...bytes);

describe("items", () => {
  test("signature, interface, RAM size, processor counts", () => {
    const bench = new Bench();
    expect(text(bench.read(0, 4))).toBe("QEMU");
    expect(bench.read(1, 4)).toEqual([3, 0, 0, 0]);
    expect(bench.read(3, 8)).toEqual([0, 0, 0, 0x20, 0, 0, 0, 0]);
    expect(bench.read(5, 2)).toEqual([6, 0]);
    expect(bench.read(0x0f, 2)).toEqual([6, 0]);
  });

  test("an unknown item, and what is beyond the end of one, reads zero", () => {
    const bench = new Bench();
    expect(bench.read(0x77, 2)).toEqual([0, 0]);
    expect(bench.read(5, 4)).toEqual([6, 0, 0, 0]);
  });

  test("files are found through the directory", () => {
    const bench = new Bench();
    const bytes = Uint8Array.from(bench.read(0x19, 4 + 2 * 64));
    const view = new DataView(bytes.buffer);
    expect(view.getUint32(0)).toBe(2);
    const entry = (n: number): [number, string, number] => {
      const at = 4 + n * 64;
      const name = text([...bytes.subarray(at + 8, at + 64)]).replace(/\0+$/, "");
      return [view.getUint32(at), name, view.getUint16(at + 4)];
    };
    const [size, name, key] = entry(0);
    expect([size, name]).toEqual([300, "etc/e820"]);
    expect(bench.read(key, 300)).toEqual([...file]);
    expect(bench.read(entry(1)[2], 1)).toEqual([9]);
  });
});

describe("DMA", () => {
  test("announces itself", () => {
    const { device } = new Bench();
    const word = (port: number): string => {
      const value = device.readPort(port, 4);
      return text([0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff));
    };
    expect(word(0x514) + word(0x518)).toBe("QEMU CFG");
  });

  test("selects, skips and reads into memory", () => {
    const bench = new Bench();
    expect(bench.dma((0x20 << 16) | 8 | 4, 10, 0)).toBe(0);
    expect(bench.dma(2, 20, 256)).toBe(0);
    expect([...bench.ram.subarray(256, 277)]).toEqual([...file.subarray(10, 30), 0]);
    // The next operation goes on where this one ended.
    bench.dma(2, 4, 512);
    expect([...bench.ram.subarray(512, 516)]).toEqual([...file.subarray(30, 34)]);
  });

  test("reports an error for a write, and for memory that is not there", () => {
    const bench = new Bench();
    expect(bench.dma((0x20 << 16) | 8 | 16, 4, 256)).toBe(1);
    expect(bench.dma((0x20 << 16) | 8 | 2, 4, 4095)).toBe(1);
    expect(bench.dma(2, 4, 2 ** 40)).toBe(1);
    expect(bench.dma(2, 0xffff_ffff, 0)).toBe(1);
  });
});
