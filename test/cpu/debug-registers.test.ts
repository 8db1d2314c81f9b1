import { beforeEach, describe, expect, it } from "vitest";
import { cr4Bit, dr6Bit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { dr0, dr3, dr6, dr7, eax, rax, rbx } from "../../src/isa/assembler-operands.ts";
import { BareProcessor } from "./bare-processor.ts";

let lp: BareProcessor;
beforeEach(() => {
  lp = new BareProcessor();
});

function load(register: typeof dr0, value: bigint): number | undefined {
  lp.state.setGpr(0, value);
  return lp.execute64((asm) => asm.mov(register, rax))?.vector;
}
function store(register: typeof dr0): bigint {
  expect(lp.execute64((asm) => asm.mov(rbx, register))).toBeUndefined();
  return lp.state.gpr(3);
}

/** MOV DRn, RAX by the register's number, for those that the assembler does not know. */
function loadNumbered(register: number, value: bigint): number | undefined {
  lp.state.setGpr(0, value);
  return lp.executeBytes(Uint8Array.of(0x0f, 0x23, 0xc0 | (register << 3)))?.vector;
}
/** MOV RBX, DRn. */
function storeNumbered(register: number): number | undefined {
  return lp.executeBytes(Uint8Array.of(0x0f, 0x21, 0xc3 | (register << 3)))?.vector;
}

describe("MOV to and from debug registers", () => {
  it("breakpoint addresses take all 64 bits, canonical or not", () => {
    expect(load(dr0, 0xaaaa_aaaa_aaaa_aaaan)).toBeUndefined();
    expect(load(dr3, 5n)).toBeUndefined();
    expect(store(dr0)).toBe(0xaaaa_aaaa_aaaa_aaaan);
    expect(store(dr3)).toBe(5n);
  });

  it.each([
    [0n, 0xffff_0ff0n],
    [0xffff_ffffn, 0xffff_efffn],
    [0x6002n, 0xffff_6ff2n],
  ])("DR6 keeps what is fixed of it: %s", (value, expected) => {
    expect(load(dr6, value)).toBeUndefined();
    expect(store(dr6)).toBe(expected);
  });

  it.each([
    [0n, 0x400n],
    [0xffff_dfffn, 0xffff_07ffn],
  ])("DR7 keeps what is fixed of it: %s", (value, expected) => {
    expect(load(dr7, value)).toBeUndefined();
    expect(store(dr7)).toBe(expected);
  });

  it.each([dr6, dr7])("faults on bits 63:32 of DR6 and DR7", (register) => {
    expect(load(register, 1n << 32n)).toBe(Vector.GP);
  });

  it("DR4 and DR5 are DR6 and DR7, until debug extensions take them away", () => {
    expect(loadNumbered(4, 1n)).toBeUndefined();
    expect(store(dr6)).toBe(0xffff_0ff1n);
    expect(loadNumbered(5, 0x401n)).toBeUndefined();
    expect(store(dr7)).toBe(0x401n);
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.DE);
    expect(loadNumbered(4, 0n)).toBe(Vector.UD);
    expect(storeNumbered(5)).toBe(Vector.UD);
    expect(load(dr6, 0n)).toBeUndefined();
  });

  it("there is no DR8", () => {
    expect(lp.executeBytes(Uint8Array.of(0x44, 0x0f, 0x23, 0xc0))?.vector).toBe(Vector.UD);
  });

  it("general detection raises #DB with BD, for reads too", () => {
    expect(load(dr7, 0x2400n)).toBeUndefined();
    const fault = lp.execute64((asm) => asm.mov(rbx, dr0));
    expect([fault?.vector, fault?.qualification]).toEqual([Vector.DB, BigInt(dr6Bit.BD)]);
    expect(load(dr6, 0n)).toBe(Vector.DB);
  });

  it("privilege goes before DR4 with debug extensions and before general detection", () => {
    lp.state.setLow("dr7", 0x2400);
    lp.enter("long", 3);
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.DE);
    expect(loadNumbered(4, 0n)).toBe(Vector.GP);
    expect(load(dr0, 0n)).toBe(Vector.GP);
  });

  it("a VM exit goes before all of these", () => {
    const asked: (readonly [number, boolean])[] = [];
    lp.enter("long", 3);
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.DE);
    lp.intercept({
      moveDebug: (register, isRead) => {
        asked.push([register, isRead]);
        lp.state.rip = 0n;
        return true;
      },
    });
    expect(loadNumbered(4, 0n)).toBeUndefined();
    expect(lp.execute64((asm) => asm.mov(rbx, dr7))).toBeUndefined();
    expect(asked).toEqual([
      [4, false],
      [7, true],
    ]);
  });

  it("moves 32 bits outside 64-bit mode", () => {
    lp.enter("protected");
    lp.state.setGpr(0, 0xffff_ffff_1234_5678n);
    expect(lp.executeCode(32, (asm) => asm.mov(dr0, eax))).toBeUndefined();
    expect(lp.state.get("dr0")).toBe(0x1234_5678n);
    expect(lp.executeCode(32, (asm) => asm.mov(eax, dr0))).toBeUndefined();
    expect(lp.state.gpr(0)).toBe(0x1234_5678n);
  });
});
