import { describe, expect, it } from "vitest";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import { cr4Bit } from "../../src/cpu/register-bits.ts";
import { lpOffset, Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { ax, bx, cx, eax, ebx, ecx, mem, mem48, mem80 } from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const zf = 0x40;

/** LAR and LSL of a selector, and whether VERR and VERW say yes. */
function ask(m: TestMachine, value: number): readonly (number | undefined)[] {
  const pushFlags = (asm: Assembler): void => (m.lp.is64Bit ? asm.pushfq() : asm.pushfd());
  m.run(m.lp.is64Bit ? 64 : 32, (asm) => {
    asm.mov(ecx, value);
    asm.lar(eax, ecx);
    pushFlags(asm);
    asm.lsl(ebx, ecx);
    pushFlags(asm);
    asm.verr(cx);
    pushFlags(asm);
    asm.verw(cx);
    pushFlags(asm);
    asm.int(exitVector);
  });
  expect(m.finished).toBe(true);
  const outer = m.trap().rsp ?? BigInt(m.state.gpr32(4) + 12);
  const size = m.lp.is64Bit ? 8 : 4;
  const flag = (n: number): boolean => (m.read32(Number(outer) + n * size) & zf) !== 0;
  const [verw, verr, lsl, lar] = [0, 1, 2, 3].map(flag);
  return [
    lar ? m.state.gpr32(0) : undefined,
    lsl ? m.state.gpr32(3) : undefined,
    verr ? 1 : 0,
    verw ? 1 : 0,
  ];
}

const flat = 0xffff_ffff;

describe("LAR, LSL, VERR, VERW", () => {
  const level0: readonly [string, number, readonly (number | undefined)[]][] = [
    ["null", 0, [undefined, undefined, 0, 0]],
    ["beyond the table", 0x1000, [undefined, undefined, 0, 0]],
    ["data", selector.data, [0xcf_9300, flat, 1, 1]],
    ["read-only data", selector.readOnly, [0xcf_9100, flat, 1, 0]],
    ["code", selector.code32, [0xcf_9b00, flat, 1, 0]],
    ["a TSS", selector.otherTss, [0x8900, 0x67, 0, 0]],
    ["an LDT", selector.ldt, [0x8200, 0xff, 0, 0]],
  ];
  for (const [name, value, expected] of level0) {
    it(`${name} at level 0`, () => {
      expect(ask(new TestMachine().protected32(), value)).toEqual(expected);
    });
  }
  it("a gate has rights but no limit", () => {
    const m = new TestMachine().protected32();
    m.gate(place.gdt + selector.free, selector.code32, 0, 0x8c);
    expect(ask(m, selector.free)).toEqual([0x8c00, undefined, 0, 0]);
  });
  it("what level 3 may not use is not told", () => {
    const m = new TestMachine().protected32().user();
    expect(ask(m, selector.data)).toEqual([undefined, undefined, 0, 0]);
  });
  it("conforming code is told to all", () => {
    const m = new TestMachine().protected32().user();
    expect(ask(m, selector.conforming32)).toEqual([0xcf_9f00, flat, 1, 0]);
  });
  it("in IA-32e mode 16-bit and task gates have no rights", () => {
    const m = new TestMachine().long64();
    m.gate(place.gdt + selector.free, selector.code32, 0, 0x84);
    expect(ask(m, selector.free)).toEqual([undefined, undefined, 0, 0]);
    expect(ask(new TestMachine().long64(), selector.tss)).toEqual([0x8b00, 0x167, 0, 0]);
  });
});

describe("ARPL", () => {
  it("raises RPL and sets ZF, or leaves both", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, 0x1230);
      asm.mov(ebx, 3);
      asm.arpl(ax, bx);
      asm.mov(ecx, 0x3);
      asm.mov(ebx, 1);
      asm.arpl(cx, bx);
      asm.hlt();
    });
    expect([m.state.gpr32(0), m.state.gpr32(1)]).toEqual([0x1233, 3]);
    expect(m.lp.readFlags() & zf).toBe(0);
  });
});

describe("descriptor-table registers", () => {
  it("are stored as they were loaded; the 16-bit form has 24 bits of base", () => {
    const m = new TestMachine().protected32();
    m.write16(place.data, 0x1ff);
    m.write32(place.data + 2, 0x1234_5678);
    m.run(32, (asm) => {
      asm.lidt(mem48(place.data));
      asm.sidt(mem48(place.data + 16));
      asm.bytes([0x66, 0x0f, 0x01, 0x1d, place.data & 0xff, place.data >> 8, 0, 0]);
      asm.hlt();
    });
    expect(m.read16(place.data + 16)).toBe(0x1ff);
    expect(m.read32(place.data + 18)).toBe(0x1234_5678);
    expect(m.state.get("idtrBase")).toBe(0x34_5678n);
  });

  it("have 64-bit bases in 64-bit mode, which must be canonical", () => {
    const m = new TestMachine().long64();
    m.write16(place.data, 0xfff);
    m.write64(place.data + 2, 0xffff_8000_0000_1000n);
    m.run(64, (asm) => {
      asm.sgdt(mem80(place.data + 16));
      asm.lgdt(mem80(place.data));
      asm.hlt();
    });
    expect(m.state.get("gdtrBase")).toBe(0xffff_8000_0000_1000n);
    expect(m.read64(place.data + 18)).toBe(BigInt(place.gdt));
    const bad = new TestMachine().long64();
    bad.write64(place.data + 2, 0x8000_0000_0000n);
    bad.run(64, (asm) => asm.lgdt(mem80(place.data)));
    expect(bad.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });

  it("LTR marks the TSS busy; a busy one raises #GP", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, selector.otherTss);
      asm.ltr(ax);
      asm.str(ebx);
      asm.ltr(ax);
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: selector.otherTss });
    expect(m.state.gpr32(3)).toBe(selector.otherTss);
    expect(m.state.u8[place.gdt + selector.otherTss + 5]).toBe(0x8b);
  });

  it("LLDT of null makes the LDT unusable; of something else raises #GP", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, selector.ldt);
      asm.lldt(ax);
      asm.xor(eax, eax);
      asm.lldt(ax);
      asm.mov(eax, selector.data);
      asm.lldt(ax);
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: selector.data });
    expect(m.state.rights(Segment.LDTR) & 0x1_0000).toBe(0x1_0000);
  });

  it("in IA-32e mode system descriptors have 16 bytes, and a type in the upper half is refused", () => {
    const m = new TestMachine().long64();
    m.descriptor(place.gdt + selector.free, 0x1000, 0xff, 0x82);
    m.write64(place.gdt + selector.free + 8, 0xffff_8000n);
    m.run(64, (asm) => {
      asm.mov(eax, selector.free);
      asm.lldt(ax);
      asm.hlt();
    });
    expect(m.state.segmentBase(Segment.LDTR)).toBe(0xffff_8000_0000_1000n);
    const bad = new TestMachine().long64();
    bad.descriptor(place.gdt + selector.free, 0x1000, 0xff, 0x82);
    bad.write64(place.gdt + selector.free + 8, 0x100_0000_0000n);
    bad.run(64, (asm) => {
      asm.mov(eax, selector.free);
      asm.lldt(ax);
    });
    expect(bad.trap()).toMatchObject({ vector: 13, errorCode: selector.free });
  });
});

describe("UMIP", () => {
  for (const name of ["sgdt", "sidt", "sldt", "str"] as const) {
    it(`${name.toUpperCase()} at level 3 raises #GP(0) with it, works without`, () => {
      const run = (umip: boolean): TestMachine => {
        const m = new TestMachine(icelakeServer).long64();
        m.state.setLow("cr4", m.state.low("cr4") | (umip ? cr4Bit.UMIP : 0));
        m.user();
        m.run(64, (asm) => {
          if (name === "sgdt" || name === "sidt") asm[name](mem80(place.data));
          else asm[name](mem(place.data));
          asm.int(exitVector);
        });
        return m;
      };
      expect(run(true).trap()).toMatchObject({ vector: 13, errorCode: 0 });
      expect(run(false).finished).toBe(true);
    });
  }
  it("privileged loads stay privileged", () => {
    const m = new TestMachine().long64().user();
    m.run(64, (asm) => asm.lgdt(mem80(place.data)));
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    expect(m.state.read32(lpOffset.gdtrLimit)).toBe(0xfff);
  });
});
