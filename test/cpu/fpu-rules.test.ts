import { beforeEach, describe, expect, it } from "vitest";
import type { Intercepts } from "../../src/cpu/ports.ts";
import { cr0Bit, cr4Bit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { resetFpu } from "../../src/cpu/x87/register-stack.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  ax,
  ebx,
  mem,
  mem16,
  mem32,
  mem64,
  mm0,
  rbx,
  st0,
  st1,
} from "../../src/isa/assembler-operands.ts";
import { BareProcessor, type Mode, place } from "./bare-processor.ts";

const enabled = cr4Bit.OSFXSR | cr4Bit.OSXSAVE;
const area = BigInt(place.data);

let lp: BareProcessor;
beforeEach(() => {
  lp = new BareProcessor();
  prepare();
});

/** FPU and SSE usable, RBX at an area of zeros. */
function prepare(mode: Mode = "long", cpl = 0): void {
  lp.enter(mode, cpl);
  resetFpu(lp.state);
  lp.state.set("xcr0", 3n);
  lp.state.setGpr(3, area);
  lp.state.u8.fill(0, place.data, place.data + 0x1000);
  changeCr4(enabled);
}
function changeCr0(bits: number): void {
  lp.state.setLow("cr0", (lp.state.low("cr0") | bits) >>> 0);
  lp.core.codeContextChanged();
}
function changeCr4(bits: number): void {
  lp.state.setLow("cr4", (mode64() ? cr4Bit.PAE : 0) | bits);
  lp.core.codeContextChanged();
}
const mode64 = (): boolean => lp.is64Bit;
const vectorOf = (write: (asm: Assembler) => void): number | undefined =>
  lp.execute64(write)?.vector;

type Written = readonly [string, (asm: Assembler) => void];
const x87: readonly Written[] = [
  ["FLD1", (asm) => asm.fld1()],
  ["FNINIT", (asm) => asm.fninit()],
  ["FNSTSW", (asm) => asm.fnstsw(ax)],
  ["FLDCW", (asm) => asm.fldcw(mem16(rbx))],
  ["FXSAVE", (asm) => asm.fxsave(mem(rbx))],
  ["FXRSTOR", (asm) => asm.fxrstor(mem(rbx))],
];
const xsaves: readonly Written[] = [
  ["XSAVE", (asm) => asm.xsave(mem(rbx))],
  ["XSAVEC", (asm) => asm.xsavec(mem(rbx))],
  ["XSAVES", (asm) => asm.xsaves(mem(rbx))],
  ["XRSTOR", (asm) => asm.xrstor(mem(rbx))],
];
const sse: readonly Written[] = [
  ["LDMXCSR", (asm) => asm.ldmxcsr(mem32(rbx))],
  ["STMXCSR", (asm) => asm.stmxcsr(mem32(rbx))],
];

describe("CR0.EM and CR0.TS", () => {
  it.each(x87)("%s: #NM with either", (_name, write) => {
    changeCr0(cr0Bit.EM);
    expect(vectorOf(write)).toBe(Vector.NM);
    prepare();
    changeCr0(cr0Bit.TS);
    expect(vectorOf(write)).toBe(Vector.NM);
  });

  it.each(xsaves)("%s: #NM with TS alone", (_name, write) => {
    changeCr0(cr0Bit.EM);
    expect(vectorOf(write)).toBeUndefined();
    changeCr0(cr0Bit.TS);
    expect(vectorOf(write)).toBe(Vector.NM);
  });

  it.each(sse)("%s: #UD with EM, #NM with TS", (_name, write) => {
    changeCr0(cr0Bit.TS);
    expect(vectorOf(write)).toBe(Vector.NM);
    changeCr0(cr0Bit.EM);
    expect(vectorOf(write)).toBe(Vector.UD);
  });

  it("MMX: #UD with EM, #NM with TS", () => {
    changeCr0(cr0Bit.TS);
    expect(vectorOf((asm) => asm.emms())).toBe(Vector.NM);
    changeCr0(cr0Bit.EM);
    expect(vectorOf((asm) => asm.movq(mm0, mem64(rbx)))).toBe(Vector.UD);
  });

  it("WAIT: #NM with TS and MP together, EM does not matter", () => {
    changeCr0(cr0Bit.EM | cr0Bit.TS);
    expect(vectorOf((asm) => asm.wait())).toBeUndefined();
    changeCr0(cr0Bit.MP);
    expect(vectorOf((asm) => asm.wait())).toBe(Vector.NM);
  });
});

describe("CR4", () => {
  it("without OSXSAVE the XSAVE family and XGETBV are undefined", () => {
    changeCr4(cr4Bit.OSFXSR);
    for (const [, write] of xsaves) {
      expect(vectorOf(write)).toBe(Vector.UD);
    }
    expect(vectorOf((asm) => asm.xgetbv())).toBe(Vector.UD);
    expect(vectorOf((asm) => asm.xsetbv())).toBe(Vector.UD);
  });

  it("without OSFXSR LDMXCSR is undefined, FXSAVE is not", () => {
    changeCr4(0);
    expect(vectorOf((asm) => asm.ldmxcsr(mem32(rbx)))).toBe(Vector.UD);
    expect(vectorOf((asm) => asm.fxsave(mem(rbx)))).toBeUndefined();
  });
});

describe("pending x87 exceptions", () => {
  beforeEach(() => {
    lp.state.u16[place.data / 2] = 0x37e;
    // 0 / 0 with the invalid-operation exception unmasked.
    expect(
      vectorOf((asm) => {
        asm.fldcw(mem16(rbx));
        asm.fldz();
        asm.fldz();
        asm.fdivp(st1, st0);
      }),
    ).toBeUndefined();
  });

  it("are reported by the next waiting instruction", () => {
    for (const write of [
      (asm: Assembler) => asm.fld1(),
      (asm: Assembler) => asm.wait(),
      (asm: Assembler) => asm.fldcw(mem16(rbx)),
      (asm: Assembler) => asm.emms(),
      (asm: Assembler) => asm.movq(mm0, mem64(rbx)),
    ]) {
      expect(vectorOf(write)).toBe(Vector.MF);
    }
  });

  it("are not looked at by the others", () => {
    for (const write of [
      (asm: Assembler) => asm.fnstsw(ax),
      (asm: Assembler) => asm.fnstcw(mem16(rbx)),
      (asm: Assembler) => asm.fxsave(mem(rbx)),
      (asm: Assembler) => asm.fnclex(),
      (asm: Assembler) => asm.fld1(),
    ]) {
      expect(vectorOf(write)).toBeUndefined();
    }
  });

  it("are ignored with CR0.NE clear", () => {
    lp.state.setLow("cr0", (lp.state.low("cr0") & ~cr0Bit.NE) >>> 0);
    expect(vectorOf((asm) => asm.fld1())).toBeUndefined();
  });
});

describe("instruction and data pointers", () => {
  it("are those of the last computing instruction and its operand", () => {
    lp.execute64((asm) => {
      asm.nop();
      asm.fld(mem64(rbx, { disp: 0x20 }));
      asm.fnop();
      asm.fnstcw(mem16(rbx));
    });
    expect(lp.state.get("fip")).toBe(BigInt(place.code + 4));
    expect(lp.state.get("fdp")).toBe(area + 0x20n);
  });

  it("stay when the operand faults", () => {
    lp.execute64((asm) => asm.fld1());
    const before = lp.state.get("fip");
    lp.state.setGpr(3, 0x4000_0000n);
    expect(
      vectorOf((asm) => {
        asm.nop();
        asm.fld(mem64(rbx));
      }),
    ).toBe(Vector.PF);
    expect([lp.state.get("fip"), lp.state.get("fdp")]).toEqual([before, 0n]);
  });

  it.each<[string, Mode, 16 | 32, number, readonly number[]]>([
    [
      "32 bits, protected",
      "protected",
      32,
      12,
      [0x1234, 0x0001, 0, 0x07fe, 0x5678, 0x0002, 0, 0xffff],
    ],
    ["16 bits, protected", "protected", 16, 6, [0x1234, 0, 0x5678, 0]],
    [
      "32 bits, real",
      "real",
      32,
      12,
      [0x1234, 0xffff, 0x17fe, 0x0000, 0x5678, 0xffff, 0x2000, 0x0000],
    ],
    ["16 bits, real", "real", 16, 6, [0x1234, 0x17fe, 0x5678, 0x2000]],
  ])("FNSTENV and FLDENV, %s", (_what, mode, operandSize, offset, words) => {
    prepare(mode);
    lp.state.set("fip", 0x1_1234n);
    lp.state.set("fdp", 0x2_5678n);
    lp.state.write16(lpOffset.fop, 0x7fe);
    const codeSize = mode === "protected" ? 32 : 16;
    const prefix = operandSize === codeSize ? [] : [0x66];
    const address = codeSize === 32 ? 0x33 : 0x37;
    const fnstenv = Uint8Array.of(...prefix, 0xd9, address);
    const fldenv = Uint8Array.of(...prefix, 0xd9, (address & 7) | 0x20);
    expect(lp.executeBytes(fnstenv)).toBeUndefined();
    const stored = lp.state.u16.slice(
      (place.data + offset) / 2,
      (place.data + offset) / 2 + words.length,
    );
    expect([...stored]).toEqual(words);
    lp.state.set("fip", 0n);
    lp.state.set("fdp", 0n);
    expect(lp.executeBytes(fldenv)).toBeUndefined();
    const kept = mode === "protected" && operandSize === 16 ? 0xffffn : 0xfffff_ffffn;
    expect([lp.state.get("fip"), lp.state.get("fdp")]).toEqual([
      0x1_1234n & kept,
      0x2_5678n & kept,
    ]);
  });
});

describe("FXSAVE and FXRSTOR", () => {
  it("fault on an operand that is not aligned to 16 bytes", () => {
    lp.state.setGpr(3, area + 8n);
    expect(vectorOf((asm) => asm.fxsave(mem(rbx)))).toBe(Vector.GP);
    expect(vectorOf((asm) => asm.fxrstor(mem(rbx)))).toBe(Vector.GP);
  });

  it("FXRSTOR faults on reserved bits of MXCSR, and has changed nothing", () => {
    lp.state.u32[place.data / 4 + 6] = 0x1_0000;
    lp.state.u16[place.data / 2] = 0x123;
    expect(vectorOf((asm) => asm.fxrstor(mem(rbx)))).toBe(Vector.GP);
    expect(lp.state.read16(lpOffset.fcw)).toBe(0x37f);
  });

  it("outside 64-bit mode only eight XMM registers are moved", () => {
    for (const n of [0, 7, 8]) {
      lp.state.write64(lpOffset.xmm + n * 16, BigInt(n + 1));
    }
    lp.enter("protected");
    changeCr4(enabled);
    lp.state.u8.fill(0x55, place.data, place.data + 512);
    expect(lp.executeCode(32, (asm) => asm.fxsave(mem(ebx)))).toBeUndefined();
    const { u64 } = lp.state;
    expect([0, 7, 8].map((n) => u64[(place.data + 160 + n * 16) / 8])).toEqual([
      1n,
      8n,
      0x5555_5555_5555_5555n,
    ]);
    u64[(place.data + 160) / 8] = 0n;
    expect(lp.executeCode(32, (asm) => asm.fxrstor(mem(ebx)))).toBeUndefined();
    expect([0, 7, 8].map((n) => lp.state.read64(lpOffset.xmm + n * 16))).toEqual([0n, 8n, 9n]);
  });

  it("a page fault in the second half leaves memory alone", () => {
    lp.state.setGpr(3, 0x3fff_ff00n);
    expect(vectorOf((asm) => asm.fxsave(mem(rbx)))).toBe(Vector.PF);
  });
});

describe("XSAVE area", () => {
  const header = (place.data + 512) / 8;
  const restore = (): number | undefined => {
    lp.state.setGpr(0, 3n);
    lp.state.setGpr(2, 0n);
    return vectorOf((asm) => asm.xrstor(mem(rbx)));
  };
  const compacted = 1n << 63n;

  it("must be aligned to 64 bytes", () => {
    lp.state.setGpr(3, area + 16n);
    for (const [, write] of xsaves) {
      expect(vectorOf(write)).toBe(Vector.GP);
    }
  });

  it.each<[string, bigint, bigint, bigint, number | undefined]>([
    ["nothing held", 0n, 0n, 0n, undefined],
    ["both components", 3n, 0n, 0n, undefined],
    ["a component that is not enabled", 4n, 0n, 0n, Vector.GP],
    ["standard format with a compaction mask", 1n, 1n, 0n, Vector.GP],
    ["standard format with reserved bytes", 1n, 0n, 1n, Vector.GP],
    ["compacted", 1n, compacted | 3n, 0n, undefined],
    ["compacted, holding what the mask lacks", 2n, compacted | 1n, 0n, Vector.GP],
    ["compacted, mask not enabled", 0n, compacted | 7n, 0n, Vector.GP],
    ["compacted with reserved bytes", 1n, compacted | 3n, 1n, Vector.GP],
  ])("XRSTOR: %s", (_what, states, compaction, reserved, vector) => {
    lp.state.u64[header] = states;
    lp.state.u64[header + 1] = compaction;
    lp.state.u64[header + 2] = reserved;
    expect(restore()).toBe(vector);
  });

  it("XRSTOR checks MXCSR where it loads it", () => {
    lp.state.u32[place.data / 4 + 6] = 0x1_0000;
    expect(restore()).toBe(Vector.GP);
    lp.state.u64[header + 1] = compacted | 3n;
    expect(restore()).toBeUndefined();
    lp.state.setGpr(0, 1n);
    lp.state.u64[header + 1] = 0n;
    expect(vectorOf((asm) => asm.xrstor(mem(rbx)))).toBeUndefined();
  });

  it("XRSTORS takes the compacted format only, and level 0", () => {
    const restoreSupervisor = (): number | undefined => vectorOf((asm) => asm.xrstors(mem(rbx)));
    expect(restoreSupervisor()).toBe(Vector.GP);
    lp.state.u64[header + 1] = compacted | 3n;
    expect(restoreSupervisor()).toBeUndefined();
    lp.enter("long", 3);
    changeCr4(enabled);
    expect(restoreSupervisor()).toBe(Vector.GP);
  });

  it("XSAVES asks with the components it would save", () => {
    const asked: unknown[] = [];
    const instruction: Intercepts["instruction"] = (which, _insn, operand) => {
      asked.push([which, operand]);
      lp.state.rip = 0n;
      return true;
    };
    lp.intercept({ instruction });
    lp.state.setGpr(0, 0xfffe_fffen);
    expect(vectorOf((asm) => asm.xsaves(mem(rbx)))).toBeUndefined();
    expect(asked).toEqual([["XSAVES", 2n]]);
    lp.intercept({ instruction, isUndefined: () => true });
    expect(vectorOf((asm) => asm.xsaves(mem(rbx)))).toBe(Vector.UD);
    expect(vectorOf((asm) => asm.xsavec(mem(rbx)))).toBeUndefined();
  });
});

describe("XSETBV and XGETBV", () => {
  const set = (register: bigint, value: bigint): number | undefined => {
    lp.state.setGpr(1, register);
    lp.state.setGpr(0, value & 0xffff_ffffn);
    lp.state.setGpr(2, value >> 32n);
    return vectorOf((asm) => asm.xsetbv());
  };

  it.each<[bigint, bigint, number | undefined]>([
    [0n, 1n, undefined],
    [0n, 3n, undefined],
    [0n, 2n, Vector.GP],
    [0n, 0n, Vector.GP],
    [0n, 7n, Vector.GP],
    [0n, (1n << 63n) | 1n, Vector.GP],
    [1n, 3n, Vector.GP],
  ])("XCR%s = %s", (register, value, vector) => {
    expect(set(register, value)).toBe(vector);
    expect(lp.state.get("xcr0")).toBe(vector === undefined ? value : 3n);
  });

  it("XSETBV is privileged, and exits before it looks at its operands", () => {
    lp.intercept({
      instruction: () => {
        lp.state.rip = 0n;
        return true;
      },
    });
    expect(set(5n, 0n)).toBeUndefined();
    lp.enter("long", 3);
    changeCr4(enabled);
    expect(set(0n, 1n)).toBe(Vector.GP);
  });

  it("XGETBV reads XCR0 and the components in use", () => {
    lp.state.setGpr(1, 0n);
    vectorOf((asm) => asm.xgetbv());
    expect(lp.state.gpr(0)).toBe(3n);
    lp.state.setGpr(1, 2n);
    expect(vectorOf((asm) => asm.xgetbv())).toBe(Vector.GP);
  });
});

describe("MXCSR", () => {
  it("has sixteen bits", () => {
    lp.state.u32[place.data / 4] = 0xffff;
    expect(vectorOf((asm) => asm.ldmxcsr(mem32(rbx)))).toBeUndefined();
    lp.state.u32[place.data / 4] = 0x1_1f80;
    expect(vectorOf((asm) => asm.ldmxcsr(mem32(rbx)))).toBe(Vector.GP);
    expect(vectorOf((asm) => asm.stmxcsr(mem32(rbx)))).toBeUndefined();
    expect(lp.state.u32[place.data / 4]).toBe(0xffff);
  });
});
