import { describe, expect, it } from "vitest";
import { driverNames } from "../../src/machine/configuration.ts";
import { GlobalBit, VtdRegister, vtdAddress } from "../../src/platform/vtd/registers.ts";
import { peerGuest, type Step } from "../platform/vtd/peer-guest.ts";
import { runGuest } from "./run-guest.ts";

const lapic = 0xfee0_0000;
const window = 0xe000_0000;
const place = { interrupts: 0x20_8000, descriptor: 0x20_a000 } as const;
const eduRegister = { raise: 0x60, acknowledge: 0x64 } as const;
const index = 5;
const requestWord = place.descriptor + 8;
const controlWord = place.descriptor + 32;

const configuration = (offset: number, value: number): Step[] => [
  ["port", 0xcf8, (0x8000_0000 | (4 << 11) | offset) >>> 0],
  ["port", 0xcfc, value],
];
const register = (offset: number, value: number): Step => ["write", vtdAddress + offset, value];
const interrupt: readonly Step[] = [
  ["write", window + eduRegister.raise, 1],
  ["write", window + eduRegister.acknowledge, 1],
];
const print: readonly Step[] = [
  ["print", requestWord],
  ["print", controlWord],
  ["print", lapic + 0x270],
];

/** A message of the teaching device becomes virtual vector 51H; the notification is physical vector F2H. */
const posts: readonly Step[] = [
  ...configuration(0x10, window),
  ...configuration(0x04, 6),
  ...configuration(0x44, 0xfee0_0010 + (index << 5)),
  ...configuration(0x40, 0x0001_0000),
  ["write", lapic + 0xf0, 0x1ff],
  ["write", controlWord, 0x00f2_0000],
  ["write", place.interrupts + index * 16, 0x0051_8001],
  ["write", place.interrupts + index * 16 + 4, place.descriptor],
  register(VtdRegister.InterruptTable, place.interrupts | 7),
  register(VtdRegister.GlobalCommand, GlobalBit.InterruptTable),
  register(VtdRegister.GlobalCommand, GlobalBit.InterruptRemapping),
  ...print,
  // SN: recorded, and that is all.
  ["write", controlWord, 0x00f2_0002],
  ...interrupt,
  ...print,
  // Without it: recorded again, ON, and the notification.
  ["write", controlWord, 0x00f2_0000],
  ...interrupt,
  ...print,
];

describe.each(driverNames)("an interrupt that is posted, under the driver %s", (driver) => {
  it("is in the descriptor, and its notification at the local APIC", async () => {
    const { result, serial } = await runGuest(peerGuest(posts), {
      driver,
      iommu: true,
      devices: [{ kind: "edu", parameters: {} }],
    });
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(serial.trim().split("\n")).toEqual([
      ...["00000000", "00f20000", "00000000"],
      ...["00020000", "00f20002", "00000000"],
      ...["00020000", "00f20001", "00040000"],
    ]);
  });

  it("is nobody's where the processors take none: the entry is reserved", async () => {
    const { serial } = await runGuest(
      peerGuest([...posts, ["print", vtdAddress + VtdRegister.FaultRecord + 12]]),
      { driver, iommu: true, cpuModel: "haswell", devices: [{ kind: "edu", parameters: {} }] },
    );
    expect(serial.trim().split("\n").slice(-4)).toEqual([
      ...["00000000", "00f20000", "00000000"],
      "80000024",
    ]);
  });
});
