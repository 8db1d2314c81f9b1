import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BootState } from "../../src/machine/boot-state.ts";
import { configure, type MachineConfiguration } from "../../src/machine/configuration.ts";
import { loadImage } from "../../src/machine/loaders/load-image.ts";
import { UserError } from "../../src/machine/user-error.ts";
import { elfFile, multibootHeader, multibootImage } from "./images.ts";

const mebibyte = 2 ** 20;

interface Loaded {
  readonly boot: BootState;
  readonly ram: Uint8Array;
  readonly view: DataView;
}

function load(bytes: Uint8Array, options: Partial<MachineConfiguration> = {}): Loaded {
  const image = { name: "dir/image", bytes };
  const configuration = configure({ cpuModel: "any", ramBytes: 4 * mebibyte, ...options });
  const ram = new Uint8Array(configuration.ramBytes);
  const boot = loadImage({ ...configuration, image }, ram);
  return { boot, ram, view: new DataView(ram.buffer) };
}

function trouble(bytes: Uint8Array, options: Partial<MachineConfiguration> = {}): string {
  try {
    load(bytes, options);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "loaded";
}

function text(ram: Uint8Array, at: number): string {
  return new TextDecoder().decode(ram.subarray(at, ram.indexOf(0, at)));
}

const code = [0xf4, 0xeb, 0xfd];

describe("multiboot with address fields", () => {
  it("loads a real image where its header says and enters it in protected mode", () => {
    const file = readFileSync(new URL("../../bench/guests/bench64.mb", import.meta.url));
    const { boot, ram, view } = load(file, { ramBytes: 64 * mebibyte });
    const header = [...Array(2048).keys()].find(
      (n) => view.getUint32(mebibyte + n * 4, true) === 0x1badb002,
    );
    expect(header).toBeDefined();
    expect(boot).toMatchObject({ mode: "protected32", eax: 0x2badb002 });
    expect(boot.entry).toBe(view.getUint32(mebibyte + (header ?? 0) * 4 + 28, true));
    expect(Buffer.from(ram.subarray(mebibyte, mebibyte + file.length))).toEqual(file);
  });

  it("zeroes nothing but leaves the bss to the RAM's zero", () => {
    const file = Uint8Array.from([
      ...multibootHeader(0x1_0000, [mebibyte, mebibyte, 0, mebibyte + 0x2000, mebibyte + 32]),
      ...code,
    ]);
    expect(load(file).boot.entry).toBe(mebibyte + 32);
  });

  it.each([
    [
      "a checksum that does not add up",
      () => {
        const f = multibootImage(code);
        f[8] = 0;
        return f;
      },
      /magic, flags and checksum/,
    ],
    [
      "a load end beyond the file",
      () =>
        Uint8Array.from([
          ...multibootHeader(0x1_0000, [mebibyte, mebibyte, mebibyte + 0x1000, 0, mebibyte + 32]),
          ...code,
        ]),
      /truncated/,
    ],
    [
      "address fields cut off",
      () => Uint8Array.from(multibootHeader(0x1_0000, [mebibyte])),
      /truncated: the Multiboot address fields/,
    ],
    [
      "a load address above its header",
      () =>
        Uint8Array.from([
          ...multibootHeader(0x1_0000, [mebibyte, mebibyte + 16, 0, 0, mebibyte + 32]),
          ...code,
        ]),
      /load address 0x100010/,
    ],
    [
      "a load end below the load address",
      () =>
        Uint8Array.from([
          ...multibootHeader(0x1_0000, [mebibyte, mebibyte, 16, 0, mebibyte]),
          ...code,
        ]),
      /load end 0x10 is below/,
    ],
    [
      "a bss end below the load end",
      () =>
        Uint8Array.from([
          ...multibootHeader(0x1_0000, [mebibyte, mebibyte, 0, mebibyte + 1, mebibyte + 32]),
          ...code,
        ]),
      /bss end/,
    ],
    [
      "an entry point outside",
      () =>
        Uint8Array.from([...multibootHeader(0x1_0000, [mebibyte, mebibyte, 0, 0, 0x50]), ...code]),
      /entry point 0x50/,
    ],
    [
      "a demand nobody can meet",
      () =>
        Uint8Array.from([
          ...multibootHeader(0x1_0010, [mebibyte, mebibyte, 0, 0, mebibyte]),
          ...code,
        ]),
      /feature bits 0x10/,
    ],
    [
      "neither addresses nor ELF",
      () => Uint8Array.from([...multibootHeader(0), ...code]),
      /gives no addresses/,
    ],
    ["a place outside RAM", () => multibootImage(code, 0x800_0000), /outside RAM \(4 MiB\)/],
    [
      "a place in the hole below 1 MiB",
      () => multibootImage(code, 0xb_0000),
      /where there is no RAM/,
    ],
    ["a place on the boot area", () => multibootImage(code, 0x9_1000), /overlaps the boot area/],
  ])("refuses %s", (_, file, message) => {
    const said = trouble(file());
    expect(said).toMatch(message);
    expect(said).toMatch(/^dir\/image: /);
    expect(said).not.toContain("\n");
  });
});

describe("what a multiboot image is told", () => {
  const modules = [
    { name: "a", bytes: Uint8Array.of(1, 2, 3), text: "a one two", address: undefined },
    { name: "b", bytes: new Uint8Array(5000).fill(7), text: "b", address: undefined },
  ];

  it("finds memory sizes, map, command line, modules and the loader's name", () => {
    const { boot, ram, view } = load(multibootImage(code), { commandLine: "x=1 y", modules });
    const field = (offset: number): number => view.getUint32(boot.ebx + offset, true);
    expect(field(0)).toBe(0b10_0100_1101);
    expect(field(4)).toBe(639);
    expect(field(8)).toBe(3 * 1024);
    expect(text(ram, field(16))).toBe("image x=1 y");
    expect(text(ram, field(64))).toBe("vmxon");

    expect(field(20)).toBe(2);
    const list = [0, 1].map((n) =>
      [0, 4, 8].map((o) => view.getUint32(field(24) + n * 16 + o, true)),
    );
    expect(list.map(([start, end]) => [start, end])).toEqual([
      [0x10_1000, 0x10_1003],
      [0x10_2000, 0x10_2000 + 5000],
    ]);
    expect(list.map((entry) => text(ram, entry[2] ?? 0))).toEqual(["a one two", "b"]);
    expect([...ram.subarray(0x10_1000, 0x10_1004)]).toEqual([1, 2, 3, 0]);

    const map = [];
    for (let at = field(48); at < field(48) + field(44); at += view.getUint32(at, true) + 4) {
      map.push([
        view.getBigUint64(at + 4, true),
        view.getBigUint64(at + 12, true),
        view.getUint32(at + 20, true),
      ]);
    }
    expect(map).toEqual([
      [0n, 0x9_fc00n, 1],
      [0x9_fc00n, 0x400n, 2],
      [0xe_0000n, 0x2_0000n, 2],
      [0x10_0000n, 0x30_0000n, 1],
      [0xfec0_0000n, 0x140_0000n, 2],
    ]);
  });

  it("puts a module where it was asked for, and the others around it", () => {
    const [first, second] = modules;
    if (first === undefined || second === undefined) throw new Error("no modules");
    const { boot, view } = load(multibootImage(code), {
      modules: [{ ...first, address: 0x10_1000 }, second],
    });
    const table = view.getUint32(boot.ebx + 24, true);
    expect([view.getUint32(table, true), view.getUint32(table + 16, true)]).toEqual([
      0x10_1000, 0x10_2000,
    ]);
  });

  it.each([
    [
      "overlapping modules",
      [0x20_0000, 0x20_1000],
      /^b: module: .* overlaps|^a: module: .* overlaps/,
    ],
    ["a module over the image", [0x10_0000, undefined], /overlaps dir\/image: the image/],
    [
      "a module outside RAM",
      [undefined, 0x40_0000],
      /^b: module: 0x400000 to 0x401388 lies outside RAM/,
    ],
    ["an unaligned module", [0x20_0010, undefined], /not a multiple of 4096/],
  ])("refuses %s", (_, addresses, message) => {
    const placed = [...modules]
      .reverse()
      .map((module, n) => ({ ...module, address: [...addresses].reverse()[n] }));
    expect(
      trouble(multibootImage(code), {
        modules: placed.map((m) => ({
          ...m,
          bytes: m.name === "a" ? new Uint8Array(5000) : m.bytes,
        })),
      }),
    ).toMatch(message);
  });

  it("refuses a command line that does not fit", () => {
    expect(trouble(multibootImage(code), { commandLine: "x".repeat(40_000) })).toMatch(
      /the command line: 4000\d bytes do not fit/,
    );
  });
});

describe("ELF", () => {
  it.each([false, true])(
    "loads segments and their bss at the physical address (64-bit: %s)",
    (wide) => {
      const { boot, ram } = load(
        elfFile({
          wide,
          entry: 0xc010_0001,
          segments: [
            { physical: 0x20_0000, bytes: [9, 9], memoryBytes: 0x1000 },
            { physical: 0x10_0000, virtual: 0xc010_0000, bytes: code },
            { physical: 0xffff_f000, bytes: [1], type: 4 },
          ],
        }),
      );
      expect(boot.entry).toBe(0x10_0001);
      expect(boot.mode).toBe(wide ? "long64" : "protected32");
      expect([...ram.subarray(0x10_0000, 0x10_0003)]).toEqual(code);
      expect([...ram.subarray(0x20_0000, 0x20_0003)]).toEqual([9, 9, 0]);
    },
  );

  it("starts a multiboot ELF64 in protected mode, as a multiboot loader does", () => {
    const bytes = [...multibootHeader(3), ...code];
    const file = elfFile({
      wide: true,
      entry: 0x10_000c,
      segments: [{ physical: 0x10_0000, bytes }],
    });
    expect(load(file).boot).toMatchObject({
      mode: "protected32",
      entry: 0x10_000c,
      eax: 0x2badb002,
    });
  });

  const good = { wide: true, entry: 0x10_0000, segments: [{ physical: 0x10_0000, bytes: code }] };
  it.each([
    ["a truncated header", elfFile(good).subarray(0, 40), /truncated: the ELF header/],
    ["truncated program headers", elfFile(good).subarray(0, 80), /truncated: program header 0/],
    [
      "a truncated segment",
      elfFile(good).subarray(0, 121),
      /truncated: the segment of program header 0/,
    ],
    ["another machine", elfFile({ ...good, machine: 40 }), /built for ELF machine 40/],
    ["an object file", elfFile({ ...good, type: 1 }), /type 1 is not an executable/],
    ["no segment", elfFile({ ...good, segments: [] }), /no loadable segment/],
    [
      "an entry point outside",
      elfFile({ ...good, entry: 5 }),
      /entry point 0x5 lies in no loadable segment/,
    ],
    [
      "a segment outside RAM",
      elfFile({ ...good, segments: [...good.segments, { physical: 2 ** 40, bytes: [1] }] }),
      /program header 1: 0x10000000000 to 0x10000000001 lies outside RAM/,
    ],
    [
      "overlapping segments",
      elfFile({ ...good, segments: [...good.segments, { physical: 0x10_0001, bytes: [1] }] }),
      /program header 1: .* overlaps dir\/image: program header 0/,
    ],
    [
      "fewer bytes in memory than in the file",
      elfFile({ ...good, segments: [{ physical: 0x10_0000, bytes: code, memoryBytes: 1 }] }),
      /more than its 0x1 in memory/,
    ],
    ["a big-endian file", elfFile(good).with(5, 2), /not little-endian/],
    ["a class that does not exist", elfFile(good).with(4, 7), /ELF class 7/],
    ["a file that is nothing known", Uint8Array.of(1, 2, 3), /give --flat ADDRESS/],
    ["an empty file", new Uint8Array(), /give --flat ADDRESS/],
  ])("refuses %s", (_, file, message) => {
    expect(trouble(file)).toMatch(message);
  });
});

describe("flat binaries", () => {
  it("are entered at their first byte in the mode asked for", () => {
    const { boot, ram } = load(Uint8Array.from(code), { flat: { address: 0x7c00, mode: "16" } });
    expect(boot).toMatchObject({ mode: "real16", entry: 0x7c00 });
    expect([...ram.subarray(0x7c00, 0x7c03)]).toEqual(code);
  });

  it("find the first 4 GiB mapped onto themselves in 64-bit mode", () => {
    const { view } = load(Uint8Array.from(code), { flat: { address: 0x10_0000, mode: "64" } });
    const walk = (linear: number): number => {
      const entry = (table: number, index: number): number =>
        Number(view.getBigUint64(table + index * 8, true));
      const pointers = entry(0x9_0000, 0) & ~0xfff;
      const directory = entry(pointers, Math.floor(linear / 2 ** 30)) & ~0xfff;
      const last = entry(directory, Math.floor(linear / 2 ** 21) % 512);
      expect(last % 0x1000).toBe(0x83);
      return last - 0x83;
    };
    expect([0, 0x20_0000, 0xfee0_0000].map(walk)).toEqual([0, 0x20_0000, 0xfee0_0000]);
  });

  it("are refused when empty, out of reach of real mode, or with modules", () => {
    expect(trouble(new Uint8Array(), { flat: { address: 0, mode: "16" } })).toMatch(/empty/);
    expect(trouble(Uint8Array.from(code), { flat: { address: mebibyte, mode: "16" } })).toMatch(
      /first MiB/,
    );
    const modules = [{ name: "a", bytes: new Uint8Array(1), text: "a", address: undefined }];
    expect(
      trouble(Uint8Array.from(code), { flat: { address: mebibyte, mode: "32" }, modules }),
    ).toMatch(/--module/);
  });
});

it("whatever the bytes, an image loads or is refused in one line", () => {
  const samples = [
    multibootImage(code),
    elfFile({
      wide: true,
      entry: 0x10_0000,
      segments: [{ physical: 0x10_0000, bytes: [...multibootHeader(3), ...code] }],
    }),
    elfFile({ wide: false, entry: 0x10_0000, segments: [{ physical: 0x10_0000, bytes: code }] }),
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...samples),
      fc.array(fc.tuple(fc.nat(300), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
      fc.nat(300),
      (sample, changes, cut) => {
        const bytes = sample.slice(0, Math.max(0, sample.length - Math.max(0, cut - 200)));
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        expect(trouble(bytes)).toMatch(/^.+$/);
      },
    ),
    { numRuns: 500 },
  );
});
