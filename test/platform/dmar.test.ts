import { expect, test } from "vitest";
import { buildAcpiTables } from "../../src/platform/acpi.ts";
import { buildTable, checksum } from "../../src/platform/acpi-table.ts";
import { ioapicRequester, writeDmar } from "../../src/platform/dmar.ts";

const endpoint = { device: 4, function: 1 };

test("one unit for everything, with the I/O APIC by its id, and memory that functions need", () => {
  const table = buildTable("DMAR", 1, (writer) =>
    writeDmar(writer, {
      hostAddressBits: 46,
      reserved: [{ start: 0x7_0000, last: 0x7_ffff, functions: [endpoint] }],
    }),
  );
  const view = new DataView(table.buffer);
  expect(checksum(table)).toBe(0);
  expect([table[36], table[37]]).toEqual([45, 1]);

  const unit = 48;
  expect([view.getUint16(unit, true), view.getUint16(unit + 2, true), table[unit + 4]]).toEqual([
    0, 24, 1,
  ]);
  expect(view.getBigUint64(unit + 8, true)).toBe(0xfed9_0000n);
  const [type, length, , , id, bus, device, fn] = table.subarray(unit + 16, unit + 24);
  expect([type, length, id]).toEqual([3, 8, 0]);
  expect(((bus ?? 0) << 8) | ((device ?? 0) << 3) | (fn ?? 0)).toBe(ioapicRequester);

  const reserved = unit + 24;
  expect([view.getUint16(reserved, true), view.getUint16(reserved + 2, true)]).toEqual([1, 32]);
  expect(view.getBigUint64(reserved + 8, true)).toBe(0x7_0000n);
  expect(view.getBigUint64(reserved + 16, true)).toBe(0x7_ffffn);
  expect([...table.subarray(reserved + 24)]).toEqual([1, 8, 0, 0, 0, 0, 4, 1]);
});

test("RSDT and XSDT list the table, where there is a unit", () => {
  const base = 0xe_0000;
  const options = { base, apicIds: [0], ramBytes: 2 ** 28 };
  const signatures = (image: Uint8Array): string[] => {
    const view = new DataView(image.buffer, image.byteOffset);
    const rsdt = view.getUint32(16, true) - base;
    const xsdt = Number(view.getBigUint64(24, true)) - base;
    const count = (view.getUint32(rsdt + 4, true) - 36) / 4;
    return Array.from({ length: count }, (_, n) => {
      const at = view.getUint32(rsdt + 36 + 4 * n, true);
      expect(view.getBigUint64(xsdt + 36 + 8 * n, true)).toBe(BigInt(at));
      return String.fromCharCode(...image.subarray(at - base, at - base + 4));
    });
  };
  const { bytes } = buildAcpiTables({ ...options, iommu: { hostAddressBits: 46 } });
  expect(signatures(bytes)).toEqual(["FACP", "APIC", "DMAR"]);
  expect(signatures(buildAcpiTables(options).bytes)).toEqual(["FACP", "APIC"]);
});
