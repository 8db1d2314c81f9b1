import { beforeEach, describe, expect, it } from "vitest";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import { cr0Bit, cr4Bit, eferBit } from "../../src/cpu/register-bits.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import {
  ax,
  cr0,
  cr2,
  cr3,
  cr4,
  cr8,
  eax,
  ebx,
  mem16,
  rax,
  rbx,
} from "../../src/isa/assembler-operands.ts";
import { BareProcessor, type Mode, place } from "./bare-processor.ts";

let lp: BareProcessor;
beforeEach(() => {
  lp = new BareProcessor();
});

const longCr0 = (cr0Bit.PG | cr0Bit.PE | cr0Bit.NE | cr0Bit.ET) >>> 0;

/** MOV CRn with a value, in the present mode. @returns vector of the fault */
function load(register: typeof cr0, value: bigint): number | undefined {
  lp.state.setGpr(0, value);
  const fault = lp.is64Bit
    ? lp.execute64((asm) => asm.mov(register, rax))
    : lp.executeCode(lp.isProtected ? 32 : 16, (asm) => asm.mov(register, eax));
  return fault?.vector;
}

/** A directory at `place.tables` and one table behind the code that map the first pages onto themselves. */
function mapWith32BitTables(): void {
  const { u32 } = lp.state;
  const table = place.data - 0x1000;
  u32[place.tables / 4] = table | 3;
  for (let page = 0; page < 16; page++) {
    u32[table / 4 + page] = (page << 12) | 3;
  }
}

describe("MOV to CR0", () => {
  it.each<[string, Mode, number, number | undefined]>([
    ["paging without protection", "real", cr0Bit.PG, Vector.GP],
    ["not write-through without cache disable", "real", cr0Bit.NW, Vector.GP],
    ["both cache bits", "real", cr0Bit.NW | cr0Bit.CD, undefined],
    ["protection", "real", cr0Bit.PE, undefined],
    ["leaving protection", "protected", 0, undefined],
    ["paging off in 64-bit mode", "long", cr0Bit.PE, Vector.GP],
    ["write protection in 64-bit mode", "long", longCr0 | cr0Bit.WP, undefined],
  ])("%s (%s mode)", (_what, mode, value, vector) => {
    lp.enter(mode);
    const before = lp.state.get("cr0");
    expect(load(cr0, BigInt(value >>> 0))).toBe(vector);
    expect(lp.state.get("cr0")).toBe(
      vector === undefined ? BigInt((value | cr0Bit.ET) >>> 0) : before,
    );
  });

  it("faults on bits 63:32, ignores reserved bits below, keeps ET", () => {
    expect(load(cr0, BigInt(longCr0) | (1n << 32n))).toBe(Vector.GP);
    expect(load(cr0, BigInt((longCr0 & ~cr0Bit.ET) >>> 0) | 0xffc0n)).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(longCr0);
  });

  it("activates IA-32e mode when LME is set", () => {
    lp.enter("protected");
    lp.state.setLow("efer", eferBit.LME);
    expect(load(cr0, BigInt(longCr0))).toBe(Vector.GP);
    lp.state.setLow("cr4", cr4Bit.PAE);
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(lp.state.low("efer")).toBe(eferBit.LME | eferBit.LMA);
    expect(lp.is64Bit).toBe(false);
  });

  it("does not activate IA-32e mode from a code segment with L set, or with a 16-bit TSS", () => {
    lp.enter("protected");
    lp.state.setLow("efer", eferBit.LME);
    lp.state.setLow("cr4", cr4Bit.PAE);
    const flat = 0xffff_ffff;
    setSegment(lp.state, Segment.TR, 0x28, 0x83, 0x67, 0n);
    expect(load(cr0, BigInt(longCr0))).toBe(Vector.GP);
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x67, 0n);
    setSegment(lp.state, Segment.CS, 8, 0xe09b, flat, 0n);
    expect(load(cr0, BigInt(longCr0))).toBe(Vector.GP);
    expect(lp.state.low("efer")).toBe(eferBit.LME);
  });

  it("leaves IA-32e mode from compatibility mode", () => {
    const compatibility = 0xc09b;
    setSegment(lp.state, Segment.CS, 8, compatibility, 0xffff_ffff, 0n);
    lp.codeSegmentChanged();
    expect(load(cr0, BigInt(cr0Bit.PE | cr0Bit.NE))).toBeUndefined();
    expect(lp.state.low("efer")).toBe(eferBit.LME);
  });

  it("turns on 32-bit paging", () => {
    lp.enter("protected");
    mapWith32BitTables();
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(lp.state.low("efer")).toBe(0);
    lp.state.setGpr(3, BigInt(place.data));
    expect(lp.executeCode(32, (asm) => asm.mov(ax, mem16(ebx)))).toBeUndefined();
    lp.state.setGpr(3, 0x40_0000n);
    expect(lp.executeCode(32, (asm) => asm.mov(ax, mem16(ebx)))?.vector).toBe(Vector.PF);
  });

  it("forgets what was known of pages when paging goes off", () => {
    lp.enter("protected");
    mapWith32BitTables();
    lp.state.setGpr(3, BigInt(place.data));
    const touch = () => lp.executeCode(32, (asm) => asm.mov(ax, mem16(ebx)))?.vector;
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(touch()).toBeUndefined();
    lp.state.u32[place.data / 4 - 0x400 + 8] = 0;
    expect(touch()).toBeUndefined();
    expect(load(cr0, BigInt(cr0Bit.PE))).toBeUndefined();
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(touch()).toBe(Vector.PF);
  });

  it("loads the PDPTEs when PAE paging begins, and faults on a malformed one", () => {
    lp.enter("protected");
    lp.state.setLow("cr4", cr4Bit.PAE);
    lp.state.setLow("cr3", place.data);
    const { u64 } = lp.state;
    // A directory that maps the first 2 MiB onto itself.
    u64[place.tables / 8] = 0x83n;
    u64[place.data / 8] = BigInt(place.tables) | 1n;
    u64[place.data / 8 + 3] = 0x3n;
    expect(load(cr0, BigInt(longCr0))).toBe(Vector.GP);
    u64[place.data / 8 + 3] = 0x2n;
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(lp.state.get("pdpte")).toBe(BigInt(place.tables) | 1n);
  });

  it.each([
    ["long", 3],
    ["protected", 3],
    ["virtual8086", 3],
  ] as const)("faults in %s mode at level %i", (mode, cpl) => {
    lp.enter(mode, cpl);
    expect(load(cr0, BigInt(longCr0))).toBe(Vector.GP);
  });

  it("obeys the bits that VMX operation fixes", () => {
    lp.fixedBits = {
      cr0Ones: (longCr0 & ~cr0Bit.ET) >>> 0,
      cr0Allowed: 0xffff_ffff,
      cr4Ones: cr4Bit.VMXE,
      cr4Allowed: 0x37_27ff,
    };
    expect(load(cr0, BigInt((longCr0 & ~cr0Bit.NE) >>> 0))).toBe(Vector.GP);
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    expect(load(cr4, BigInt(cr4Bit.PAE))).toBe(Vector.GP);
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.VMXE))).toBeUndefined();
  });
});

describe("MOV to CR3", () => {
  it("faults on bits beyond the physical address", () => {
    expect(load(cr3, 1n << 46n)).toBe(Vector.GP);
    expect(load(cr3, 1n << 63n)).toBe(Vector.GP);
    expect(load(cr3, BigInt(place.tables) | 0x18n)).toBeUndefined();
    expect(lp.state.get("cr3")).toBe(BigInt(place.tables) | 0x18n);
  });

  it("with PCIDs, bit 63 is an order and not stored", () => {
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.PCIDE))).toBeUndefined();
    expect(load(cr3, (1n << 63n) | BigInt(place.tables) | 5n)).toBeUndefined();
    expect(lp.state.get("cr3")).toBe(BigInt(place.tables) | 5n);
    expect(load(cr3, 1n << 62n)).toBe(Vector.GP);
  });

  it("flushes what was known, unless bit 63 says to keep it", () => {
    const { u64 } = lp.state;
    const entry = (place.tables + 0x1000) / 8;
    const probe = 0x4000_8000;
    u64[entry + 1] = 0x87n;
    const touch = () => {
      lp.state.setGpr(3, BigInt(probe));
      return lp.execute64((asm) => asm.mov(ax, mem16(rbx)))?.vector;
    };
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.PCIDE))).toBeUndefined();
    expect(touch()).toBeUndefined();
    u64[entry + 1] = 0n;
    expect(touch()).toBeUndefined();
    expect(load(cr3, (1n << 63n) | BigInt(place.tables))).toBeUndefined();
    expect(touch()).toBeUndefined();
    expect(load(cr3, BigInt(place.tables))).toBeUndefined();
    expect(touch()).toBe(Vector.PF);
  });

  it("loads the PDPTEs under PAE paging", () => {
    lp.enter("protected");
    lp.state.setLow("cr4", cr4Bit.PAE);
    lp.state.setLow("cr3", place.data);
    const { u64 } = lp.state;
    // The second table maps the first 2 MiB onto itself.
    u64[place.data / 8] = BigInt(place.tables) | 1n;
    u64[place.tables / 8] = 0x83n;
    expect(load(cr0, BigInt(longCr0))).toBeUndefined();
    u64[place.data / 8 + 4] = BigInt(place.tables) | 1n;
    u64[place.data / 8 + 5] = 0x7n;
    expect(load(cr3, BigInt(place.data + 32))).toBe(Vector.GP);
    u64[place.data / 8 + 5] = 0x1001n;
    expect(load(cr3, BigInt(place.data + 32))).toBeUndefined();
    expect(lp.state.read64(0x308)).toBe(0x1001n);
  });
});

describe("MOV to CR4", () => {
  it.each<[string, Mode, number, number | undefined]>([
    ["every bit the model has, but PCIDE", "protected", 0x35_27ff, undefined],
    ["UMIP, which the model has not", "protected", cr4Bit.UMIP, Vector.GP],
    ["a reserved bit", "protected", 1 << 15, Vector.GP],
    ["SMXE", "protected", 1 << 14, Vector.GP],
    ["PKE", "protected", 1 << 22, Vector.GP],
    ["PCIDE outside IA-32e mode", "protected", cr4Bit.PAE | cr4Bit.PCIDE, Vector.GP],
    ["PCIDE in IA-32e mode", "long", cr4Bit.PAE | cr4Bit.PCIDE, undefined],
    ["PAE off in IA-32e mode", "long", 0, Vector.GP],
    ["real mode", "real", cr4Bit.DE, undefined],
  ])("%s (%s mode)", (_what, mode, value, vector) => {
    lp.enter(mode);
    const before = lp.state.get("cr4");
    expect(load(cr4, BigInt(value))).toBe(vector);
    expect(lp.state.get("cr4")).toBe(vector === undefined ? BigInt(value) : before);
  });

  it("UMIP where the model has it", () => {
    lp = new BareProcessor(icelakeServer);
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.UMIP))).toBeUndefined();
  });

  it("does not enable PCIDs while CR3 holds one", () => {
    expect(load(cr3, BigInt(place.tables) | 1n)).toBeUndefined();
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.PCIDE))).toBe(Vector.GP);
  });

  it("with PCIDs enabled, paging cannot be turned off", () => {
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.PCIDE))).toBeUndefined();
    setSegment(lp.state, Segment.CS, 8, 0xc09b, 0xffff_ffff, 0n);
    lp.codeSegmentChanged();
    expect(load(cr0, BigInt(cr0Bit.PE))).toBe(Vector.GP);
  });

  it("OSFXSR lets SSE instructions through", () => {
    const pxor = Uint8Array.of(0x66, 0x0f, 0xef, 0xc0);
    expect(lp.executeBytes(pxor)?.vector).toBe(Vector.UD);
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.OSFXSR))).toBeUndefined();
    expect(lp.executeBytes(pxor)).toBeUndefined();
  });
});

describe("CR2 and CR8", () => {
  it("CR2 takes any value", () => {
    expect(load(cr2, 0xaaaa_aaaa_aaaa_aaaan)).toBeUndefined();
    lp.execute64((asm) => asm.mov(rbx, cr2));
    expect(lp.state.gpr(3)).toBe(0xaaaa_aaaa_aaaa_aaaan);
  });

  it("CR8 is the task priority", () => {
    expect(load(cr8, 9n)).toBeUndefined();
    expect(lp.apic.readMmio(0x80, 4)).toBe(0x90);
    lp.execute64((asm) => asm.mov(rbx, cr8));
    expect(lp.state.gpr(3)).toBe(9n);
    expect(load(cr8, 16n)).toBe(Vector.GP);
  });
});

describe("MOV from control registers", () => {
  it("gives 64 bits in 64-bit mode, 32 zero-extended elsewhere", () => {
    lp.execute64((asm) => asm.mov(rbx, cr0));
    expect(lp.state.gpr(3)).toBe(BigInt(longCr0));
    lp.enter("protected");
    lp.state.setGpr(0, -1n);
    lp.executeCode(32, (asm) => asm.mov(eax, cr4));
    expect(lp.state.gpr(0)).toBe(0n);
  });
});

describe("the machine status word", () => {
  it("LMSW sets and clears MP, EM and TS, sets PE, and does not clear it", () => {
    lp.enter("real");
    lp.state.setGpr(0, 0xfffen);
    expect(lp.executeCode(16, (asm) => asm.lmsw(ax))).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(cr0Bit.ET | 0xe);
    lp.state.setGpr(0, 0x1n);
    expect(lp.executeCode(16, (asm) => asm.lmsw(ax))).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(cr0Bit.ET | 0x1);
    lp.state.setGpr(0, 0n);
    expect(lp.executeCode(32, (asm) => asm.lmsw(ax))).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(cr0Bit.ET | 0x1);
  });

  it("SMSW fills a register as far as it goes, memory with 16 bits", () => {
    lp.state.setGpr(0, 0x1234_5678_90ab_cdefn);
    lp.execute64((asm) => asm.smsw(ax));
    expect(lp.state.gpr(0)).toBe(0x1234_5678_90ab_0031n);
    lp.execute64((asm) => asm.smsw(eax));
    expect(lp.state.gpr(0)).toBe(0x8000_0031n);
    lp.state.u32[place.data / 4] = 0xffff_ffff;
    lp.state.setGpr(3, BigInt(place.data));
    lp.execute64((asm) => asm.smsw(mem16(rbx)));
    expect(lp.state.u32[place.data / 4]).toBe(0xffff_0031);
  });

  it("SMSW is for everybody unless UMIP forbids it", () => {
    lp = new BareProcessor(icelakeServer);
    lp.enter("long", 3);
    expect(lp.execute64((asm) => asm.smsw(ax))).toBeUndefined();
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.UMIP);
    expect(lp.execute64((asm) => asm.smsw(ax))?.vector).toBe(Vector.GP);
    lp.enter("long", 0);
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.UMIP);
    expect(lp.execute64((asm) => asm.smsw(ax))).toBeUndefined();
  });

  it("CLTS clears TS at level 0 only", () => {
    lp.state.setLow("cr0", (longCr0 | cr0Bit.TS) >>> 0);
    expect(lp.execute64((asm) => asm.clts())).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(longCr0);
    lp.enter("long", 3);
    expect(lp.execute64((asm) => asm.clts())?.vector).toBe(Vector.GP);
  });
});

describe("intercepts in non-root operation", () => {
  it("an exit on MOV to CR0 leaves CR0, and is asked after the privilege check", () => {
    const asked: bigint[] = [];
    const writeControl = (_register: number, value: bigint) => {
      asked.push(value);
      lp.state.rip = 0n;
      return true;
    };
    lp.intercept({ writeControl });
    expect(load(cr0, 0n)).toBeUndefined();
    expect(lp.state.low("cr0")).toBe(longCr0);
    lp.enter("long", 3);
    expect(load(cr0, 0n)).toBe(Vector.GP);
    expect(asked).toEqual([0n]);
  });

  it("loads what the masks make of the value, and shows what the shadows say", () => {
    lp.intercept({
      writeControl: (_register, value) => ({ load: value & ~BigInt(cr4Bit.VMXE) }),
      readControl: (_register, value) => ({ see: value | 1n }),
    });
    expect(load(cr4, BigInt(cr4Bit.PAE | cr4Bit.VMXE))).toBeUndefined();
    expect(lp.state.low("cr4")).toBe(cr4Bit.PAE);
    lp.execute64((asm) => asm.mov(rbx, cr4));
    expect(lp.state.gpr(3)).toBe(BigInt(cr4Bit.PAE | 1));
  });

  it("CLTS may be ignored", () => {
    lp.state.setLow("cr0", (longCr0 | cr0Bit.TS) >>> 0);
    lp.intercept({ clts: () => "ignore" });
    lp.execute64((asm) => asm.clts());
    expect(lp.state.low("cr0")).toBe((longCr0 | cr0Bit.TS) >>> 0);
  });
});
