import { describe, expect, it } from "vitest";
import { Activity, Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  al,
  eax,
  ebx,
  ecx,
  esp,
  far,
  mem32,
  mem48,
  mem64,
  mem80,
  rax,
  rbx,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const target = 0x9000;
const callGate32 = 0x8c;
const callable = 0x60;

/** What the code at `target` does: leaves a mark and ends. */
function markAt(m: TestMachine, bits: 16 | 32 | 64): void {
  m.assemble(
    bits,
    (asm) => {
      asm.mov(al, 0x77);
      asm.int(exitVector);
    },
    target,
  );
}

function outcome(m: TestMachine): unknown {
  if (m.finished) return (m.state.gpr32(0) & 0xff) === 0x77 ? "reached" : "ended elsewhere";
  const { vector, errorCode } = m.trap();
  return { vector, errorCode };
}

const gp = (errorCode: number) => ({ vector: 13, errorCode });

describe("far JMP to a code segment in protected mode", () => {
  const cases: readonly [string, number, 0 | 3, unknown][] = [
    ["the same level", selector.code32, 0, "reached"],
    ["RPL above the level", selector.code32 | 3, 0, gp(selector.code32)],
    ["conforming from level 3", selector.conforming32 | 3, 3, "reached"],
    ["not conforming, more privileged", selector.code32, 3, gp(selector.code32)],
    ["not conforming, less privileged", selector.userCode32, 0, gp(selector.userCode32 & ~3)],
    ["data", selector.data, 0, gp(selector.data)],
    ["null", 0, 0, gp(0)],
    ["beyond the table", 0x1000, 0, gp(0x1000)],
  ];
  for (const [name, to, level, expected] of cases) {
    it(`${name}: ${JSON.stringify(expected)}`, () => {
      const m = new TestMachine().protected32();
      if (level === 3) m.user();
      markAt(m, 32);
      m.run(32, (asm) => asm.jmp(far(to, target)));
      expect(outcome(m)).toEqual(expected);
      if (expected === "reached") expect(m.read32(Number(m.state.gpr(4)) + 4) & 3).toBe(level);
    });
  }

  it("a segment not present raises #NP", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, 0, 0xffff_ffff, 0xc01b);
    m.run(32, (asm) => asm.jmp(far(selector.free, target)));
    expect(outcome(m)).toEqual({ vector: 11, errorCode: selector.free });
  });

  it("an offset beyond the limit raises #GP(0)", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, 0, 0xfff, 0x409b);
    m.run(32, (asm) => asm.jmp(far(selector.free, 0x1000)));
    expect(outcome(m)).toEqual(gp(0));
  });
});

describe("far CALL and RET at one level", () => {
  it("push and pop CS:EIP, and drop parameters", () => {
    const m = new TestMachine().protected32();
    m.assemble(
      32,
      (asm) => {
        asm.mov(eax, mem32(esp, { disp: 4 }));
        asm.mov(ebx, mem32(esp, { disp: 8 }));
        asm.form("Retfd_imm16", 4);
      },
      target,
    );
    m.run(32, (asm) => {
      asm.push(0x1234);
      asm.call(far(selector.code32, target));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0)).toBe(selector.code32);
    expect(m.state.gpr32(3)).toBe(0x1234);
    expect(m.state.gpr32(4)).toBe(place.stack0);
  });

  it("through memory, from 64-bit code to compatibility mode and back", () => {
    const m = new TestMachine().long64();
    m.assemble(
      32,
      (asm) => {
        asm.mov(ecx, 0x5555);
        asm.form("Retfd");
      },
      target,
    );
    m.write32(place.data, target);
    m.write16(place.data + 4, selector.code32);
    m.run(64, (asm) => {
      asm.call(mem48(place.data));
      asm.mov(rbx, -1);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(1)).toBe(0x5555);
    expect(m.state.gpr(3)).toBe(0xffff_ffff_ffff_ffffn);
  });

  it("in real mode", () => {
    const m = new TestMachine().real();
    m.assemble(
      16,
      (asm) => {
        asm.mov(al, 0x66);
        asm.form("Retfw");
      },
      0x1_2340,
    );
    m.run(16, (asm) => {
      asm.call(far(0x1234, 0));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0) & 0xff).toBe(0x66);
  });
});

describe("call gates in protected mode", () => {
  function machine(
    rights = callGate32 | callable,
    to: number = selector.code32,
    parameters = 0,
  ): TestMachine {
    const m = new TestMachine().protected32();
    m.gate(place.gdt + selector.free, to, target, rights, parameters);
    return m.user();
  }

  it("lead to an inner level on its stack, with parameters, and back", () => {
    const m = machine(callGate32 | callable, selector.code32, 2);
    m.assemble(
      32,
      (asm) => {
        asm.mov(eax, mem32(esp, { disp: 8 }));
        asm.mov(ebx, mem32(esp, { disp: 12 }));
        asm.mov(mem32(place.data), esp);
        asm.form("Retfd_imm16", 8);
      },
      target,
    );
    m.run(32, (asm) => {
      asm.push(0x1111);
      asm.push(0x2222);
      asm.call(far(selector.free | 3, 0));
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
    const { rsp: stack, ss, cs } = m.trap();
    expect([stack, ss, cs]).toEqual([BigInt(place.stack3), selector.userData, selector.userCode32]);
    expect([m.state.gpr32(0), m.state.gpr32(3)]).toEqual([0x2222, 0x1111]);
    expect(m.read32(place.data)).toBe(place.innerStack - 24);
  });

  const refused: readonly [string, () => TestMachine, unknown][] = [
    ["gate DPL below the level", () => machine(callGate32), gp(selector.free)],
    ["gate not present", () => machine(0x6c), { vector: 11, errorCode: selector.free }],
    ["target null", () => machine(callGate32 | callable, 0), gp(0)],
    ["target is data", () => machine(callGate32 | callable, selector.data), gp(selector.data)],
  ];
  for (const [name, make, expected] of refused) {
    it(`${name}: ${JSON.stringify(expected)}`, () => {
      const m = make();
      m.run(32, (asm) => asm.call(far(selector.free | 3, 0)));
      expect(outcome(m)).toEqual(expected);
    });
  }

  it("JMP through a gate cannot change the level", () => {
    const m = machine();
    m.run(32, (asm) => asm.jmp(far(selector.free | 3, 0)));
    expect(outcome(m)).toEqual(gp(selector.code32));
  });

  it("a bad inner stack raises #TS with its selector", () => {
    const m = machine();
    m.write32(place.tss + 8, selector.readOnly);
    m.run(32, (asm) => asm.call(far(selector.free | 3, 0)));
    // The handler's own stack is as bad.
    expect(m.state.activity).toBe(Activity.Shutdown);
    expect(m.exceptions).toEqual([
      { vector: 10, errorCode: selector.readOnly },
      { vector: 8, errorCode: 0 },
    ]);
  });
});

describe("call gates in IA-32e mode", () => {
  it("lead to 64-bit code, on RSP from the TSS, with a null SS", () => {
    const m = new TestMachine().long64();
    m.gate(place.gdt + selector.free, selector.code64, target, callGate32 | callable);
    m.write64(place.gdt + selector.free + 8, 0n);
    m.assemble(
      64,
      (asm) => {
        asm.mov(mem64(place.data), rsp);
        asm.mov(rax, mem64(rsp, { disp: 24 }));
        asm.form("Retfq");
      },
      target,
    );
    m.user();
    m.write32(place.data + 0x100, 0);
    m.write16(place.data + 0x104, selector.free | 3);
    m.run(64, (asm) => {
      asm.call(mem48(place.data + 0x100));
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
    expect(m.read64(place.data)).toBe(BigInt(place.innerStack - 32));
    expect(m.state.gpr(0)).toBe(BigInt(selector.userData));
    expect(m.trap()).toMatchObject({ cs: selector.userCode64, rsp: BigInt(place.stack3) });
  });

  it("must name 64-bit code", () => {
    const m = new TestMachine().long64();
    m.gate(place.gdt + selector.free, selector.code32, target, callGate32);
    m.write64(place.gdt + selector.free + 8, 0n);
    m.write16(place.data + 4, selector.free);
    m.run(64, (asm) => asm.call(mem48(place.data)));
    expect(outcome(m)).toEqual(gp(selector.code32));
  });

  it("a task is no target", () => {
    const m = new TestMachine().long64();
    m.write16(place.data + 4, selector.otherTss);
    m.run(64, (asm) => asm.jmp(mem48(place.data)));
    expect(outcome(m)).toEqual(gp(selector.otherTss));
  });
});

describe("far transfers in 64-bit mode", () => {
  it("a 64-bit offset that is not canonical raises #GP(0)", () => {
    const m = new TestMachine().long64();
    m.write64(place.data, 0x8000_0000_0000n);
    m.write16(place.data + 8, selector.code64);
    m.run(64, (asm) => asm.jmp(mem80(place.data)));
    expect(outcome(m)).toEqual(gp(0));
  });

  it("code that is both 64-bit and 32-bit raises #GP", () => {
    const m = new TestMachine().long64();
    m.descriptor(place.gdt + selector.free, 0, 0xffff_ffff, 0xe09b);
    m.write16(place.data + 4, selector.free);
    m.run(64, (asm) => asm.jmp(mem48(place.data)));
    expect(outcome(m)).toEqual(gp(selector.free));
  });
});

describe("far RET to an outer level", () => {
  function returning(m: TestMachine, frame: readonly number[]): TestMachine {
    m.run(32, (asm: Assembler) => {
      for (const value of [...frame].reverse()) asm.push(value);
      asm.form("Retfd");
    });
    return m;
  }

  it("loads SS and ESP and drops segments of the inner level", () => {
    const m = new TestMachine().protected32();
    m.assemble(32, (asm) => asm.int(exitVector), target);
    returning(m, [target, selector.userCode32, place.stack3, selector.userData]);
    expect(m.finished).toBe(true);
    expect(m.trap()).toMatchObject({ cs: selector.userCode32, ss: selector.userData });
    expect(m.state.selector(Segment.DS)).toBe(0);
    expect(m.state.rights(Segment.DS) & 0x1_0000).not.toBe(0);
  });

  it("to an inner level raises #GP", () => {
    const m = new TestMachine().protected32().user();
    expect(outcome(returning(m, [target, selector.code32]))).toEqual(gp(selector.code32));
  });

  it("a stack of another level raises #GP with its selector", () => {
    const m = new TestMachine().protected32();
    const frame = [target, selector.userCode32, place.stack3, selector.data];
    expect(outcome(returning(m, frame))).toEqual(gp(selector.data));
  });

  it("a null stack raises #GP(0)", () => {
    const m = new TestMachine().protected32();
    expect(outcome(returning(m, [target, selector.userCode32, place.stack3, 0]))).toEqual(gp(0));
  });
});

describe("IRET in 64-bit mode", () => {
  function iret(frame: readonly number[]): TestMachine {
    const m = new TestMachine().long64();
    m.assemble(
      64,
      (asm) => {
        asm.int(exitVector);
      },
      target,
    );
    m.run(64, (asm) => {
      for (const value of [...frame].reverse()) asm.push(value);
      asm.iretq();
    });
    return m;
  }

  it("to the same level loads RSP and SS too", () => {
    const m = iret([target, selector.code64, 2, place.stack3, selector.data]);
    expect(m.trap()).toMatchObject({ rsp: BigInt(place.stack3), ss: selector.data });
  });
  it("to 64-bit code of level 0 may load a null SS", () => {
    const m = iret([target, selector.code64, 2, place.stack3, 0]);
    expect(m.trap()).toMatchObject({ vector: exitVector, ss: 0 });
  });
  it("to level 3 it may not", () => {
    const m = iret([target, selector.userCode64, 2, place.stack3, 3]);
    expect(outcome(m)).toEqual(gp(0));
  });
  it("to compatibility mode", () => {
    const m = iret([target, selector.userCode32, 2, place.stack3, selector.userData]);
    expect(m.trap()).toMatchObject({ vector: exitVector, cs: selector.userCode32 });
  });
  it("with NT set raises #GP(0)", () => {
    const m = new TestMachine().long64();
    m.lp.writeFlags(0x4002);
    m.run(64, (asm) => asm.iretq());
    expect(outcome(m)).toEqual(gp(0));
  });
});
