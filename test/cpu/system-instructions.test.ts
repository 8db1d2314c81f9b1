import { beforeEach, describe, expect, it } from "vitest";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import type { Intercepts } from "../../src/cpu/ports.ts";
import { cr0Bit, cr4Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  ax,
  eax,
  mem8,
  mem16,
  mem128,
  rax,
  rbx,
  rdi,
  rdx,
} from "../../src/isa/assembler-operands.ts";
import { BareProcessor, place } from "./bare-processor.ts";

let lp: BareProcessor;
beforeEach(() => {
  lp = new BareProcessor();
});

const vectorOf = (write: (asm: Assembler) => void): number | undefined =>
  lp.execute64(write)?.vector;
const gpr = (n: number): bigint => lp.state.gpr(n);

/** Answers every question with a VM exit, and remembers the questions. */
function exitOnEverything(): unknown[] {
  const asked: unknown[] = [];
  const instruction: Intercepts["instruction"] = (which, _insn, operand) => {
    asked.push([which, operand]);
    lp.state.rip = 0n;
    return true;
  };
  lp.intercept({ instruction });
  return asked;
}

describe("RDMSR and WRMSR", () => {
  it("move EDX:EAX, zero-extended", () => {
    lp.state.setGpr(1, 0xc000_0082n);
    lp.state.setGpr(0, 0xdead_beef_1234_5678n);
    lp.state.setGpr(2, 0xffff_ffff_ffff_8000n);
    expect(vectorOf((asm) => asm.wrmsr())).toBeUndefined();
    expect(lp.state.get("lstar")).toBe(0xffff_8000_1234_5678n);
    lp.state.setGpr(2, -1n);
    expect(vectorOf((asm) => asm.rdmsr())).toBeUndefined();
    expect([gpr(0), gpr(2)]).toEqual([0x1234_5678n, 0xffff_8000n]);
  });

  it("fault for a register that is not there, for a bad value and above level 0", () => {
    lp.state.setGpr(1, 0x1234_5678n);
    expect(vectorOf((asm) => asm.rdmsr())).toBe(Vector.GP);
    expect(vectorOf((asm) => asm.wrmsr())).toBe(Vector.GP);
    lp.state.setGpr(1, 0xc000_0082n);
    lp.state.setGpr(2, 0x8000n);
    expect(vectorOf((asm) => asm.wrmsr())).toBe(Vector.GP);
    lp.enter("long", 3);
    expect(vectorOf((asm) => asm.rdmsr())).toBe(Vector.GP);
  });

  it("ask before they find out whether the register is there", () => {
    const asked = exitOnEverything();
    lp.state.setGpr(1, 0xffff_ffff_1234_5678n);
    expect(vectorOf((asm) => asm.rdmsr())).toBeUndefined();
    expect(vectorOf((asm) => asm.wrmsr())).toBeUndefined();
    expect(asked).toEqual([
      ["RDMSR", 0x1234_5678n],
      ["WRMSR", 0x1234_5678n],
    ]);
  });

  it("reading the time-stamp counter gives the guest's", () => {
    lp.intercept({ guestTsc: (tsc) => tsc + 7n });
    lp.state.setGpr(1, 0x10n);
    expect(vectorOf((asm) => asm.rdmsr())).toBeUndefined();
    expect(gpr(0)).toBe(5007n);
  });
});

describe("CPUID", () => {
  it("fills four registers, zero-extended", () => {
    for (const register of [0, 1, 2, 3]) {
      lp.state.setGpr(register, -1n);
    }
    lp.state.setGpr(0, 0xffff_ffff_0000_0000n);
    expect(vectorOf((asm) => asm.cpuid())).toBeUndefined();
    expect([gpr(0), gpr(3), gpr(1), gpr(2)]).toEqual([
      0x16n,
      0x756e_6547n,
      0x6c65_746en,
      0x4965_6e69n,
    ]);
  });

  it("announces SYSCALL in 64-bit mode", () => {
    lp.state.setGpr(0, 0x8000_0001n);
    vectorOf((asm) => asm.cpuid());
    expect(gpr(2)).toBe(0x2c10_0800n);
  });

  it("faults above level 0 when told to", () => {
    lp.enter("long", 3);
    expect(vectorOf((asm) => asm.cpuid())).toBeUndefined();
    expect(lp.msrs.write(0x140, 1n)).toBe(true);
    expect(vectorOf((asm) => asm.cpuid())).toBe(Vector.GP);
    lp.enter("long", 0);
    expect(vectorOf((asm) => asm.cpuid())).toBeUndefined();
  });
});

describe("time", () => {
  it("RDTSC gives the counter, RDTSCP the processor too", () => {
    lp.msrs.write(0x3b, 1n << 40n);
    lp.msrs.write(0xc000_0103, 0x1234n);
    vectorOf((asm) => asm.rdtsc());
    expect([gpr(0), gpr(2)]).toEqual([5000n, 0x100n]);
    vectorOf((asm) => asm.rdtscp());
    expect([gpr(0), gpr(2), gpr(1)]).toEqual([5000n, 0x100n, 0x1234n]);
  });

  it("CR4.TSD keeps it from programs", () => {
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.TSD);
    expect(vectorOf((asm) => asm.rdtsc())).toBeUndefined();
    lp.enter("long", 3);
    expect(vectorOf((asm) => asm.rdtsc())).toBeUndefined();
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.TSD);
    expect(vectorOf((asm) => asm.rdtsc())).toBe(Vector.GP);
    expect(vectorOf((asm) => asm.rdtscp())).toBe(Vector.GP);
  });

  it("RDPID exists where the model has it", () => {
    expect(vectorOf((asm) => asm.rdpid(rax))).toBe(Vector.UD);
    lp = new BareProcessor(icelakeServer);
    lp.msrs.write(0xc000_0103, 9n);
    expect(vectorOf((asm) => asm.rdpid(rax))).toBeUndefined();
    expect(gpr(0)).toBe(9n);
  });

  it("RDTSCP, RDPID and INVPCID may be taken from a guest: before privilege is looked at", () => {
    lp = new BareProcessor(icelakeServer);
    lp.enter("long", 3);
    lp.intercept({ isUndefined: () => true });
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.TSD);
    expect(vectorOf((asm) => asm.rdtscp())).toBe(Vector.UD);
    expect(vectorOf((asm) => asm.rdpid(rax))).toBe(Vector.UD);
    expect(vectorOf((asm) => asm.invpcid(rax, mem128(rbx)))).toBe(Vector.UD);
  });

  it("there is no performance counter to read", () => {
    expect(vectorOf((asm) => asm.rdpmc())).toBe(Vector.GP);
    const asked = exitOnEverything();
    expect(vectorOf((asm) => asm.rdpmc())).toBeUndefined();
    lp.enter("long", 3);
    expect(vectorOf((asm) => asm.rdpmc())).toBe(Vector.GP);
    expect(asked).toEqual([["RDPMC", 0n]]);
  });
});

describe("TLB", () => {
  const probe = 0x4000_0000n;
  const entry = (place.tables + 0x1000) / 8 + 1;
  const touch = (): number | undefined => {
    lp.state.setGpr(3, probe);
    return vectorOf((asm) => asm.mov(ax, mem16(rbx)));
  };
  beforeEach(() => {
    lp.state.u64[entry] = 0x87n;
    expect(touch()).toBeUndefined();
    lp.state.u64[entry] = 0n;
    expect(touch()).toBeUndefined();
  });

  it("INVLPG drops the page", () => {
    lp.state.setGpr(3, probe + 0x123n);
    expect(vectorOf((asm) => asm.invlpg(mem8(rbx)))).toBeUndefined();
    expect(touch()).toBe(Vector.PF);
  });

  it("INVLPG of another or of no address leaves it", () => {
    lp.state.setGpr(3, 0x1234_5678_0000_0000n);
    expect(vectorOf((asm) => asm.invlpg(mem8(rbx)))).toBeUndefined();
    expect(touch()).toBeUndefined();
  });

  it.each<[string, bigint, bigint, bigint, number | undefined, boolean]>([
    ["address", 0n, 0n, probe, undefined, true],
    ["address, non-canonical", 0n, 0n, 0x8000_0000_0000n, Vector.GP, false],
    ["address, PCID without CR4.PCIDE", 0n, 1n, probe, Vector.GP, false],
    ["context", 1n, 0n, 0n, undefined, true],
    ["context, PCID without CR4.PCIDE", 1n, 5n, 0n, Vector.GP, false],
    ["all and globals", 2n, 5n, 0n, undefined, true],
    ["all", 3n, 5n, 0n, undefined, true],
    ["reserved type", 4n, 0n, 0n, Vector.GP, false],
    ["reserved bits", 2n, 0x1000n, 0n, Vector.GP, false],
  ])("INVPCID: %s", (_what, type, pcid, linear, vector, gone) => {
    lp.state.u64[place.data / 8] = pcid;
    lp.state.u64[place.data / 8 + 1] = linear;
    lp.state.setGpr(0, type);
    lp.state.setGpr(3, BigInt(place.data));
    expect(vectorOf((asm) => asm.invpcid(rax, mem128(rbx)))).toBe(vector);
    expect(touch()).toBe(gone ? Vector.PF : undefined);
  });

  it("are privileged", () => {
    lp.enter("long", 3);
    lp.state.setGpr(3, BigInt(place.data));
    expect(vectorOf((asm) => asm.invlpg(mem8(rbx)))).toBe(Vector.GP);
    expect(vectorOf((asm) => asm.invpcid(rax, mem128(rbx)))).toBe(Vector.GP);
  });

  it("INVLPG reports its linear address, bad or not", () => {
    const asked = exitOnEverything();
    lp.state.setGpr(3, 0x8000_0000_0000n);
    expect(vectorOf((asm) => asm.invlpg(mem8(rbx)))).toBeUndefined();
    expect(asked).toEqual([["INVLPG", 0x8000_0000_0000n]]);
  });
});

describe("caches", () => {
  it("WBINVD and INVD are privileged and do nothing; WBNOINVD is WBINVD", () => {
    expect(vectorOf((asm) => asm.wbinvd())).toBeUndefined();
    expect(vectorOf((asm) => asm.invd())).toBeUndefined();
    const asked = exitOnEverything();
    vectorOf((asm) => asm.wbinvd());
    vectorOf((asm) => asm.wbnoinvd());
    vectorOf((asm) => asm.invd());
    expect(asked).toEqual([
      ["WBINVD", 0n],
      ["WBINVD", 0n],
      ["INVD", 0n],
    ]);
    lp.enter("long", 3);
    expect(vectorOf((asm) => asm.wbinvd())).toBe(Vector.GP);
  });

  it("CLFLUSH, CLFLUSHOPT and CLWB read a byte", () => {
    for (const instruction of ["clflush", "clflushopt", "clwb"] as const) {
      lp.state.setGpr(3, BigInt(place.data));
      expect(vectorOf((asm) => asm[instruction](mem8(rbx)))).toBeUndefined();
      lp.state.setGpr(3, 0x4000_0000n);
      expect(vectorOf((asm) => asm[instruction](mem8(rbx)))).toBe(Vector.PF);
    }
  });
});

describe("random numbers", () => {
  it("set CF, fill the register, and come out the same for the same seed", () => {
    const draw = () => {
      const fresh = new BareProcessor();
      fresh.changeFlags(flagBit.ZF | flagBit.OF, flagBit.ZF | flagBit.OF);
      fresh.state.setGpr(0, -1n);
      fresh.execute64((asm) => {
        asm.rdrand(rax);
        asm.rdseed(rdx);
      });
      expect(fresh.readFlags() & (flagBit.CF | flagBit.ZF | flagBit.OF)).toBe(flagBit.CF);
      return [fresh.state.gpr(0), fresh.state.gpr(2)];
    };
    const [first, second] = draw();
    expect(first).not.toBe(second);
    expect(first).not.toBe(0xffff_ffff_ffff_ffffn);
    expect(draw()).toEqual([first, second]);
  });

  it("32 bits are zero-extended", () => {
    lp.state.setGpr(0, -1n);
    vectorOf((asm) => asm.rdrand(eax));
    expect(gpr(0) >> 32n).toBe(0n);
  });
});

describe("CMPXCHG16B", () => {
  const at = place.data / 8;
  const run = (): number | undefined => {
    lp.state.setGpr(7, BigInt(place.data));
    return vectorOf((asm) => asm.lock.cmpxchg16b(mem128(rdi)));
  };
  beforeEach(() => {
    lp.state.u64[at] = 1n;
    lp.state.u64[at + 1] = 2n;
    lp.state.setGpr(0, 1n);
    lp.state.setGpr(2, 2n);
    lp.state.setGpr(3, 0x33n);
    lp.state.setGpr(1, 0x11n);
  });

  it("exchanges when equal, and sets ZF alone", () => {
    lp.changeFlags(flagBit.CF, flagBit.CF | flagBit.ZF);
    expect(run()).toBeUndefined();
    expect([lp.state.u64[at], lp.state.u64[at + 1]]).toEqual([0x33n, 0x11n]);
    expect(lp.readFlags() & (flagBit.CF | flagBit.ZF)).toBe(flagBit.CF | flagBit.ZF);
    expect(lp.state.i32[lp.layout.busLock / 4]).toBe(0);
  });

  it("loads RDX:RAX when one half differs", () => {
    lp.state.setGpr(2, 9n);
    expect(run()).toBeUndefined();
    expect([gpr(0), gpr(2), lp.state.u64[at]]).toEqual([1n, 2n, 1n]);
    expect(lp.readFlags() & flagBit.ZF).toBe(0);
  });

  it("faults on an operand that is not aligned, and on a page that cannot be written", () => {
    lp.state.setGpr(7, BigInt(place.data + 8));
    expect(vectorOf((asm) => asm.cmpxchg16b(mem128(rdi)))).toBe(Vector.GP);
    lp.state.u64[(place.tables + 0x1000) / 8 + 1] = 0x85n;
    lp.state.setLow("cr0", (lp.state.low("cr0") | cr0Bit.WP) >>> 0);
    lp.addressSpace.changed();
    lp.state.setGpr(7, 0x4000_0000n);
    expect(vectorOf((asm) => asm.cmpxchg16b(mem128(rdi)))).toBe(Vector.PF);
  });
});
