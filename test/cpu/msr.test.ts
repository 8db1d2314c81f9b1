import { describe, expect, it } from "vitest";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import { cr0Bit } from "../../src/cpu/register-bits.ts";
import { makeOwner } from "./msr-owner.ts";

const nonCanonical = 0xaaaa_aaaa_aaaa_aaaan;
const kernelAddress = 0xffff_8123_4567_89abn;
const allOnes = 0xffff_ffff_ffff_ffffn;

/** [address, name, after reset, values that may be written, values that fault] */
const storedRegisters: readonly (readonly [
  number,
  string,
  bigint,
  readonly bigint[],
  readonly bigint[],
])[] = [
  [0x174, "SYSENTER_CS", 0n, [0x1234n, 0xffff_ffffn], []],
  [
    0x175,
    "SYSENTER_ESP",
    0n,
    [0x1234_5678_9abcn, kernelAddress],
    [nonCanonical, 0x8000_0000_0000n],
  ],
  [0x176, "SYSENTER_EIP", 0n, [0x1234_5678_9abcn, kernelAddress], [nonCanonical]],
  [
    0x277,
    "PAT",
    0x0007_0406_0007_0406n,
    [0x0707_0707n, 0x0105_0600_0706_0500n],
    [2n, 3n << 56n, 8n << 8n, 0x40n],
  ],
  [0x200, "MTRR_PHYSBASE0", 0n, [6n, 0x3fff_ffff_f001n], [2n, 0x106n, 1n << 46n]],
  [0x201, "MTRR_PHYSMASK0", 0n, [0x3fff_ff00_0800n], [1n, 0x400n, 1n << 46n]],
  [0x20f, "MTRR_PHYSMASK7", 0n, [0x800n], [1n]],
  [
    0x250,
    "MTRR_FIX64K",
    0n,
    [0x0606_0606_0606_0606n, 0x0001_0405_0600_0000n],
    [0x0700n, 2n << 56n],
  ],
  [0x2ff, "MTRR_DEF_TYPE", 0n, [0xc06n], [0x1000n, 0x100n, 2n]],
  [0x17a, "MCG_STATUS", 0n, [0n, 7n], [8n]],
  [0x400, "MC0_CTL", 0n, [0n, allOnes], [1n, nonCanonical]],
  [0x401, "MC0_STATUS", 0n, [0n], [1n]],
  [0x40e, "MC3_ADDR", 0n, [0n, allOnes], []],
  [0x1d9, "DEBUGCTL", 0n, [3n], [4n, 1n << 14n]],
  [0x140, "MISC_FEATURES_ENABLES", 0n, [1n], [2n]],
  [0xda0, "XSS", 0n, [0n], [1n, 0x100n]],
  [0xc000_0081, "STAR", 0n, [allOnes], []],
  [0xc000_0082, "LSTAR", 0n, [kernelAddress], [nonCanonical]],
  [0xc000_0083, "CSTAR", 0n, [kernelAddress], [nonCanonical]],
  [0xc000_0084, "FMASK", 0n, [0xffff_ffffn], [1n << 32n]],
  [0xc000_0100, "FS_BASE", 0n, [kernelAddress], [nonCanonical]],
  [0xc000_0101, "GS_BASE", 0n, [kernelAddress], [nonCanonical]],
  [0xc000_0102, "KERNEL_GS_BASE", 0n, [kernelAddress], [nonCanonical]],
  [0xc000_0103, "TSC_AUX", 0n, [0xffff_ffffn], [1n << 32n]],
];

describe("registers that keep what is written", () => {
  it.each(storedRegisters)("%i %s", (address, _name, reset, legal, illegal) => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.read(address)).toBe(reset);
    for (const value of legal) {
      expect(msrs.write(address, value), `write ${value.toString(16)}`).toBe(true);
      expect(msrs.read(address)).toBe(value);
    }
    for (const value of illegal) {
      const before = msrs.read(address);
      expect(msrs.write(address, value), `write ${value.toString(16)}`).toBe(false);
      expect(msrs.read(address)).toBe(before);
    }
    msrs.reset();
    const segmentBases = [0xc000_0100, 0xc000_0101];
    if (!segmentBases.includes(address)) {
      expect(msrs.read(address)).toBe(reset);
    }
  });

  it("SYSENTER_CS has 32 bits", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(0x174, 0x1_0000_0010n)).toBe(true);
    expect(msrs.read(0x174)).toBe(0x10n);
  });
});

describe("registers that are not there", () => {
  it.each([
    0x9b, 0x9e, 0xc1, 0xe7, 0x186, 0x198, 0x345, 0x38f, 0x17b, 0x410, 0x210, 0x48, 0x49, 0x480,
    0x2000, 0xc001_0015,
  ])("%i faults on reading and writing", (address) => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.read(address)).toBeUndefined();
    expect(msrs.write(address, 0n)).toBe(false);
  });
});

describe("read-only registers", () => {
  it.each([
    [0x17, 0n],
    [0xfe, 0x508n],
    [0x179, 4n],
    [0xce, 0x0a00_8000_0a00n],
  ])("%i", (address, value) => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.read(address)).toBe(value);
    expect(msrs.write(address, value)).toBe(false);
  });

  it("the microcode revision survives the write that software makes before asking for it", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(0x8b, 0n)).toBe(true);
    expect(msrs.read(0x8b)).toBe(BigInt(skylakeServer.microcodeRevision) << 32n);
  });

  it("the microcode update trigger takes writes and cannot be read", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(0x79, kernelAddress)).toBe(true);
    expect(msrs.read(0x79)).toBeUndefined();
  });
});

describe("IA32_EFER", () => {
  const address = 0xc000_0080;

  it("takes SCE, LME and NXE, and faults on reserved bits", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(address, 0x901n)).toBe(true);
    expect(msrs.read(address)).toBe(0x901n);
    for (const reserved of [1n << 1n, 1n << 9n, 1n << 12n, 1n << 14n, 1n << 32n]) {
      expect(msrs.write(address, reserved)).toBe(false);
    }
  });

  it("ignores LMA in what is written", () => {
    const { msrs, state } = makeOwner(skylakeServer);
    expect(msrs.write(address, 0x400n)).toBe(true);
    expect(msrs.read(address)).toBe(0n);
    state.setLow("efer", 0x500);
    expect(msrs.write(address, 0x100n)).toBe(true);
    expect(msrs.read(address)).toBe(0x500n);
  });

  it("does not change LME while paging is on", () => {
    const { msrs, state } = makeOwner(skylakeServer);
    state.setLow("cr0", (cr0Bit.PG | cr0Bit.PE) >>> 0);
    expect(msrs.write(address, 0x100n)).toBe(false);
    expect(msrs.write(address, 0x1n)).toBe(true);
    state.setLow("efer", 0x500);
    expect(msrs.write(address, 0x400n)).toBe(false);
    expect(msrs.write(address, 0x501n)).toBe(true);
  });

  it("says when NXE changes how pages translate", () => {
    const owner = makeOwner(skylakeServer);
    owner.msrs.write(address, 0x1n);
    expect(owner.pagingChanges).toBe(0);
    owner.msrs.write(address, 0x801n);
    expect(owner.pagingChanges).toBe(1);
  });
});

describe("IA32_FEATURE_CONTROL", () => {
  it("is written until it is locked", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(0x3a, 4n)).toBe(true);
    expect(msrs.write(0x3a, 2n)).toBe(false);
    expect(msrs.write(0x3a, 5n)).toBe(true);
    expect(msrs.write(0x3a, 5n)).toBe(false);
    expect(msrs.read(0x3a)).toBe(5n);
  });
});

describe("IA32_MISC_ENABLE", () => {
  it("keeps the read-only bits and faults on reserved ones", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.read(0x1a0)).toBe(0x4_1809n);
    expect(msrs.write(0x1a0, 0x4_00c5_0009n)).toBe(true);
    expect(msrs.read(0x1a0)).toBe(0x4_00c5_1809n);
    expect(msrs.write(0x1a0, 0x80n)).toBe(true);
    expect(msrs.read(0x1a0)).toBe(0x1800n);
    expect(msrs.write(0x1a0, 2n)).toBe(false);
  });
});

describe("time-stamp counter", () => {
  it("counts with the clock; a write of it moves TSC_ADJUST as far", () => {
    const { msrs, clock } = makeOwner(skylakeServer);
    expect(msrs.read(0x10)).toBe(1000n);
    clock.time = 1500;
    expect(msrs.write(0x10, 10_000n)).toBe(true);
    expect(msrs.read(0x10)).toBe(10_000n);
    expect(msrs.read(0x3b)).toBe(8500n);
    clock.time = 1600;
    expect(msrs.read(0x10)).toBe(10_100n);
  });

  it("moves with a write of TSC_ADJUST", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.write(0x3b, 0xffff_ffff_ffff_ff00n)).toBe(true);
    expect(msrs.read(0x10)).toBe(1000n - 256n);
    expect(msrs.write(0x3b, 0n)).toBe(true);
    expect(msrs.read(0x10)).toBe(1000n);
  });
});

describe("the local APIC's registers", () => {
  it("IA32_APIC_BASE follows the transitions of the APIC", () => {
    const { msrs } = makeOwner(skylakeServer);
    expect(msrs.read(0x1b)).toBe(0xfee0_0900n);
    expect(msrs.read(0x802)).toBeUndefined();
    expect(msrs.write(0x1b, 0xfee0_0d00n)).toBe(true);
    expect(msrs.read(0x802)).toBe(0n);
    expect(msrs.write(0x808, 0x20n)).toBe(true);
    expect(msrs.read(0x808)).toBe(0x20n);
    expect(msrs.write(0x1b, 0xfee0_0900n)).toBe(false);
    expect(msrs.write(0x1b, 1n << 46n)).toBe(false);
  });

  it("IA32_TSC_DEADLINE reads back while it is armed in TSC-deadline mode, and ignores writes in others", () => {
    const { msrs, apic, clock } = makeOwner(skylakeServer);
    expect(msrs.write(0x6e0, 5000n)).toBe(true);
    expect(msrs.read(0x6e0)).toBe(0n);
    apic.writeMmio(0xf0, 4, 0x1ff);
    apic.writeMmio(0x320, 4, 0x4_0020);
    expect(msrs.write(0x6e0, 5000n)).toBe(true);
    expect(msrs.read(0x6e0)).toBe(5000n);
    clock.time = 5000;
    expect(msrs.read(0x6e0)).toBe(0n);
  });
});

describe("registers that other rooms add", () => {
  it("read and write through what was added", () => {
    const { msrs } = makeOwner(icelakeServer);
    msrs.add({ address: 0x480, name: "IA32_VMX_BASIC", read: () => 5n, write: () => false });
    expect(msrs.read(0x480)).toBe(5n);
    expect(msrs.write(0x480, 5n)).toBe(false);
    expect(msrs.nameOf(0x480)).toBe("IA32_VMX_BASIC");
  });
});
