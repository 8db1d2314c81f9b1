import { describe, expect, it } from "vitest";
import { cr4Bit, dr6Bit, dr6Reset, dr7Reset, flagBit } from "../../src/cpu/register-bits.ts";
import { Activity, lpOffset, Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  al,
  ax,
  dr0,
  dr6,
  dr7,
  dx,
  eax,
  ebx,
  ecx,
  mem8,
  mem32,
  mem64,
  rax,
  rbx,
  rcx,
  rsp,
  ss,
} from "../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../src/protocol/interrupt-entry.ts";
import { DeliveryMode } from "../../src/protocol/interrupt-message.ts";
import { place, selector, TestMachine } from "./test-machine.ts";

/** Handlers of #DB that count: DR6 and RIP of each, then go on. */
const log = 0x1_8000;
const handler = 0x1_2000;

interface DebugEvent {
  readonly dr6: number;
  /** Offset from the program's start. */
  readonly at: number;
}

/** A 64-bit machine whose #DB handler records DR6 and RIP, clears DR6, and returns with RF set (`resume`) or as it was. */
function machine(resume = false): TestMachine {
  const m = new TestMachine().long64();
  m.write64(log, BigInt(log + 8));
  m.assemble(
    64,
    (asm) => {
      asm.push(rax);
      asm.push(rbx);
      asm.mov(rbx, mem64(log));
      asm.mov(rax, dr6);
      asm.mov(mem32(rbx), eax);
      asm.mov(rax, mem64(rsp, { disp: 16 }));
      asm.mov(mem32(rbx, { disp: 4 }), eax);
      asm.add(mem64(log), 8);
      asm.mov(eax, dr6Reset);
      asm.mov(dr6, rax);
      if (resume) {
        asm.or(mem64(rsp, { disp: 32 }), flagBit.RF);
      }
      asm.pop(rbx);
      asm.pop(rax);
      asm.iretq();
    },
    handler,
  );
  m.gate(place.idt + 16, selector.code64, handler, 0x8e);
  return m;
}

function events(m: TestMachine): DebugEvent[] {
  const end = Number(m.read64(log));
  const found: DebugEvent[] = [];
  for (let at = log + 8; at < end; at += 8) {
    found.push({ dr6: (m.read32(at) & ~dr6Reset) >>> 0, at: m.read32(at + 4) - place.code });
  }
  return found;
}

const setTrapFlag = (asm: Assembler): void => {
  asm.pushfq();
  asm.or(mem8(rsp, { disp: 1 }), 1);
  asm.popfq();
};
const clearTrapFlag = (asm: Assembler): void => {
  asm.pushfq();
  asm.and(mem8(rsp, { disp: 1 }), 0xfe);
  asm.popfq();
};
const prologue = 7;

describe("single-step", () => {
  it("traps behind each instruction, from the one after POPF on", () => {
    const m = machine();
    m.run(64, (asm) => {
      setTrapFlag(asm);
      asm.nop();
      asm.inc(eax);
      asm.nop();
      clearTrapFlag(asm);
      asm.nop();
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    const bs = dr6Bit.BS;
    expect(events(m)).toEqual([
      { dr6: bs, at: prologue + 1 },
      { dr6: bs, at: prologue + 3 },
      { dr6: bs, at: prologue + 4 },
      { dr6: bs, at: prologue + 5 },
      { dr6: bs, at: prologue + 10 },
      { dr6: bs, at: prologue + 11 },
    ]);
  });

  it("a load of SS holds the trap back behind the next instruction", () => {
    const m = machine();
    m.run(64, (asm) => {
      asm.mov(eax, ss);
      setTrapFlag(asm);
      asm.mov(ss, ax);
      asm.nop();
      asm.hlt();
    });
    expect(events(m)[0]).toEqual({ dr6: dr6Bit.BS, at: 2 + prologue + 3 + 1 });
  });

  it("not in the handler of INT n, and the INT does not count", () => {
    const m = machine();
    m.assemble(64, (asm) => asm.iretq(), 0x9000);
    m.gate(place.idt + 0x40 * 16, selector.code64, 0x9000, 0x8f);
    m.run(64, (asm) => {
      setTrapFlag(asm);
      asm.int(0x40);
      asm.nop();
      asm.hlt();
    });
    expect(events(m)[0]).toEqual({ dr6: dr6Bit.BS, at: prologue + 3 });
  });

  it("SYSCALL whose mask has TF is stepped over", () => {
    const m = machine();
    m.state.set("lstar", 0x9000n);
    m.state.set("fmask", BigInt(flagBit.TF));
    m.state.set("star", BigInt(selector.code64) << 32n);
    m.assemble(
      64,
      (asm) => {
        asm.nop();
        asm.hlt();
      },
      0x9000,
    );
    m.run(64, (asm) => {
      setTrapFlag(asm);
      asm.syscall();
    });
    expect(m.finished).toBe(true);
    expect(events(m)).toEqual([]);
  });

  it("wakes a processor that has executed HLT", () => {
    const m = machine();
    m.run(64, (asm) => {
      setTrapFlag(asm);
      asm.hlt();
      clearTrapFlag(asm);
      asm.hlt();
    });
    expect(events(m)[0]).toEqual({ dr6: dr6Bit.BS, at: prologue + 1 });
  });
});

describe("breakpoints", () => {
  const arm = (asm: Assembler, address: number, condition: number, length: number): void => {
    asm.mov(rax, address);
    asm.mov(dr0, rax);
    asm.mov(eax, dr7Reset | 1 | (condition << 16) | (length << 18));
    asm.mov(dr7, rax);
  };
  const armed = 7 + 3 + 5 + 3;

  it("on an instruction: a fault before it, once when the handler sets RF", () => {
    const m = machine(true);
    m.run(64, (asm) => {
      arm(asm, place.code + armed + 1, 0, 0);
      asm.nop();
      asm.inc(ecx);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(1)).toBe(1);
    expect(events(m)).toEqual([{ dr6: dr6Bit.B0, at: armed + 1 }]);
  });

  it("on a write: a trap behind it; reads do not count", () => {
    const m = machine();
    m.run(64, (asm) => {
      arm(asm, place.data, 1, 3);
      asm.mov(ecx, mem32(place.data));
      asm.mov(mem8(place.data + 3), 1);
      asm.mov(mem8(place.data + 4), 1);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(events(m)).toEqual([{ dr6: dr6Bit.B0, at: armed + 15 }]);
  });

  it("on reads and writes", () => {
    const m = machine();
    m.run(64, (asm) => {
      arm(asm, place.data, 3, 0);
      asm.mov(ecx, mem32(place.data));
      asm.hlt();
    });
    expect(events(m)).toEqual([{ dr6: dr6Bit.B0, at: armed + 7 }]);
  });

  it("on a port, with CR4.DE", () => {
    const m = machine();
    m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.DE);
    m.lp.loadControlState();
    m.run(64, (asm) => {
      arm(asm, 0x80, 2, 0);
      asm.mov(dx, 0x80);
      asm.out(dx, al);
      asm.hlt();
    });
    expect(events(m)).toEqual([{ dr6: dr6Bit.B0, at: armed + 5 }]);
  });

  it("a hit and a single step come as one exception", () => {
    const m = machine();
    m.run(64, (asm) => {
      arm(asm, place.data, 1, 0);
      setTrapFlag(asm);
      asm.mov(mem8(place.data), 1);
      asm.hlt();
    });
    expect(events(m)[0]?.dr6).toBe(dr6Bit.B0 | dr6Bit.BS);
  });

  it("DR7.GD faults a move to a debug register, and is cleared for the handler", () => {
    const m = new TestMachine().long64();
    m.state.setLow("dr7", dr7Reset | (1 << 13));
    m.lp.debugRegistersChanged();
    m.run(64, (asm) => asm.mov(rcx, dr0));
    expect(m.trap()).toMatchObject({ vector: 1, rip: BigInt(place.code) });
    expect(m.state.low("dr6") & dr6Bit.BD).toBe(dr6Bit.BD);
    expect(m.state.low("dr7")).toBe(dr7Reset);
  });
});

describe("INIT and start-up", () => {
  function message(m: TestMachine, deliveryMode: DeliveryMode, vector = 0): void {
    const flags = { logical: false, level: false, assert: true, wide: false } as const;
    m.mailbox.post(
      messageEntry({ vector, deliveryMode, ...flags, shorthand: 0, destination: 0, source: 1 }),
    );
  }

  it("INIT resets registers and keeps x87, SSE and caches' bits of CR0", () => {
    const m = new TestMachine().long64();
    m.state.u8[m.state.base + lpOffset.xmm] = 0x55;
    m.state.setGpr(0, 0x1234n);
    message(m, DeliveryMode.Init);
    expect(m.lp.run(1)).toBe("budget");
    expect(m.state.segmentBase(Segment.CS) + m.state.rip).toBeLessThanOrEqual(0xffff_ffffn);
    expect(m.state.selector(Segment.CS)).toBe(0xf000);
    expect(m.state.low("cr0")).toBe(0x10);
    expect(m.state.gpr(0)).toBe(0n);
    expect(m.state.gpr32(2)).toBe(m.lp.model.signature);
    expect(m.state.u8[m.state.base + lpOffset.xmm]).toBe(0x55);
  });

  it("a SIPI starts a waiting processor at its page, another does nothing", () => {
    const m = new TestMachine().real();
    m.state.activity = Activity.WaitForSipi;
    m.assemble(
      16,
      (asm) => {
        asm.mov(al, 0x42);
        asm.hlt();
      },
      0x9000,
    );
    expect(m.lp.run(10)).toBe("idle");
    message(m, DeliveryMode.Startup, 9);
    message(m, DeliveryMode.Startup, 9);
    expect(m.lp.run(10)).toBe("idle");
    expect(m.state.activity).toBe(Activity.Halted);
    expect(m.state.selector(Segment.CS)).toBe(0x900);
    expect(m.state.gpr32(0) & 0xff).toBe(0x42);
    message(m, DeliveryMode.Startup, 8);
    expect(m.lp.run(10)).toBe("idle");
    expect(m.state.selector(Segment.CS)).toBe(0x900);
  });

  it("a processor that waits for a SIPI takes neither interrupts nor NMIs", () => {
    const m = new TestMachine().real();
    m.state.activity = Activity.WaitForSipi;
    message(m, DeliveryMode.Nmi);
    expect(m.lp.run(10)).toBe("idle");
    expect(m.state.activity).toBe(Activity.WaitForSipi);
  });
});

describe("budgets", () => {
  it("are exact", () => {
    const m = new TestMachine().long64();
    m.assemble(64, (asm) => {
      const loop = asm.here("loop");
      asm.inc(eax);
      asm.inc(ebx);
      asm.inc(ecx);
      asm.jmp(loop);
    });
    for (const budget of [1, 2, 3, 7, 1000, 12345]) {
      const before = m.lp.core.retired;
      expect(m.lp.run(budget)).toBe("budget");
      expect(m.lp.core.retired - before).toBe(budget);
    }
  });
  it("end a guest that does nothing but fault", () => {
    const m = new TestMachine().long64();
    m.gate(place.idt + 6 * 16, selector.code64, place.code, 0x8e);
    m.interruptGate(14, 0x8e, 1);
    expect(m.run(64, (asm) => asm.ud2(), 100)).toBe("budget");
  });
});

describe("MWAIT", () => {
  it("ends when the line is written to, or by itself after a while", () => {
    const m = new TestMachine().long64();
    const wait = (asm: Assembler): void => {
      asm.mov(rax, place.data);
      asm.xor(ecx, ecx);
      asm.xor(ebx, ebx);
      asm.monitor();
      asm.mwait();
      asm.hlt();
    };
    expect(m.run(64, wait)).toBe("idle");
    expect(m.state.activity).toBe(Activity.Mwait);
    const deadline = m.lp.wakeDeadline();
    expect(deadline).toBeGreaterThan(m.time);
    m.write32(place.data + 60, 1);
    m.lp.run(10);
    expect(m.finished).toBe(true);
    const other = new TestMachine().long64();
    expect(other.run(64, wait)).toBe("idle");
    other.time = Number(other.lp.wakeDeadline());
    other.lp.run(10);
    expect(other.finished).toBe(true);
  });
});
