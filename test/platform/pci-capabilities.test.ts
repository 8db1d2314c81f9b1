import { beforeEach, describe, expect, test } from "vitest";
import { type PciCapability, PciCapabilityId } from "../../src/platform/pci-capability.ts";
import { placePciFunctions } from "../../src/platform/pci-firmware.ts";
import { type PciBar, PciFunction, type PciIdentity } from "../../src/platform/pci-function.ts";
import { MsiCapability } from "../../src/platform/pci-msi.ts";
import { MsixCapability } from "../../src/platform/pci-msix.ts";

/** What a function has done. */
const messages: [address: number | bigint, data: number][] = [];
const pin: boolean[] = [];
let dma = 0;

const command = { memory: 2, master: 4, interruptOff: 0x400 };

function newFunction(rest: Partial<PciIdentity>): PciFunction {
  const port = {
    read: () => {
      dma++;
      return true;
    },
    write: () => {
      dma++;
      return true;
    },
    message: (address: number | bigint, data: number) => {
      messages.push([address, data]);
    },
  };
  const fn = new PciFunction(
    {
      ...{ bus: 0, device: 4, function: 0, vendorId: 0x1234, deviceId: 0x5678, classCode: 0 },
      ...rest,
    },
    { port, interrupt: (high) => pin.push(high) },
  );
  fn.writeConfiguration(4, 2, command.master | command.memory);
  pin.length = 0;
  return fn;
}

beforeEach(() => {
  messages.length = 0;
  pin.length = 0;
  dma = 0;
});

describe("the capability list", () => {
  test("links what there is, and says so in the status register", () => {
    const vendor: PciCapability = {
      id: PciCapabilityId.Vendor,
      values: [3, 0x11],
      writable: [0, 0xf0],
      attach: () => undefined,
      written: () => undefined,
      reset: () => undefined,
    };
    const msi = new MsiCapability({ vectors: 1, maskable: false });
    const fn = newFunction({ capabilities: [vendor, msi] });
    expect(fn.readConfiguration(6, 2)).toBe(0x10);
    expect(fn.readConfiguration(0x34, 1)).toBe(0x40);
    expect(fn.readConfiguration(0x40, 4)).toBe(0x1103_4409);
    expect(fn.readConfiguration(0x44, 4)).toBe(0x0080_0005);
    fn.writeConfiguration(0x40, 4, 0xffff_ffff);
    expect(fn.readConfiguration(0x40, 4)).toBe(0xf103_4409);
    fn.reset();
    expect(fn.readConfiguration(0x40, 4)).toBe(0x1103_4409);
  });

  test("is not announced where there is none", () => {
    expect(newFunction({}).readConfiguration(6, 2)).toBe(0);
  });
});

describe("bus mastering", () => {
  test("lets requests and messages out, and nothing without it", () => {
    const fn = newFunction({});
    fn.writeConfiguration(4, 2, 0);
    expect(fn.port.read(0, new Uint8Array(1))).toBe(false);
    expect(fn.port.write(0, new Uint8Array(1))).toBe(false);
    fn.port.message(0xfee0_0000, 1);
    expect([dma, messages.length]).toEqual([0, 0]);
    fn.writeConfiguration(4, 2, command.master);
    expect(fn.port.read(0, new Uint8Array(1))).toBe(true);
    fn.port.message(0xfee0_0000, 1);
    expect([dma, messages.length]).toEqual([1, 1]);
  });
});

describe("the INTx pin", () => {
  test("follows the device, unless software disables it", () => {
    const fn = newFunction({ interruptPin: 1 });
    fn.setInterrupt(true);
    expect(fn.readConfiguration(6, 2) & 8).toBe(8);
    fn.writeConfiguration(4, 2, command.interruptOff);
    expect(pin.at(-1)).toBe(false);
    expect(fn.readConfiguration(6, 2) & 8).toBe(8);
    fn.writeConfiguration(4, 2, 0);
    expect(pin.at(-1)).toBe(true);
    fn.setInterrupt(false);
    expect(pin.at(-1)).toBe(false);
    expect(fn.readConfiguration(6, 2) & 8).toBe(0);
  });
});

describe("windows", () => {
  const window = (bytes: number, wide = false): PciBar => ({
    ...{ space: "memory", bytes, wide },
    read: (offset) => offset,
    write: () => undefined,
  });

  test("may lie above 4 GiB, in two registers", () => {
    const fn = newFunction({ bars: [window(0x2000, true), undefined, window(0x1000)] });
    fn.writeConfiguration(0x10, 4, 0xffff_ffff);
    fn.writeConfiguration(0x14, 4, 0xffff_ffff);
    expect([fn.readConfiguration(0x10, 4), fn.readConfiguration(0x14, 4)]).toEqual([
      0xffff_e004, 0xffff_ffff,
    ]);
    fn.writeConfiguration(0x10, 4, 0x8000_0000);
    fn.writeConfiguration(0x14, 4, 0x12);
    fn.writeConfiguration(0x18, 4, 0xe000_0000);
    expect(fn.decode("memory", 0x12_8000_1fff)?.offset).toBe(0x1fff);
    expect(fn.decode("memory", 0x12_8000_2000)).toBeUndefined();
    expect(fn.decode("memory", 0xe000_0004)?.offset).toBe(4);
  });

  test("are placed by firmware, aligned to their size, with decoding on and mastering off", () => {
    const functions = [window(0x10_0000), window(0x1000), window(0x10_0000)].map(
      (bar) =>
        new PciFunction({
          ...{ bus: 0, device: 4, function: 0, vendorId: 1, deviceId: 2, classCode: 0 },
          interruptPin: 1,
          bars: [bar],
        }),
    );
    placePciFunctions(functions, () => 11);
    const starts = functions.map((fn) => fn.readConfiguration(0x10, 4));
    expect(starts).toEqual([0xe000_0000, 0xe010_0000, 0xe020_0000]);
    expect(functions.map((fn) => fn.readConfiguration(4, 2))).toEqual([2, 2, 2]);
    expect(functions.map((fn) => fn.readConfiguration(0x3c, 1))).toEqual([11, 11, 11]);
  });

  test("for which there is no room stay undecoded", () => {
    const fn = newFunction({ bars: [window(2 ** 30)] });
    fn.writeConfiguration(4, 2, 0);
    placePciFunctions([fn], () => 11);
    expect(fn.readConfiguration(4, 2)).toBe(0);
  });
});

describe("MSI", () => {
  const enable = (fn: PciFunction, control: number): void => {
    fn.writeConfiguration(0x44, 4, 0xfee0_1000);
    fn.writeConfiguration(0x4c, 2, 0x4141);
    fn.writeConfiguration(0x42, 2, control);
  };

  test("is silent until it is enabled", () => {
    const msi = new MsiCapability({ vectors: 1, maskable: false });
    const fn = newFunction({ capabilities: [msi] });
    expect([msi.isEnabled, msi.signal(0)]).toEqual([false, false]);
    enable(fn, 1);
    expect([msi.isEnabled, msi.signal(0)]).toEqual([true, true]);
    expect(messages).toEqual([[0xfee0_1000, 0x4141]]);
  });

  test("the low bits of the datum tell the vector, as far as software has given vectors", () => {
    const msi = new MsiCapability({ vectors: 8, maskable: false });
    const fn = newFunction({ capabilities: [msi] });
    expect(fn.readConfiguration(0x42, 2)).toBe(0x86);
    enable(fn, 1 | (2 << 4));
    for (const n of [0, 3, 5]) msi.signal(n);
    expect(messages.map(([, data]) => data)).toEqual([0x4140, 0x4143, 0x4141]);
    // More than there are: as many as there are.
    enable(fn, 1 | (5 << 4));
    msi.signal(7);
    expect(messages.at(-1)?.[1]).toBe(0x4147);
  });

  test("a masked vector waits, and goes out once when the mask is lifted", () => {
    const msi = new MsiCapability({ vectors: 4, maskable: true });
    const fn = newFunction({ capabilities: [msi] });
    enable(fn, 1 | (2 << 4));
    fn.writeConfiguration(0x50, 4, 0xffff_ffff);
    expect(fn.readConfiguration(0x50, 4)).toBe(0xf);
    msi.signal(2);
    msi.signal(2);
    expect(messages).toEqual([]);
    expect(fn.readConfiguration(0x54, 4)).toBe(4);
    fn.writeConfiguration(0x50, 4, 0);
    expect(messages.map(([, data]) => data)).toEqual([0x4142]);
    expect(fn.readConfiguration(0x54, 4)).toBe(0);
  });

  test("the address may have 64 bits", () => {
    const msi = new MsiCapability({ vectors: 1, maskable: false });
    const fn = newFunction({ capabilities: [msi] });
    fn.writeConfiguration(0x48, 4, 0x12);
    enable(fn, 1);
    msi.signal(0);
    expect(messages[0]?.[0]).toBe(0x12_fee0_1000n);
  });
});

describe("MSI-X", () => {
  const enabled = 0x8000;
  const functionMask = 0x4000;
  let msix: MsixCapability;
  let fn: PciFunction;
  const table = (n: number, word: number): number => n * 16 + word * 4;

  beforeEach(() => {
    msix = new MsixCapability({ vectors: 40, barIndex: 1 });
    fn = newFunction({ capabilities: [msix], bars: [undefined, msix.bar] });
    for (let n = 0; n < 40; n++) {
      msix.bar.write(table(n, 0), 4, 0xfee0_0000 + n * 0x1000 + 3);
      msix.bar.write(table(n, 2), 4, 0x1_0000 + n);
    }
  });

  test("says where the table is and how large", () => {
    expect(fn.readConfiguration(0x42, 2)).toBe(39);
    expect(fn.readConfiguration(0x44, 4)).toBe(1);
    expect(fn.readConfiguration(0x48, 4)).toBe(2048 | 1);
    expect(msix.bar.bytes).toBe(4096);
    fn.writeConfiguration(0x42, 2, 0xffff);
    expect(fn.readConfiguration(0x42, 2)).toBe(enabled | functionMask | 39);
  });

  test("sends the vector's message", () => {
    msix.bar.write(table(33, 3), 4, 0);
    expect(msix.signal(33)).toBe(false);
    fn.writeConfiguration(0x42, 2, enabled);
    expect(msix.signal(33)).toBe(true);
    expect(messages).toEqual([[0xfee0_0000 + 33 * 0x1000, 0x1_0000 + 33]]);
    expect(msix.signal(40)).toBe(false);
  });

  test("a vector waits while it is masked; the pending bits show it", () => {
    fn.writeConfiguration(0x42, 2, enabled);
    expect(msix.bar.read(table(33, 3), 4)).toBe(1);
    msix.signal(33);
    msix.signal(33);
    expect(msix.bar.read(2048 + 4, 4)).toBe(2);
    expect(messages).toEqual([]);
    msix.bar.write(table(33, 3), 4, 0);
    expect(messages).toHaveLength(1);
    expect(msix.bar.read(2048 + 4, 4)).toBe(0);
  });

  test("all wait while the function is masked", () => {
    for (const n of [1, 33]) msix.bar.write(table(n, 3), 4, 0);
    fn.writeConfiguration(0x42, 2, enabled | functionMask);
    for (const n of [1, 2, 33]) msix.signal(n);
    expect(messages).toEqual([]);
    fn.writeConfiguration(0x42, 2, enabled);
    expect(messages.map(([, data]) => data)).toEqual([0x1_0001, 0x1_0000 + 33]);
    expect(msix.bar.read(2048, 4)).toBe(4);
  });

  test("pending bits cannot be written, and narrow writes do nothing", () => {
    msix.bar.write(2048, 4, 0xffff_ffff);
    msix.bar.write(table(0, 2), 2, 0xffff);
    expect([msix.bar.read(2048, 4), msix.bar.read(table(0, 2), 4)]).toEqual([0, 0x1_0000]);
    expect(msix.bar.read(table(0, 2) + 2, 2)).toBe(1);
  });

  test("reset masks every vector again", () => {
    msix.bar.write(table(0, 3), 4, 0);
    fn.writeConfiguration(0x42, 2, enabled);
    fn.reset();
    expect(msix.bar.read(table(0, 3), 4)).toBe(1);
    expect(msix.signal(0)).toBe(false);
  });
});
