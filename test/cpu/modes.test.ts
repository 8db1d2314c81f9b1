import { describe, expect, it } from "vitest";
import { flagBit } from "../../src/cpu/register-bits.ts";
import {
  ax,
  bx,
  ds,
  eax,
  ebx,
  mem16,
  mem32,
  mem64,
  rax,
  rbx,
} from "../../src/isa/assembler-operands.ts";
import { place, selector, TestMachine } from "./test-machine.ts";

describe("a program runs and halts", () => {
  it("in real mode", () => {
    const m = new TestMachine().real();
    m.run(16, (asm) => {
      asm.mov(ax, 0x1234);
      asm.mov(bx, 0x1000);
      asm.mov(ds, bx);
      asm.mov(mem16(0x20), ax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.read16(0x1_0020)).toBe(0x1234);
  });

  it("in protected mode", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, 0x1234_5678);
      asm.mov(mem32(place.data), eax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.read32(place.data)).toBe(0x1234_5678);
  });

  it("in 64-bit mode", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.mov(rax, 0x1122_3344_5566_7788n);
      asm.mov(mem64(place.data), rax);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.read64(place.data)).toBe(0x1122_3344_5566_7788n);
  });
});

describe("an undefined instruction", () => {
  it("goes to vector 6 with RF set and no error code", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => asm.ud2());
    expect(m.trap()).toEqual({
      vector: 6,
      errorCode: undefined,
      rip: BigInt(place.code),
      cs: selector.code64,
      rflags: flagBit.fixed | flagBit.RF,
      rsp: BigInt(place.stack0),
      ss: selector.data,
    });
  });

  it("from level 3 switches to the stack of level 0", () => {
    const m = new TestMachine().long64().user();
    m.run(64, (asm) => {
      asm.xor(ebx, ebx);
      asm.mov(rbx, rax);
      asm.ud2();
    });
    const trap = m.trap();
    expect(trap).toMatchObject({ vector: 6, cs: selector.userCode64, ss: selector.userData });
    expect(trap.rsp).toBe(BigInt(place.stack3));
    expect(m.state.gpr(4)).toBe(BigInt(place.innerStack - 40));
    expect(m.state.selector(2)).toBe(0);
    expect(m.state.cpl).toBe(0);
  });

  it("in protected mode", () => {
    const m = new TestMachine().protected32().user();
    m.run(32, (asm) => asm.ud2());
    expect(m.trap()).toMatchObject({ vector: 6, cs: selector.userCode32, ss: selector.userData });
  });

  it("in real mode", () => {
    const m = new TestMachine().real();
    m.run(16, (asm) => asm.ud2());
    expect(m.trap()).toMatchObject({ vector: 6, cs: 0, rip: BigInt(place.code) });
  });
});
