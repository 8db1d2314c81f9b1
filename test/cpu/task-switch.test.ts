import { describe, expect, it } from "vitest";
import { cr0Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { eax, ebx, far } from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const target = 0x9000;
const newStack = 0x1_1000;
/** Offsets in the 32-bit TSS. */
const field = {
  link: 0,
  cr3: 0x1c,
  eip: 0x20,
  eflags: 0x24,
  eax: 0x28,
  ebx: 0x34,
  esp: 0x38,
  es: 0x48,
  cs: 0x4c,
  ss: 0x50,
  ds: 0x54,
  fs: 0x58,
  gs: 0x5c,
  ldt: 0x60,
  trap: 0x64,
} as const;

interface Task {
  readonly cs?: number;
  readonly ss?: number;
  readonly ds?: number;
  readonly ldt?: number;
  readonly eip?: number;
  readonly flags?: number;
  readonly trap?: number;
}

/** A machine with a second task, whose code is written to `target`. */
function machine(task: Task, code: (asm: Assembler) => void): TestMachine {
  const m = new TestMachine().protected32();
  const at = place.otherTss;
  m.state.u8.fill(0, at, at + 0x68);
  m.write32(at + field.eip, task.eip ?? target);
  m.write32(at + field.eflags, task.flags ?? flagBit.fixed);
  m.write32(at + field.eax, 0x1111);
  m.write32(at + field.esp, newStack);
  m.write16(at + field.cs, task.cs ?? selector.code32);
  m.write16(at + field.ss, task.ss ?? selector.data);
  m.write16(at + field.ds, task.ds ?? selector.data);
  m.write16(at + field.es, selector.data);
  m.write16(at + field.ldt, task.ldt ?? 0);
  m.write16(at + field.trap, task.trap ?? 0);
  m.assemble(32, code, target);
  return m;
}
const exit = (asm: Assembler): void => {
  asm.int(exitVector);
};
const busy = 2;
const typeOf = (m: TestMachine, tss: number): number => (m.state.u8[place.gdt + tss + 5] ?? 0) & 15;

describe("JMP to a TSS", () => {
  it("saves one task and loads the other; busy moves on, TS is set", () => {
    const m = machine({}, exit);
    m.run(32, (asm) => {
      asm.mov(ebx, 0x2222);
      asm.jmp(far(selector.otherTss, 0));
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0)).toBe(0x1111);
    expect(m.read32(place.tss + field.ebx)).toBe(0x2222);
    expect(m.read32(place.tss + field.eip)).toBe(place.code + 12);
    expect(m.read16(place.tss + field.cs)).toBe(selector.code32);
    expect(typeOf(m, selector.tss) & busy).toBe(0);
    expect(typeOf(m, selector.otherTss) & busy).toBe(busy);
    expect(m.state.selector(Segment.TR)).toBe(selector.otherTss);
    expect(m.state.low("cr0") & cr0Bit.TS).toBe(cr0Bit.TS);
    expect(m.lp.readFlags() & flagBit.NT).toBe(0);
  });

  it("a busy task raises #GP, a short one #TS", () => {
    const running = machine({}, exit);
    running.run(32, (asm) => asm.jmp(far(selector.tss, 0)));
    expect(running.trap()).toMatchObject({ vector: 13, errorCode: selector.tss });
    const short = machine({}, exit);
    short.descriptor(place.gdt + selector.otherTss, place.otherTss, 0x66, 0x89);
    short.run(32, (asm) => asm.jmp(far(selector.otherTss, 0)));
    expect(short.trap()).toMatchObject({ vector: 10, errorCode: selector.otherTss });
  });
});

describe("CALL of a TSS and IRET back", () => {
  it("links the tasks, and returns behind the CALL", () => {
    const m = machine({}, (asm) => {
      asm.mov(eax, 0x3333);
      asm.iretd();
    });
    m.run(32, (asm) => {
      asm.mov(eax, 0x4444);
      asm.call(far(selector.otherTss, 0));
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0)).toBe(0x4444);
    expect(m.read16(place.otherTss + field.link)).toBe(selector.tss);
    expect(m.read32(place.otherTss + field.eax)).toBe(0x3333);
    expect(m.read32(place.otherTss + field.eflags) & flagBit.NT).toBe(0);
    expect(typeOf(m, selector.otherTss) & busy).toBe(0);
    expect(typeOf(m, selector.tss) & busy).toBe(busy);
  });

  it("through a task gate that level 3 may use", () => {
    const m = machine({}, exit);
    m.gate(place.gdt + selector.taskGate, selector.otherTss, 0, 0xe5);
    m.user();
    m.run(32, (asm) => asm.call(far(selector.taskGate | 3, 0)));
    expect(m.finished).toBe(true);
    expect(m.state.cpl).toBe(0);
    expect(m.lp.readFlags() & flagBit.NT).toBe(0);
    expect(m.trap().rflags & flagBit.NT).toBe(flagBit.NT);
  });

  it("IRET without a task to go back to raises #TS", () => {
    const m = new TestMachine().protected32();
    m.write16(place.tss, selector.otherTss);
    m.lp.writeFlags(flagBit.NT);
    m.run(32, (asm) => asm.iretd());
    expect(m.trap()).toMatchObject({ vector: 10, errorCode: selector.otherTss });
  });
});

describe("a task gate in the IDT", () => {
  it("switches for an exception and pushes its error code on the new stack", () => {
    const m = machine({}, (asm) => {
      asm.pop(ebx);
      asm.int(exitVector);
    });
    m.gate(place.idt + 13 * 8, selector.otherTss, 0, 0x85);
    m.run(32, (asm) => {
      asm.mov(eax, 0x1000);
      asm.bytes([0x8e, 0xd8]);
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(3)).toBe(0x1000);
    expect(m.read32(place.tss + field.eip)).toBe(place.code + 5);
    expect(m.read32(place.tss + field.eflags) & flagBit.RF).toBe(flagBit.RF);
  });
});

describe("faults of the new task", () => {
  const cases: readonly [string, Task, { vector: number; errorCode: number }][] = [
    [
      "SS of another level",
      { ss: selector.userData },
      { vector: 10, errorCode: selector.userData & ~3 },
    ],
    ["CS that is data", { cs: selector.data }, { vector: 10, errorCode: selector.data }],
    ["DS beyond the table", { ds: 0x1000 }, { vector: 10, errorCode: 0x1000 }],
    ["DS not present", { ds: selector.absent }, { vector: 11, errorCode: selector.absent }],
    ["LDT that is none", { ldt: selector.data }, { vector: 10, errorCode: selector.data }],
  ];
  for (const [name, task, expected] of cases) {
    it(`${name}: vector ${expected.vector}, raised in the new task`, () => {
      const m = machine(task, exit);
      m.run(32, (asm) => asm.jmp(far(selector.otherTss, 0)));
      expect(m.exceptions[0]).toEqual(expected);
      expect(m.state.selector(Segment.TR)).toBe(selector.otherTss);
    });
  }
});

it("the T flag raises a debug trap before the first instruction", () => {
  const m = machine({ trap: 1 }, exit);
  m.run(32, (asm) => asm.jmp(far(selector.otherTss, 0)));
  expect(m.trap()).toMatchObject({ vector: 1, rip: BigInt(target) });
  expect(m.state.low("dr6") & 0x8000).toBe(0x8000);
});

it("a task of virtual-8086 mode", () => {
  const m = machine({ cs: target >>> 4, eip: 0, ss: 0x1000, flags: flagBit.VM | 0x3002 }, exit);
  m.write32(place.otherTss + 4, place.innerStack);
  m.write16(place.otherTss + 8, selector.data);
  m.assemble(16, exit, target);
  m.run(32, (asm) => asm.jmp(far(selector.otherTss, 0)));
  expect(m.finished).toBe(true);
  expect(m.trap()).toMatchObject({ cs: target >>> 4, ss: 0x1000, rsp: BigInt(newStack) });
});

it("a 16-bit TSS", () => {
  const m = new TestMachine().protected32();
  const at = place.otherTss;
  m.descriptor(place.gdt + selector.otherTss, at, 0x2b, 0x81);
  m.state.u8.fill(0, at, at + 0x2c);
  m.write16(at + 0x0e, target);
  m.write16(at + 0x10, 2);
  m.write16(at + 0x12, 0x7777);
  m.write16(at + 0x1a, 0x6000);
  m.write16(at + 0x22, selector.data);
  m.write16(at + 0x24, selector.code32);
  m.write16(at + 0x26, selector.data);
  m.write16(at + 0x28, selector.data);
  m.assemble(32, (asm) => asm.hlt(), target);
  m.run(32, (asm) => asm.jmp(far(selector.otherTss, 0)));
  expect(m.finished).toBe(true);
  expect(m.state.gpr32(0) & 0xffff).toBe(0x7777);
  expect(m.state.gpr32(4) & 0xffff).toBe(0x6000);
});
