import { describe, expect, test } from "vitest";
import { buildAcpiTables } from "../../src/platform/acpi.ts";

const base = 0xe_0000;

/** The image as software at physical addresses sees it. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  constructor(apicIds: readonly number[]) {
    const image = buildAcpiTables({ base, apicIds, ramBytes: 256 * 1024 ** 2 });
    this.#bytes = image.bytes;
    this.#view = new DataView(image.bytes.buffer);
  }

  u8(at: number): number {
    return this.#view.getUint8(at - base);
  }
  u16(at: number): number {
    return this.#view.getUint16(at - base, true);
  }
  u32(at: number): number {
    return this.#view.getUint32(at - base, true);
  }
  u64(at: number): number {
    return Number(this.#view.getBigUint64(at - base, true));
  }
  text(at: number, length: number): string {
    return String.fromCharCode(...this.bytes(at, length));
  }
  bytes(at: number, length: number): number[] {
    return [...this.#bytes.subarray(at - base, at - base + length)];
  }
  sum(at: number, length: number): number {
    return this.bytes(at, length).reduce((sum, byte) => sum + byte, 0) & 0xff;
  }

  /** Addresses of the tables that the XSDT lists, by signature. */
  tables(): Map<string, number> {
    const xsdt = this.u64(base + 24);
    const count = (this.u32(xsdt + 4) - 36) / 8;
    return new Map(
      Array.from({ length: count }, (_, n) => this.u64(xsdt + 36 + n * 8)).map((at) => [
        this.text(at, 4),
        at,
      ]),
    );
  }

  /** Entries of the MADT: type and bytes. */
  madt(): { type: number; bytes: number[] }[] {
    const at = this.tables().get("APIC") ?? 0;
    const entries = [];
    for (let entry = at + 44; entry < at + this.u32(at + 4); entry += this.u8(entry + 1)) {
      entries.push({ type: this.u8(entry), bytes: this.bytes(entry, this.u8(entry + 1)) });
    }
    return entries;
  }
}

describe("finding the tables", () => {
  const reader = new Reader([0, 1]);

  test("the RSDP is where software looks, with both checksums right", () => {
    expect(base % 16).toBe(0);
    expect(reader.text(base, 8)).toBe("RSD PTR ");
    expect(reader.sum(base, 20)).toBe(0);
    expect(reader.sum(base, reader.u32(base + 20))).toBe(0);
  });

  test("RSDT and XSDT list the same tables", () => {
    const rsdt = reader.u32(base + 16);
    expect(reader.text(rsdt, 4)).toBe("RSDT");
    const listed = [reader.u32(rsdt + 36), reader.u32(rsdt + 40)];
    expect([...reader.tables().values()]).toEqual(listed);
    expect([...reader.tables().keys()]).toEqual(["FACP", "APIC"]);
  });

  test("every checksum is right", () => {
    const fadt = reader.tables().get("FACP") ?? 0;
    const all = [
      reader.u32(base + 16),
      reader.u64(base + 24),
      ...reader.tables().values(),
      reader.u32(fadt + 40),
    ];
    for (const at of all) {
      expect([reader.text(at, 4), reader.sum(at, reader.u32(at + 4))]).toEqual([
        reader.text(at, 4),
        0,
      ]);
    }
  });
});

describe("FADT", () => {
  const reader = new Reader([0]);
  const fadt = reader.tables().get("FACP") ?? 0;

  test("points at FACS and DSDT, in both widths", () => {
    const facs = reader.u32(fadt + 36);
    expect(reader.text(facs, 4)).toBe("FACS");
    expect(facs % 64).toBe(0);
    expect(reader.u32(facs + 4)).toBe(64);
    expect(reader.text(reader.u32(fadt + 40), 4)).toBe("DSDT");
    expect([reader.u64(fadt + 132), reader.u64(fadt + 140)]).toEqual([facs, reader.u32(fadt + 40)]);
  });

  test("names the registers that the machine has", () => {
    expect(reader.u16(fadt + 46)).toBe(9);
    expect(reader.u32(fadt + 56)).toBe(0x600);
    expect(reader.u32(fadt + 64)).toBe(0x604);
    expect(reader.u32(fadt + 76)).toBe(0x608);
    expect([88, 89, 91].map((at) => reader.u8(fadt + at))).toEqual([4, 2, 4]);
    expect(reader.u8(fadt + 108)).toBe(0x32);
    expect((reader.u32(fadt + 112) >>> 8) & 1).toBe(1);
    // Reset register: I/O port CF9H, value 6.
    expect(reader.bytes(fadt + 116, 13)).toEqual([1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6]);
  });

  test("is in ACPI mode without an SMI command", () => {
    expect(reader.u32(fadt + 48)).toBe(0);
  });
});

describe("MADT", () => {
  test("has an entry per LP, the I/O APIC, the overrides and the NMI pin", () => {
    const reader = new Reader([0, 1, 4]);
    expect(reader.madt()).toEqual([
      { type: 0, bytes: [0, 8, 0, 0, 1, 0, 0, 0] },
      { type: 0, bytes: [0, 8, 1, 1, 1, 0, 0, 0] },
      { type: 0, bytes: [0, 8, 2, 4, 1, 0, 0, 0] },
      { type: 1, bytes: [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0] },
      { type: 2, bytes: [2, 10, 0, 0, 2, 0, 0, 0, 0, 0] },
      { type: 2, bytes: [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0] },
      { type: 4, bytes: [4, 6, 0xff, 0, 0, 1] },
    ]);
  });

  test("ids that do not fit 8 bits get x2APIC entries", () => {
    const entries = new Reader([254, 255, 300]).madt();
    expect(entries.map(({ type }) => type)).toEqual([0, 9, 9, 1, 2, 2, 4, 10]);
    expect(entries[2]?.bytes).toEqual([9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]);
  });
});

test("the DSDT says how to switch off", () => {
  const reader = new Reader([0]);
  const dsdt = reader.u32((reader.tables().get("FACP") ?? 0) + 40);
  // Name (\_S5_, Package (4) {0, 0, 0, 0})
  expect(reader.bytes(dsdt + 36, 13)).toEqual([
    0x08, 0x5c, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x06, 0x04, 0, 0, 0, 0,
  ]);
});
