import { describe, expect, it } from "vitest";
import { flagBit } from "../../src/cpu/register-bits.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { mem64, rax } from "../../src/isa/assembler-operands.ts";
import { noExecute, PageFlag, place, selector, TestMachine } from "./test-machine.ts";

/** The last page of the lower canonical half: a short branch forwards leaves it. */
const edge = 0x7fff_ffff_f000n;
const outside = 0x8000_0000_0000n;
const zero = flagBit.fixed | 0x40;
type Write = (asm: Assembler) => void;

function atEdge(bytes: readonly number[], flags: number = flagBit.fixed): TestMachine {
  const m = new TestMachine().long64();
  const all = PageFlag.present | PageFlag.writable | PageFlag.user;
  m.map(edge, BigInt(place.data + all));
  m.load(place.data + 0xf80, Uint8Array.from(bytes));
  m.state.rip = edge + 0xf80n;
  m.lp.writeFlags(flags);
  m.lp.loadControlState();
  m.lp.run(100);
  return m;
}
const faultsAtItself = (m: TestMachine): void => {
  expect(m.trap()).toMatchObject({ vector: Vector.GP, errorCode: 0, rip: edge + 0xf80n });
};

describe("direct near branches across the end of the canonical addresses", () => {
  const forward = 0x7e;
  const hlt = 0xf4;

  it("JMP faults by itself", () => faultsAtItself(atEdge([0xeb, forward])));

  it("CALL faults by itself and pushes nothing", () => {
    const m = atEdge([0xe8, 0x80, 0, 0, 0]);
    faultsAtItself(m);
    expect(m.trap().rsp).toBe(BigInt(place.stack0));
  });

  it.each(Array.from({ length: 16 }, (_, code) => code))(
    "Jcc %i faults when taken, and only then",
    (code) => {
      for (const flags of [
        flagBit.fixed,
        zero,
        zero | 1,
        flagBit.fixed | 0x80,
        flagBit.fixed | 0x804,
      ]) {
        const inside = new TestMachine().long64();
        inside.load(place.code, Uint8Array.of(0x70 | code, 1, hlt, hlt));
        inside.lp.writeFlags(flags);
        inside.lp.run(100);
        const isTaken = Number(inside.state.rip) === place.code + 4;
        const m = atEdge([0x70 | code, forward, hlt], flags);
        if (isTaken) {
          faultsAtItself(m);
        } else {
          expect(m.state.rip).toBe(edge + 0xf83n);
        }
      }
    },
  );

  it.each([
    ["LOOP", 0xe2, flagBit.fixed],
    ["LOOPE", 0xe1, zero],
    ["LOOPNE", 0xe0, flagBit.fixed],
  ] as const)("%s counts only when it is not taken", (_name, opcode, flags) => {
    // RCX is 0 at first.
    const taken = atEdge([opcode, forward], flags);
    faultsAtItself(taken);
    expect(taken.state.gpr(1)).toBe(0n);
    // MOV ECX, 1
    const m = atEdge([0xb9, 1, 0, 0, 0, opcode, forward, hlt], flags);
    expect(m.state.rip).toBe(edge + 0xf88n);
    expect(m.state.gpr(1)).toBe(0n);
  });

  it("JRCXZ faults when taken", () => faultsAtItself(atEdge([0xe3, forward])));
});

describe("indirect near branches to an address that is not canonical", () => {
  const branches: [string, Write][] = [
    ["JMP", (asm) => asm.jmp(rax)],
    ["JMP through memory", (asm) => asm.jmp(mem64(place.data))],
    ["CALL", (asm) => asm.call(rax)],
    ["CALL through memory", (asm) => asm.call(mem64(place.data))],
    ["RET", (asm) => asm.ret()],
    ["RET imm16", (asm) => asm.ret(16)],
  ];
  it.each(branches)("%s faults by itself and leaves RSP", (_name, write) => {
    const m = new TestMachine().long64();
    m.state.setGpr(0, outside);
    m.write64(place.data, outside);
    m.write64(place.stack0, outside);
    m.run(64, write);
    const at = BigInt(place.code);
    expect(m.trap()).toMatchObject({ vector: Vector.GP, errorCode: 0, rip: at });
    expect(m.trap().rsp).toBe(BigInt(place.stack0));
  });

  it("a canonical target that is not mapped faults at the target", () => {
    const m = new TestMachine().long64();
    m.map(0x10_0000n, noExecute);
    m.state.setGpr(0, 0x10_0000n);
    m.run(64, (asm) => asm.jmp(rax));
    expect(m.trap()).toMatchObject({ vector: Vector.PF, rip: 0x10_0000n });
  });
});

describe("near branches beyond CS.limit", () => {
  const limit = place.code + 0xff;
  const limited = (): TestMachine => {
    const m = new TestMachine().protected32();
    setSegment(m.state, Segment.CS, selector.code32, 0x409b, limit, 0n);
    m.lp.loadControlState();
    return m;
  };
  const branches: [string, number[]][] = [
    ["JMP rel32", [0xe9, 0x00, 0x10, 0, 0]],
    ["CALL rel32", [0xe8, 0x00, 0x10, 0, 0]],
    ["JNE rel32", [0x0f, 0x85, 0x00, 0x10, 0, 0]],
    ["JMP EAX", [0xff, 0xe0]],
    ["CALL EAX", [0xff, 0xd0]],
    ["RET", [0xc3]],
  ];
  it.each(branches)("%s faults by itself", (_name, bytes) => {
    const m = limited();
    m.load(place.code, Uint8Array.from(bytes));
    m.state.setGpr32(0, limit + 1);
    m.write32(place.stack0, limit + 1);
    m.lp.run(100);
    expect(m.exceptions).toEqual([{ vector: Vector.GP, errorCode: 0 }]);
    expect(m.trap()).toMatchObject({ vector: Vector.GP, rip: BigInt(place.code) });
  });
});
