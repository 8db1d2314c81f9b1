import { describe, expect, it } from "vitest";
import { CpuidLeaves } from "../../src/cpu/cpuid.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import { makeOwner } from "./msr-owner.ts";

function makeLeaves(model: CpuModel = skylakeServer, lps = 1, index = 0) {
  const { state, msrs } = makeOwner(model);
  const apicIds = Array.from({ length: lps }, (_, n) => n);
  const leaves = new CpuidLeaves(model, state, { apicId: index, apicIds }, 1_000_000_000);
  const query = (leaf: number, subleaf = 0) => {
    const { eax, ebx, ecx, edx } = leaves.query(leaf, subleaf);
    return [eax, ebx, ecx, edx].map((register) => register.toString(16).padStart(8, "0")).join("-");
  };
  return { query, state, msrs };
}

/** What a Skylake server reports, less the features that are not executed; EAX-EBX-ECX-EDX. */
const skylakeLeaves: readonly (readonly [number, number, string])[] = [
  [0x0, 0, "00000016-756e6547-6c65746e-49656e69"],
  [0x1, 0, "00050654-00010800-45e22028-078bfbff"],
  [0x2, 0, "76036301-00f0b5ff-00000000-00c30000"],
  [0x4, 0, "00000121-01c0003f-0000003f-00000000"],
  [0x4, 1, "00000122-01c0003f-0000003f-00000000"],
  [0x4, 2, "00000143-03c0003f-000003ff-00000000"],
  [0x4, 3, "00000163-0280003f-00002fff-00000004"],
  [0x4, 4, "00000000-00000000-00000000-00000000"],
  [0x5, 0, "00000040-00000040-00000003-00002020"],
  [0x6, 0, "00000004-00000000-00000000-00000000"],
  [0x7, 0, "00000000-019c278b-00000000-00000000"],
  [0x7, 1, "00000000-00000000-00000000-00000000"],
  [0xa, 0, "00000000-00000000-00000000-00000000"],
  [0xd, 0, "00000003-00000240-00000240-00000000"],
  [0xd, 1, "0000000f-00000240-00000000-00000000"],
  [0xd, 2, "00000000-00000000-00000000-00000000"],
  [0x15, 0, "00000003-0000007d-016e3600-00000000"],
  [0x16, 0, "000003e8-000003e8-00000064-00000000"],
  [0x8000_0000, 0, "80000008-00000000-00000000-00000000"],
  [0x8000_0001, 0, "00000000-00000000-00000121-2c100000"],
  [0x8000_0006, 0, "00000000-00000000-01006040-00000000"],
  [0x8000_0007, 0, "00000000-00000000-00000000-00000100"],
  [0x8000_0008, 0, "0000302e-00000000-00000000-00000000"],
];

describe("CPUID of the Skylake model, one LP, after reset", () => {
  it.each(skylakeLeaves)("leaf %i subleaf %i", (leaf, subleaf, expected) => {
    expect(makeLeaves().query(leaf, subleaf)).toBe(expected);
  });

  it("leaves out of range answer as the highest basic leaf", () => {
    const { query } = makeLeaves();
    expect(query(0x17)).toBe(query(0x16));
    expect(query(0x4000_0000)).toBe(query(0x16));
    expect(query(0x8000_0009)).toBe(query(0x16));
    expect(query(0xffff_ffff)).toBe(query(0x16));
  });

  it("brand string", () => {
    const { query } = makeLeaves();
    const text = [2, 3, 4]
      .flatMap((n) => query(0x8000_0000 + n).split("-"))
      .map((word) => Buffer.from(word, "hex").reverse().toString("latin1"))
      .join("");
    expect(text).toBe(skylakeServer.brand.padEnd(48, "\0"));
  });
});

describe("CPUID of the Ice Lake model", () => {
  it("adds UMIP, RDPID and fast short REP MOVSB", () => {
    const { query } = makeLeaves(icelakeServer);
    expect(query(1).slice(0, 8)).toBe("000606a6");
    expect(query(7)).toBe("00000000-019c278b-00400004-00000010");
  });
});

describe("what registers decide", () => {
  it("OSXSAVE mirrors CR4", () => {
    const { query, state } = makeLeaves();
    state.setLow("cr4", 1 << 18);
    expect(query(1).split("-")[2]).toBe("4de22028");
  });

  it("the APIC flag follows IA32_APIC_BASE", () => {
    const { query, msrs } = makeLeaves();
    msrs.write(0x1b, 0xfee0_0100n);
    expect(query(1).split("-")[3]).toBe("078bf9ff");
  });

  it("IA32_MISC_ENABLE hides MONITOR and execute-disable, and limits the leaves", () => {
    const { query, msrs } = makeLeaves();
    msrs.write(0x1a0, 0x4_0040_0001n);
    expect(query(0).slice(0, 8)).toBe("00000002");
    expect(query(1).split("-")[2]).toBe("45e22020");
    expect(query(7)).toBe(query(2));
    expect(query(0x8000_0001).split("-")[3]).toBe("2c000000");
  });

  it("SYSCALL is announced in 64-bit mode only", () => {
    const { query, state } = makeLeaves();
    state.setLow("efer", 0x500);
    setSegment(state, Segment.CS, 8, 0xa09b, 0xffff_ffff, 0n);
    expect(query(0x8000_0001).split("-")[3]).toBe("2c100800");
  });
});

describe("topology", () => {
  it.each([
    [1, 0, 0, "00010800", "00000000-00000001-00000201"],
    [2, 1, 1, "01020800", "00000001-00000002-00000201"],
    [6, 5, 3, "05080800", "00000003-00000006-00000201"],
    [64, 63, 6, "3f400800", "00000006-00000040-00000201"],
  ])("%i LPs, LP %i", (lps, index, shift, leaf1, coreLevel) => {
    const { query } = makeLeaves(skylakeServer, lps, index);
    const id = index.toString(16).padStart(8, "0");
    expect(query(1).split("-")[1]).toBe(leaf1);
    expect(query(1).split("-")[3]).toBe(lps > 1 ? "178bfbff" : "078bfbff");
    expect(query(0xb, 0)).toBe(`00000000-00000001-00000100-${id}`);
    expect(query(0xb, 1)).toBe(`${coreLevel}-${id}`);
    expect(query(0xb, 2)).toBe(`00000000-00000000-00000002-${id}`);
    const share = (1 << shift) - 1;
    expect(Number.parseInt(query(4, 3).slice(0, 8), 16)).toBe(
      ((share << 26) | (share << 14) | 0x163) >>> 0,
    );
    expect(Number.parseInt(query(4, 0).slice(0, 8), 16)).toBe(((share << 26) | 0x121) >>> 0);
  });
});
