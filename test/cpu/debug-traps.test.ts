import { describe, expect, it } from "vitest";
import { dr6Bit, dr7Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { Activity } from "../../src/execution/lp-window.ts";
import { ax, dr0, rbx, ss } from "../../src/isa/assembler-operands.ts";
import { PageFlag, place, selector, TestMachine } from "./test-machine.ts";

const reported = dr6Bit.BS | dr6Bit.BD | dr6Bit.B0;
const movSsBytes = 3;

/** Runs until the #DB handler halts; RIP counted from `place.code`. */
function debugTrap(m: TestMachine): { rip: number; dr6: number } {
  expect(m.lp.run(1000)).toBe("idle");
  const trap = m.trap();
  expect(trap.vector).toBe(Vector.DB);
  return { rip: Number(trap.rip) - place.code, dr6: m.state.low("dr6") & reported };
}

/** MOV SS, AX with single-step on, then another instruction. */
function inShadow(
  write: Parameters<TestMachine["assemble"]>[1],
  options: { dr7?: number; step?: boolean } = {},
): TestMachine {
  const m = new TestMachine().long64();
  m.assemble(64, (asm) => {
    asm.mov(ss, ax);
    write(asm);
    asm.hlt();
  });
  m.state.setGpr(0, BigInt(selector.data));
  m.state.set("dr0", BigInt(place.code + movSsBytes));
  m.state.setLow("dr7", 0x400 | (options.dr7 ?? 0));
  m.lp.writeFlags(flagBit.fixed | (options.step === false ? 0 : flagBit.TF));
  m.lp.loadControlState();
  return m;
}

describe("debug exceptions behind a load of SS", () => {
  it("single-step reports once, after the next instruction", () => {
    const m = inShadow((asm) => asm.nop());
    expect(debugTrap(m)).toEqual({ rip: movSsBytes + 1, dr6: dr6Bit.BS });
  });

  it("INT1 reports itself alone: the single-step held back is lost", () => {
    const m = inShadow((asm) => asm.int1());
    expect(debugTrap(m)).toEqual({ rip: movSsBytes + 1, dr6: 0 });
    expect(m.lp.pendingDebug).toBe(0);
  });

  it("general detection reports itself alone", () => {
    const m = inShadow((asm) => asm.mov(rbx, dr0), { dr7: dr7Bit.GD });
    expect(debugTrap(m)).toEqual({ rip: movSsBytes, dr6: dr6Bit.BD });
  });

  it("an instruction breakpoint on the next instruction is passed over", () => {
    const m = inShadow((asm) => asm.nop(), { dr7: 1, step: false });
    expect(m.lp.run(1000)).toBe("idle");
    expect(m.finished).toBe(true);
  });
});

describe("debug traps between iterations of a repeated string instruction", () => {
  const count = 3;
  const repeated: [string, Parameters<TestMachine["assemble"]>[1]][] = [
    ["REP MOVSB", (asm) => asm.rep.movsb()],
    ["REP STOSB", (asm) => asm.rep.stosb()],
    ["REP LODSB", (asm) => asm.rep.lodsb()],
    ["REPE CMPSB", (asm) => asm.repe.cmpsb()],
    ["REPNE SCASB", (asm) => asm.repne.scasb()],
    ["REP OUTSB", (asm) => asm.rep.outsb()],
    ["REP INSB", (asm) => asm.rep.insb()],
  ];
  const repBytes = 2;

  /** RSI and RDI at zeroed memory, AL other than zero. */
  function prepared(write: Parameters<TestMachine["assemble"]>[1]): TestMachine {
    const m = new TestMachine().long64();
    m.assemble(64, (asm) => {
      write(asm);
      asm.hlt();
    });
    m.state.setGpr(0, 0x55n);
    m.state.setGpr(1, BigInt(count));
    m.state.setGpr(2, 0x80n);
    m.state.setGpr(6, BigInt(place.data));
    m.state.setGpr(7, BigInt(place.data + 0x100));
    return m;
  }
  /** Goes on behind the handler's HLT: returns from it. */
  function resume(m: TestMachine, more = 0): void {
    const { rip, rflags, rsp } = m.trap();
    m.state.rip = rip;
    m.state.setGpr(4, rsp ?? 0n);
    m.state.activity = Activity.Active;
    m.lp.writeFlags(rflags | more);
    m.lp.loadControlState();
  }

  it.each(repeated)("single-step stops after each iteration of %s", (_name, write) => {
    const m = prepared(write);
    m.lp.writeFlags(flagBit.fixed | flagBit.TF);
    m.lp.loadControlState();
    for (let left = count - 1; left >= 0; left--) {
      const isLast = left === 0;
      expect(debugTrap(m)).toEqual({ rip: isLast ? repBytes : 0, dr6: dr6Bit.BS });
      expect(m.state.gpr(1)).toBe(BigInt(left));
      // RFLAGS.RF tells an interrupted instruction from the next one.
      expect((m.trap().rflags & flagBit.RF) !== 0).toBe(!isLast);
      m.state.setLow("dr6", 0xffff_0ff0);
      resume(m);
    }
  });

  it("a data breakpoint stops after the iteration that hits it", () => {
    const m = prepared((asm) => asm.rep.stosb());
    m.state.set("dr0", BigInt(place.data + 0x101));
    m.state.setLow("dr7", 0x400 | 1 | (1 << 16));
    m.lp.loadControlState();
    expect(debugTrap(m)).toEqual({ rip: 0, dr6: dr6Bit.B0 });
    expect(m.state.gpr(1)).toBe(1n);
    resume(m);
    expect(m.lp.run(1000)).toBe("idle");
    expect(m.finished).toBe(true);
  });

  it("an instruction breakpoint is met once", () => {
    const m = prepared((asm) => asm.rep.stosb());
    m.state.set("dr0", BigInt(place.code));
    m.state.setLow("dr7", 0x400 | 1);
    m.lp.writeFlags(flagBit.fixed | flagBit.TF);
    m.lp.loadControlState();
    expect(debugTrap(m)).toEqual({ rip: 0, dr6: dr6Bit.B0 });
    m.state.setLow("dr6", 0xffff_0ff0);
    resume(m, flagBit.RF);
    expect(debugTrap(m)).toEqual({ rip: 0, dr6: dr6Bit.BS });
    resume(m);
    expect(debugTrap(m)).toEqual({ rip: 0, dr6: dr6Bit.BS });
  });

  it("an access of an instruction that faults hits nothing", () => {
    const m = prepared((asm) => asm.movsb());
    // The read hits, the write faults.
    m.state.set("dr0", BigInt(place.data));
    m.state.setLow("dr7", 0x400 | 1 | (3 << 16));
    m.state.setGpr(7, 0x8000_0000_0000n);
    m.lp.loadControlState();
    expect(m.lp.run(1000)).toBe("idle");
    expect(m.trap().vector).toBe(Vector.GP);
    expect(m.lp.pendingDebug).toBe(0);
    expect(m.state.low("dr6") & reported).toBe(0);
  });

  it("an NMI between iterations finds RFLAGS.RF set", () => {
    const m = prepared((asm) => asm.rep.stosb());
    const device = 0x8000_0000;
    m.map(BigInt(device), BigInt(device + (PageFlag.present | PageFlag.writable)));
    m.state.setGpr(1, 4096n);
    m.state.setGpr(7, BigInt(device));
    const bytes = new Map<number, number>();
    m.mmio.set = (address, value) => {
      if (bytes.size === 0) m.lp.latchNmi();
      return bytes.set(address, value);
    };
    expect(m.lp.run(1000)).toBe("idle");
    const trap = m.trap();
    expect(trap).toMatchObject({ vector: Vector.NMI, rip: BigInt(place.code) });
    expect(trap.rflags & flagBit.RF).not.toBe(0);
    expect(m.state.gpr(1)).toBe(BigInt(4096 - bytes.size));
    expect(m.state.gpr(1)).toBeGreaterThan(0n);
  });
});
