import { describe, expect, it } from "vitest";
import { dr6Bit, dr7Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { ax, dr0, rbx, ss } from "../../src/isa/assembler-operands.ts";
import { place, selector, TestMachine } from "./test-machine.ts";

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
