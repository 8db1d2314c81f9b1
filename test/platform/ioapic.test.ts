import { describe, expect, test } from "vitest";
import { IoApic, ioapicAddress } from "../../src/platform/ioapic.ts";
import { DeliveryMode, type InterruptMessage } from "../../src/protocol/interrupt-message.ts";

const pin = 14;
const vector = 0x76;
const level = 1 << 15;
const masked = 1 << 16;
const remoteIrr = 1 << 14;

class Bench {
  readonly sent: InterruptMessage[] = [];
  readonly ioapic = new IoApic({ send: (message) => this.sent.push(message) });

  read(register: number): number {
    this.ioapic.writeMmio(ioapicAddress, 4, register);
    return this.ioapic.readMmio(ioapicAddress + 0x10, 4);
  }
  write(register: number, value: number): void {
    this.ioapic.writeMmio(ioapicAddress, 4, register);
    this.ioapic.writeMmio(ioapicAddress + 0x10, 4, value);
  }
  get entry(): number {
    return this.read(0x10 + pin * 2);
  }
  set entry(low: number) {
    this.write(0x10 + pin * 2, low);
  }
  raise(): void {
    this.ioapic.setLine(pin, true);
  }
  lower(): void {
    this.ioapic.setLine(pin, false);
  }
  get messages(): number {
    return this.sent.length;
  }
}

describe("registers", () => {
  test("after reset every entry is masked", () => {
    const bench = new Bench();
    for (let n = 0; n < 24; n++) {
      expect([bench.read(0x10 + n * 2), bench.read(0x11 + n * 2)]).toEqual([masked, 0]);
    }
  });

  test("version: 24 pins, EOI register; it cannot be written", () => {
    const bench = new Bench();
    expect(bench.read(1)).toBe(0x0017_0020);
    bench.write(1, 0xffff_ffff);
    expect(bench.read(1)).toBe(0x0017_0020);
  });

  test("of the id four bits are writable, and the arbitration id follows it", () => {
    const bench = new Bench();
    bench.write(0, 0xffff_ffff);
    expect(bench.read(0)).toBe(0x0f00_0000);
    bench.write(2, 0);
    expect(bench.read(2)).toBe(0x0f00_0000);
  });

  test("an entry keeps its writable bits; status and remote IRR are not writable", () => {
    const bench = new Bench();
    bench.entry = 0xffff_ffff;
    expect(bench.entry).toBe(0x1_afff);
    bench.write(0x11 + pin * 2, 0x1234_5678);
    expect(bench.read(0x11 + pin * 2)).toBe(0x1234_5678);
  });

  test("there is nothing beyond the last entry", () => {
    const bench = new Bench();
    bench.write(0x40, 0x1234);
    expect(bench.read(0x40)).toBe(0);
    expect(bench.read(0x0f)).toBe(0);
  });
});

describe("an edge-triggered pin", () => {
  test("sends on each rising edge", () => {
    const bench = new Bench();
    bench.write(0x11 + pin * 2, 0x0200_0000);
    bench.entry = vector | (1 << 11);
    bench.raise();
    bench.raise();
    expect(bench.sent).toEqual([
      expect.objectContaining({
        vector,
        deliveryMode: DeliveryMode.Fixed,
        logical: true,
        level: false,
        destination: 2,
        wide: false,
        source: -1,
      }),
    ]);
    bench.lower();
    bench.raise();
    expect(bench.messages).toBe(2);
    expect(bench.entry & remoteIrr).toBe(0);
  });

  test("loses an edge that comes while it is masked", () => {
    const bench = new Bench();
    bench.entry = vector | masked;
    bench.raise();
    bench.lower();
    bench.entry = vector;
    expect(bench.messages).toBe(0);
    bench.raise();
    expect(bench.messages).toBe(1);
  });
});

describe("a level-triggered pin", () => {
  test("sends once until its EOI, and again after it while the line is high", () => {
    const bench = new Bench();
    bench.entry = vector | level;
    bench.raise();
    expect(bench.messages).toBe(1);
    expect(bench.sent[0]?.level).toBe(true);
    expect(bench.entry & remoteIrr).toBe(remoteIrr);
    bench.lower();
    bench.raise();
    expect(bench.messages).toBe(1);
    bench.ioapic.endOfInterrupt(vector);
    expect(bench.messages).toBe(2);
    bench.lower();
    bench.ioapic.endOfInterrupt(vector);
    expect(bench.messages).toBe(2);
    expect(bench.entry & remoteIrr).toBe(0);
  });

  test("ignores the EOI of another vector", () => {
    const bench = new Bench();
    bench.entry = vector | level;
    bench.raise();
    bench.ioapic.endOfInterrupt(vector + 1);
    expect(bench.entry & remoteIrr).toBe(remoteIrr);
  });

  test("the EOI register does what the message does", () => {
    const bench = new Bench();
    bench.entry = vector | level;
    bench.raise();
    bench.lower();
    bench.ioapic.writeMmio(ioapicAddress + 0x40, 4, vector);
    expect(bench.entry & remoteIrr).toBe(0);
  });

  test("masked it waits; unmasking sends while the line is high", () => {
    const bench = new Bench();
    bench.entry = vector | level | masked;
    bench.raise();
    expect(bench.messages).toBe(0);
    bench.entry = vector | level;
    expect(bench.messages).toBe(1);
  });

  test("masking does not forget an owed EOI; turning to edge does", () => {
    const bench = new Bench();
    bench.entry = vector | level;
    bench.raise();
    bench.entry = vector | level | masked;
    expect(bench.entry & remoteIrr).toBe(remoteIrr);
    bench.entry = vector | masked;
    expect(bench.entry & remoteIrr).toBe(0);
  });

  test("changing only the destination half leaves the request alone", () => {
    const bench = new Bench();
    bench.entry = vector | level;
    bench.raise();
    bench.write(0x11 + pin * 2, 0x0100_0000);
    expect(bench.messages).toBe(1);
    expect(bench.entry & remoteIrr).toBe(remoteIrr);
  });
});

test("NMI and ExtINT entries are edges whatever their trigger mode, reserved modes send nothing", () => {
  for (const [mode, expected] of [
    [DeliveryMode.Nmi, 1],
    [DeliveryMode.ExtInt, 1],
    [3, 0],
    [6, 0],
  ] as const) {
    const bench = new Bench();
    bench.entry = vector | level | (mode << 8);
    bench.raise();
    bench.raise();
    expect([mode, bench.messages]).toEqual([mode, expected]);
    expect(bench.sent.every((message) => !message.level)).toBe(true);
  }
});
