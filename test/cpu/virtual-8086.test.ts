import { describe, expect, it } from "vitest";
import { cr4Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { setRealModeSegment } from "../../src/cpu/segment-registers.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { ax, bx, cx, ds, mem16 } from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const codeSegment = place.code >>> 4;
const stackTop = 0xfff0;
const bitmap = 0x88;

/** Runs a program in virtual-8086 mode, entered by IRET from level 0. */
function virtual(
  write: (asm: Assembler) => void,
  { iopl = 0, flags = 0, cr4 = 0, prepare = (_: TestMachine): void => {} } = {},
): TestMachine {
  const m = new TestMachine().protected32();
  m.state.setLow("cr4", cr4);
  // Redirection bitmap at 68H of the TSS, the I/O bitmap behind it; vector 21H is the program's own.
  m.write16(place.tss + 0x66, bitmap);
  m.state.u8.fill(0xff, place.tss + 0x68, place.tss + bitmap);
  m.state.u8[place.tss + 0x68 + 4] = 0xff & ~(1 << 1);
  prepare(m);
  m.assemble(16, write, place.code);
  const frame = [
    0,
    codeSegment,
    flagBit.VM | flagBit.fixed | (iopl << 12) | flags,
    stackTop,
    0x100,
    0x200,
    0x300,
    0x400,
    0x500,
  ];
  m.assemble(
    32,
    (asm) => {
      for (const value of [...frame].reverse()) asm.push(value);
      asm.iretd();
    },
    0x1_0000,
  );
  m.state.rip = 0x1_0000n;
  m.lp.run(1000);
  return m;
}
const exit = (asm: Assembler): void => asm.int(exitVector);

describe("entering virtual-8086 mode by IRET", () => {
  it("loads all segments as paragraphs, and an interrupt pushes them", () => {
    const m = virtual(
      (asm) => {
        asm.mov(ax, ds);
        asm.mov(bx, 0x1234);
        asm.mov(mem16(0x10), bx);
        exit(asm);
      },
      { iopl: 3 },
    );
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0) & 0xffff).toBe(0x300);
    expect(m.read16(0x3010)).toBe(0x1234);
    const { cs, rflags, rsp, ss } = m.trap();
    expect([cs, ss, rsp]).toEqual([codeSegment, 0x100, BigInt(stackTop)]);
    expect(rflags & flagBit.VM).toBe(flagBit.VM);
    const frame = Number(m.state.gpr(4));
    expect([5, 6, 7, 8].map((n) => m.read16(frame + n * 4))).toEqual([0x200, 0x300, 0x400, 0x500]);
    for (const segment of [Segment.ES, Segment.DS, Segment.FS, Segment.GS]) {
      expect(m.state.selector(segment)).toBe(0);
    }
    expect(m.lp.isVirtual8086).toBe(false);
  });

  it("a handler of another level than 0 raises #GP with its selector", () => {
    const m = virtual(exit, {
      iopl: 3,
      prepare: (machine) => machine.interruptGate(exitVector, 0xee, 0, selector.conforming32),
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: selector.conforming32 });
  });
});

describe("instructions that IOPL governs", () => {
  const governed: readonly [string, (asm: Assembler) => void][] = [
    ["CLI", (asm) => asm.cli()],
    ["STI", (asm) => asm.sti()],
    ["PUSHF", (asm) => asm.pushf()],
    ["POPF", (asm) => asm.popf()],
    ["INT n", (asm) => asm.int(0x20)],
    ["IRET", (asm) => asm.iret()],
  ];
  for (const [name, write] of governed) {
    it(`${name} raises #GP(0) below IOPL 3`, () => {
      const m = virtual(write);
      expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    });
  }
  it("they work at IOPL 3, on IF itself", () => {
    const m = virtual(
      (asm) => {
        asm.sti();
        asm.pushf();
        asm.pop(ax);
        asm.cli();
        asm.pushf();
        asm.pop(bx);
        exit(asm);
      },
      { iopl: 3 },
    );
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0) & flagBit.IF).toBe(flagBit.IF);
    expect(m.state.gpr32(3) & flagBit.IF).toBe(0);
  });
  it("INT3 ignores IOPL but not the gate", () => {
    const m = virtual((asm) => asm.int3(), {
      prepare: (machine) => machine.interruptGate(3, 0xee, 0, selector.code32),
    });
    expect(m.trap().vector).toBe(3);
  });
  it("HLT, LGDT and their like raise #GP(0), protected-mode instructions #UD", () => {
    expect(virtual((asm) => asm.hlt()).trap()).toMatchObject({ vector: 13, errorCode: 0 });
    expect(virtual((asm) => asm.str(ax)).trap().vector).toBe(6);
    expect(virtual((asm) => asm.lar(ax, bx)).trap().vector).toBe(6);
  });
});

describe("virtual-8086 mode extensions", () => {
  const extended = { cr4: cr4Bit.VME };

  it("CLI and STI work on VIF, PUSHF shows it as IF with IOPL 3", () => {
    const m = virtual(
      (asm) => {
        asm.sti();
        asm.pushf();
        asm.pop(ax);
        asm.cli();
        asm.pushf();
        asm.pop(bx);
        asm.int3();
      },
      { ...extended, prepare: (machine) => machine.interruptGate(3, 0xee, 0, selector.code32) },
    );
    const { vector, rflags } = m.trap();
    expect(vector).toBe(3);
    expect(m.state.gpr32(0) & (flagBit.IF | flagBit.IOPL)).toBe(flagBit.IF | flagBit.IOPL);
    expect(m.state.gpr32(3) & flagBit.IF).toBe(0);
    expect(rflags & (flagBit.IF | flagBit.IOPL | flagBit.VIF)).toBe(0);
  });
  it("STI with an interrupt pending raises #GP(0)", () => {
    const m = virtual((asm) => asm.sti(), { ...extended, flags: flagBit.VIP });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
  it("INT n goes to the program's vector when the bitmap says so", () => {
    const m = virtual(
      (asm) => {
        const handler = asm.label("handler");
        asm.int(0x21);
        asm.mov(bx, 0x5678);
        asm.int3();
        asm.here(handler);
        asm.mov(cx, 0x1234);
        asm.iret();
      },
      {
        ...extended,
        prepare: (machine) => {
          machine.interruptGate(3, 0xee, 0, selector.code32);
          machine.write16(0x21 * 4, 6);
          machine.write16(0x21 * 4 + 2, codeSegment);
        },
      },
    );
    expect(m.trap().vector).toBe(3);
    expect(m.state.gpr32(1) & 0xffff).toBe(0x1234);
    expect(m.state.gpr32(3) & 0xffff).toBe(0x5678);
  });
  it("INT n with its bit set needs IOPL 3", () => {
    const m = virtual((asm) => asm.int(0x22), extended);
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

describe("protected-mode virtual interrupts", () => {
  it("CLI and STI at level 3 work on VIF", () => {
    const m = new TestMachine().protected32();
    m.state.setLow("cr4", cr4Bit.PVI);
    m.user();
    m.run(32, (asm) => {
      asm.sti();
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
    expect(m.trap().rflags & (flagBit.VIF | flagBit.IF)).toBe(flagBit.VIF);
  });
  it("without them both raise #GP(0)", () => {
    const m = new TestMachine().protected32().user();
    m.run(32, (asm) => asm.cli());
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

it("a paragraph's rights are fixed", () => {
  const m = virtual(exit, { iopl: 3 });
  m.lp.writeFlags(flagBit.VM);
  setRealModeSegment(m.state, Segment.DS, 0x1234);
  expect([m.state.rights(Segment.DS), m.state.limit(Segment.DS)]).toEqual([0xf3, 0xffff]);
});
