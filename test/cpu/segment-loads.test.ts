import { describe, expect, it } from "vitest";
import { Segment } from "../../src/execution/lp-window.ts";
import type { SegmentRegister } from "../../src/isa/assembler-operands.ts";
import {
  al,
  ax,
  ds,
  eax,
  ebx,
  es,
  esp,
  fs,
  mem,
  mem8,
  mem32,
  mem48,
  rax,
  ss,
} from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const none = { vector: undefined, errorCode: undefined };
type Outcome = { vector: number | undefined; errorCode: number | undefined };

/** Loads a segment register with a selector; what came of it. */
function load(m: TestMachine, register: SegmentRegister, value: number): Outcome {
  m.run(m.lp.is64Bit ? 64 : 32, (asm) => {
    asm.mov(ax, value);
    asm.mov(register, ax);
    asm.int(exitVector);
  });
  if (m.finished) return none;
  const { vector, errorCode } = m.trap();
  return { vector, errorCode };
}

const gp = (errorCode: number): Outcome => ({ vector: 13, errorCode });

describe("loading DS, ES, FS, GS in protected mode", () => {
  const cases: readonly [string, number, 0 | 3, Outcome][] = [
    ["a null selector", 0, 0, none],
    ["a null selector with RPL 3", 3, 0, none],
    ["writable data", selector.data, 0, none],
    ["read-only data", selector.readOnly, 0, none],
    ["readable code", selector.code32, 0, none],
    ["conforming code of level 0 at level 3", selector.conforming32 | 3, 3, none],
    ["data of level 3 at level 3", selector.userData, 3, none],
    ["data of level 3 at level 0", selector.userData, 0, none],
    ["data of level 0 at level 3", selector.data, 3, gp(selector.data)],
    ["data of level 0 with RPL 3 at level 0", selector.data | 3, 0, gp(selector.data)],
    ["a system segment", selector.tss, 0, gp(selector.tss)],
    ["beyond the table", 0x1000, 0, gp(0x1000)],
    ["of an LDT that is not there", 0x0c, 0, gp(0x0c)],
    ["a segment not present", selector.absent, 0, { vector: 11, errorCode: selector.absent }],
  ];
  for (const [name, value, level, outcome] of cases) {
    it(`${name}: ${outcome.vector === undefined ? "is fine" : `vector ${outcome.vector}`}`, () => {
      const m = new TestMachine().protected32();
      if (level === 3) m.user();
      expect(load(m, ds, value)).toEqual(outcome);
    });
  }

  it("sets the accessed bit of the descriptor", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, 0x1234, 0xfff, 0x4092);
    expect(load(m, es, selector.free)).toEqual(none);
    expect(m.state.u8[place.gdt + selector.free + 5]).toBe(0x93);
    expect(m.state.segmentBase(Segment.ES)).toBe(0x1234n);
    expect(m.state.limit(Segment.ES)).toBe(0xfff);
  });

  it("execute-only code cannot be loaded", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, 0, 0xffff_ffff, 0xc099);
    expect(load(m, fs, selector.free)).toEqual(gp(selector.free));
  });

  it("an LDT selector is looked up in the LDT", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.ldt + 8, 0x5678, 0xffff, 0x4093);
    m.run(32, (asm) => {
      asm.mov(eax, selector.ldt);
      asm.lldt(ax);
      asm.mov(eax, 0x0c);
      asm.mov(fs, ax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.segmentBase(Segment.FS)).toBe(0x5678n);
  });
});

describe("loading SS", () => {
  const cases: readonly [string, number, 0 | 3, Outcome][] = [
    ["writable data of the level", selector.data, 0, none],
    ["writable data of level 3", selector.userData, 3, none],
    ["null", 0, 0, gp(0)],
    ["RPL not the level", selector.data | 3, 0, gp(selector.data)],
    ["DPL not the level", selector.userData, 0, gp(selector.userData & ~3)],
    ["read-only data", selector.readOnly, 0, gp(selector.readOnly)],
    ["code", selector.code32, 0, gp(selector.code32)],
    ["not present", selector.absent, 0, { vector: 12, errorCode: selector.absent }],
  ];
  for (const [name, value, level, outcome] of cases) {
    it(`${name}: ${outcome.vector === undefined ? "is fine" : `vector ${outcome.vector}`}`, () => {
      const m = new TestMachine().protected32();
      if (level === 3) m.user();
      if (value === selector.absent) {
        m.descriptor(place.gdt + selector.absent, 0, 0xffff_ffff, 0xc013);
      }
      expect(load(m, ss, value)).toEqual(outcome);
    });
  }

  it("null is fine in 64-bit mode below level 3", () => {
    const m = new TestMachine().long64();
    expect(load(m, ss, 0)).toEqual(none);
    expect(m.finished).toBe(true);
  });

  it("null at level 3 faults in 64-bit mode too", () => {
    const m = new TestMachine().long64().user();
    expect(load(m, ss, 3)).toEqual(gp(0));
  });
});

describe("limits and types of accesses", () => {
  function attempt(write: Parameters<TestMachine["run"]>[1]): Outcome {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, place.data, 0xff, 0x4093);
    m.run(32, (asm) => {
      asm.mov(eax, selector.free);
      asm.mov(es, ax);
      asm.mov(eax, selector.readOnly);
      asm.mov(fs, ax);
      asm.mov(eax, selector.expandDown);
      asm.mov(ds, ax);
      write(asm);
      asm.hlt();
    });
    if (m.finished) return none;
    const { vector, errorCode } = m.trap();
    return { vector, errorCode };
  }
  const at = (segment: SegmentRegister, displacement: number) => mem32(displacement, { segment });

  it("the last byte must lie within the limit", () => {
    expect(attempt((asm) => asm.mov(eax, at(es, 0xfc)))).toEqual(none);
    expect(attempt((asm) => asm.mov(eax, at(es, 0xfd)))).toEqual(gp(0));
  });
  it("an expand-down segment begins behind its limit", () => {
    expect(attempt((asm) => asm.mov(al, mem8(0x1000, { segment: ds })))).toEqual(none);
    expect(attempt((asm) => asm.mov(al, mem8(0x0fff, { segment: ds })))).toEqual(gp(0));
  });
  it("a read-only segment refuses writes", () => {
    expect(attempt((asm) => asm.mov(eax, at(fs, place.data)))).toEqual(none);
    expect(attempt((asm) => asm.mov(at(fs, place.data), eax))).toEqual(gp(0));
  });
  it("a null segment refuses everything", () => {
    expect(
      attempt((asm) => {
        asm.xor(eax, eax);
        asm.mov(es, ax);
        asm.mov(eax, at(es, 0));
      }),
    ).toEqual(gp(0));
  });
  it("CS refuses writes", () => {
    expect(attempt((asm) => asm.bytes([0x2e, 0xa3, 0, 0xb0, 0, 0]))).toEqual(gp(0));
  });
});

describe("moves of segment registers", () => {
  it("push and pop them; LDS and its kin load a pointer", () => {
    const m = new TestMachine().protected32();
    m.write32(place.data, 0x1234_5678);
    m.write16(place.data + 4, selector.readOnly);
    m.run(32, (asm) => {
      asm.mov(mem32(place.stack0 - 4), -1);
      asm.push(ds);
      asm.pop(fs);
      asm.les(eax, mem48(place.data));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.selector(Segment.FS)).toBe(selector.data);
    expect(m.state.selector(Segment.ES)).toBe(selector.readOnly);
    expect(m.state.gpr32(0)).toBe(0x1234_5678);
    // The upper half of the pushed slot is left alone.
    expect(m.read32(place.stack0 - 4)).toBe(0xffff_0000 + selector.data);
    expect(m.state.gpr32(4)).toBe(place.stack0);
  });

  it("a failed POP leaves the stack pointer", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.push(0x1000);
      asm.pop(es);
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0x1000 });
    expect(m.state.gpr32(4)).toBe(place.stack0 - 4 - 16);
  });

  it("MOV from a segment register zero-extends", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.mov(rax, -1);
      asm.mov(eax, ss);
      asm.hlt();
    });
    expect(m.state.gpr(0)).toBe(BigInt(selector.data));
  });

  it("MOV to CS is undefined", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => asm.bytes([0x8e, 0xc8]));
    expect(m.trap().vector).toBe(6);
  });

  it("a 16-bit stack segment moves SP alone", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, selector.data16);
      asm.mov(ss, ax);
      asm.mov(esp, 0x1234_7000);
      asm.push(eax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(4)).toBe(0x1234_6ffc);
    expect(m.read32(0x6ffc)).toBe(selector.data16);
  });
});

describe("real mode", () => {
  it("keeps limits and rights that protected mode has loaded", () => {
    const m = new TestMachine().real();
    m.descriptor(place.gdt + 8, 0, 0xffff_ffff, 0xc093);
    m.state.set("gdtrBase", BigInt(place.gdt));
    m.run(16, (asm) => {
      // mov eax, cr0; or al, 1; mov cr0, eax; mov ax, 8; mov ds, ax; clear PE again
      asm.bytes([0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0]);
      asm.mov(ax, 8);
      asm.mov(ds, ax);
      asm.bytes([0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0]);
      asm.xor(ax, ax);
      asm.mov(ds, ax);
      asm.mov(ebx, 0x2_0000);
      asm.mov(mem32(ebx), eax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.limit(Segment.DS)).toBe(0xffff_ffff);
  });

  it("faults beyond 64 KiB", () => {
    const m = new TestMachine().real();
    m.run(16, (asm) => asm.mov(mem(0xffff), ax));
    expect(m.trap().vector).toBe(13);
  });
});
