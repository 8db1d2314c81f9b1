import { describe, expect, it } from "vitest";
import {
  configure,
  parseDevice,
  parseDriver,
  parseFlat,
  parseLpCount,
  parseModule,
  parseRamSize,
  parseSeed,
  parseTimeout,
  parseTscSkew,
} from "../../src/machine/configuration.ts";

describe("a RAM size", () => {
  it.each([
    ["64M", 64 * 2 ** 20],
    ["64", 64 * 2 ** 20],
    ["1G", 2 ** 30],
    ["1.5g", 1.5 * 2 ** 30],
    ["2GiB", 2 ** 31],
    ["2048KB", 2 ** 21],
    ["3G", 3 * 2 ** 30],
  ])("%s is read", (text, bytes) => expect(parseRamSize(text)).toBe(bytes));

  it.each([
    ["4G", "--ram: 4 GiB is out of range; give 1 MiB to 3 GiB"],
    ["0", "--ram: 0 bytes is out of range; give 1 MiB to 3 GiB"],
    ["1025.5K", "--ram: 1050112 bytes is not a multiple of 4 KiB"],
    ["lots", "--ram lots: not a size; write for example 64M or 1G"],
    ["-1G", "--ram -1G: not a size; write for example 64M or 1G"],
  ])("%s is refused", (text, message) => expect(() => parseRamSize(text)).toThrow(message));
});

describe("a device", () => {
  it("is a kind, with parameters", () => {
    expect(parseDevice("edu")).toEqual({ kind: "edu", parameters: {} });
    expect(parseDevice("virtio-blk,file=a=b,readonly").parameters).toEqual({
      file: "a=b",
      readonly: "on",
    });
    expect(parseDevice("storm,queues=8")).toEqual({ kind: "storm", parameters: { queues: "8" } });
  });

  it.each([
    ["", /^--device : unknown; give one of edu, /],
    ["toaster", /^--device toaster: unknown; give one of edu, /],
    ["edu,queues=8", /^--device edu: no parameter queues; it has none$/],
    ["storm,queue=8", /^--device storm: no parameter queue; give one of /],
    ["edu,", /^--device edu,: .*is not of the form name=value$/],
    ["edu,=8", /^--device edu,=8: .*is not of the form name=value$/],
    ["edu,thread=own", /^--device edu: no parameter thread; it has none$/],
    ["dma,thread=mine", /^--device dma: thread=mine: unknown; give one of own, platform$/],
    ["storm,queues=0", /^--device storm: queues=0 is not a whole number from 1 to 256$/],
    ["storm,entries=1e3", /^--device storm: entries=1e3 is not a whole number from 1 to 2048$/],
    ["storm,queues", /^--device storm: queues=on is not a whole number from 1 to 256$/],
    ["virtio-blk", /^--device virtio-blk: no file; write virtio-blk,file=F$/],
    ["virtio-blk,file=f,readonly=1", /^--device virtio-blk: readonly takes no value$/],
  ])("%j is refused", (text, message) => expect(() => parseDevice(text)).toThrow(message));

  it("may be refused for what a program gives, and for want of a slot", () => {
    const image = { name: "x", bytes: new Uint8Array() };
    const edu = { kind: "edu", parameters: {} };
    const build = (devices: (typeof edu)[]): unknown =>
      configure({ image, cpuModel: "m", devices });
    expect(() => build([{ ...edu, kind: "oven" }])).toThrow("--device oven: unknown");
    expect(() => build(Array.from({ length: 29 }, () => edu))).toThrow("slots for 28");
  });
});

describe("other options", () => {
  it("are read", () => {
    expect(parseLpCount("64")).toBe(64);
    expect(parseSeed("4294967295")).toBe(4294967295);
    expect(parseDriver("deterministic")).toBe("deterministic");
    expect(parseTimeout("0.5")).toBe(0.5);
    expect(parseTscSkew("0,500,-2000")).toEqual([0, 500, -2000]);
    expect(parseFlat("0x7c00:16")).toEqual({ address: 0x7c00, mode: "16" });
    expect(parseFlat("1048576")).toEqual({ address: 2 ** 20, mode: "32" });
    expect(parseModule("env@0x200000 a  b")).toEqual({
      file: "env",
      address: 0x20_0000,
      text: "env a b",
    });
    expect(parseModule("user@host")).toEqual({
      file: "user@host",
      address: undefined,
      text: "user@host",
    });
  });

  it.each([
    ["no LP", () => parseLpCount("0"), "--lps: 0 is out of range; give 1 to 64"],
    ["65 LPs", () => parseLpCount("65"), "--lps: 65 is out of range; give 1 to 64"],
    ["half an LP", () => parseLpCount("1.5"), "--lps 1.5: not a whole number"],
    ["a seed too large", () => parseSeed("4294967296"), "--seed: 4294967296 is out of range"],
    [
      "another driver",
      () => parseDriver("fibers"),
      "--driver fibers: unknown; give one of threads, deterministic",
    ],
    ["no time", () => parseTimeout("0"), "--timeout 0: not a number of seconds"],
    ["a word for a time", () => parseTimeout("soon"), "--timeout soon: not a number of seconds"],
    [
      "a place beyond RAM",
      () => parseFlat("0xc0000000"),
      "--flat 0xc0000000: not an address below 3 GiB",
    ],
    ["another mode", () => parseFlat("0x1000:48"), "--flat 48: unknown; give one of 16, 32, 64"],
    ["half a cycle", () => parseTscSkew("1,0.5"), "--tsc-skew 1,0.5: not whole numbers of cycles"],
    ["no module", () => parseModule("  "), "--module: no file"],
  ])("%s is refused", (_, parse, message) => expect(parse).toThrow(message));

  it("given by a program pass the same checks", () => {
    const image = { name: "x", bytes: new Uint8Array() };
    expect(() => configure({ image, cpuModel: "m", lpCount: 65 })).toThrow("--lps: 65");
    expect(() => configure({ image, cpuModel: "m", ramBytes: 4 * 2 ** 30 })).toThrow(
      "--ram: 4 GiB",
    );
    expect(() => configure({ image, cpuModel: "m", tscSkew: [1, 2] })).toThrow(
      "--tsc-skew: 2 values for 1 LPs",
    );
    expect(configure({ image, cpuModel: "m" })).toMatchObject({
      lpCount: 1,
      driver: "threads",
      seed: 1,
    });
  });
});
