import { describe, expect, it } from "vitest";
import { sapphireRapids } from "../../src/cpu/models/sapphire-rapids.ts";
import { cr0Bit, cr4Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { cr4, eax, ecx, edx, mem32, rax } from "../../src/isa/assembler-operands.ts";
import { PageFlag, place, TestMachine } from "./test-machine.ts";

const { present, writable, user } = PageFlag;
const page = place.data;
const key = 5;
const error = { present: 1, write: 2, user: 4, key: 32 } as const;
const accessDisable = 1 << (key * 2);
const writeDisable = 2 << (key * 2);

interface Case {
  readonly name: string;
  readonly isUserPage: boolean;
  readonly isUser: boolean;
  readonly write: boolean;
  readonly bits: number;
  readonly writeProtect?: false;
  /** Undefined: no fault. */
  readonly error: number | undefined;
}
const protection = error.present | error.key;
/** "Protection Keys": user pages by PKRU, supervisor pages by IA32_PKRS. */
const cases: readonly Case[] = [
  { name: "another key", isUserPage: true, isUser: true, write: true, bits: 3, error: undefined },
  {
    name: "no access",
    isUserPage: true,
    isUser: true,
    write: false,
    bits: accessDisable,
    error: protection | error.user,
  },
  {
    name: "no access",
    isUserPage: true,
    isUser: true,
    write: true,
    bits: accessDisable,
    error: protection | error.user | error.write,
  },
  {
    name: "no access",
    isUserPage: true,
    isUser: false,
    write: false,
    bits: accessDisable,
    error: protection,
  },
  {
    name: "no writes",
    isUserPage: true,
    isUser: true,
    write: false,
    bits: writeDisable,
    error: undefined,
  },
  {
    name: "no writes",
    isUserPage: true,
    isUser: true,
    write: true,
    bits: writeDisable,
    error: protection | error.user | error.write,
  },
  {
    name: "no writes",
    isUserPage: true,
    isUser: false,
    write: true,
    bits: writeDisable,
    error: protection | error.write,
  },
  {
    name: "no writes, CR0.WP clear",
    isUserPage: true,
    isUser: false,
    write: true,
    bits: writeDisable,
    writeProtect: false,
    error: undefined,
  },
  {
    name: "no writes, CR0.WP clear",
    isUserPage: true,
    isUser: true,
    write: true,
    bits: writeDisable,
    writeProtect: false,
    error: protection | error.user | error.write,
  },
  {
    name: "no access",
    isUserPage: false,
    isUser: false,
    write: false,
    bits: accessDisable,
    error: protection,
  },
  {
    name: "no writes",
    isUserPage: false,
    isUser: false,
    write: true,
    bits: writeDisable,
    error: protection | error.write,
  },
  {
    name: "no writes",
    isUserPage: false,
    isUser: false,
    write: false,
    bits: writeDisable,
    error: undefined,
  },
];

/** A page with the key, in a machine with both kinds of keys. */
function machine(isUserPage: boolean): TestMachine {
  const m = new TestMachine(sapphireRapids).long64();
  const flags = present | writable | (isUserPage ? user : 0);
  m.map(BigInt(page), BigInt(page | flags) | (BigInt(key) << 59n));
  m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.PKE | cr4Bit.PKS);
  m.lp.loadControlState();
  return m;
}

describe("protection keys", () => {
  it.each(cases)("$name: user page $isUserPage, user mode $isUser, write $write", (each) => {
    const m = machine(each.isUserPage);
    // The other register denies everything, and does not count.
    m.lp.addressSpace.loadKeys(lpOffset.pkru, each.isUserPage ? each.bits : -1 >>> 0);
    m.lp.addressSpace.loadKeys(lpOffset.pkrs, each.isUserPage ? 0 : each.bits);
    if (each.writeProtect === false) {
      m.state.setLow("cr0", (m.state.low("cr0") & ~cr0Bit.WP) >>> 0);
      m.lp.loadControlState();
    }
    // All other pages have key 0.
    m.lp.addressSpace.loadKeys(lpOffset.pkru, m.state.read32(lpOffset.pkru) & ~3);
    if (each.isUser) m.user();
    m.run(64, (asm) => {
      if (each.write) asm.mov(mem32(page), eax);
      else asm.mov(eax, mem32(page));
      asm.int(0x80);
    });
    if (each.error === undefined) {
      expect(m.finished).toBe(true);
    } else {
      expect(m.trap()).toMatchObject({ vector: Vector.PF, errorCode: each.error });
    }
  });

  it("do not count for fetches", () => {
    const m = machine(true);
    m.lp.addressSpace.loadKeys(lpOffset.pkru, accessDisable);
    m.user();
    m.load(page, Uint8Array.of(0xcd, 0x80));
    m.state.rip = BigInt(page);
    expect(m.lp.run(100)).toBe("idle");
    expect(m.finished).toBe(true);
  });

  it("take effect at once, though the TLB knows the page", () => {
    const m = machine(true).user();
    m.run(64, (asm) => {
      asm.mov(eax, mem32(page));
      asm.mov(eax, accessDisable);
      asm.xor(ecx, ecx);
      asm.xor(edx, edx);
      asm.wrpkru();
      asm.mov(eax, mem32(page));
    });
    expect(m.trap()).toMatchObject({ vector: Vector.PF, errorCode: protection | error.user });
    expect(m.state.get("cr2")).toBe(BigInt(page));
  });

  it("do not count without CR4.PKE and CR4.PKS", () => {
    const m = machine(true);
    m.lp.addressSpace.loadKeys(lpOffset.pkru, accessDisable);
    m.run(64, (asm) => {
      asm.mov(rax, cr4);
      asm.btr(rax, 22);
      asm.mov(cr4, rax);
      asm.mov(eax, mem32(page));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
  });
});

describe("RDPKRU and WRPKRU", () => {
  const run = (ecxValue: bigint, edxValue: bigint, isOn = true): TestMachine => {
    const m = machine(true);
    if (!isOn) {
      m.state.setLow("cr4", m.state.low("cr4") & ~cr4Bit.PKE);
      m.lp.loadControlState();
    }
    m.state.setGpr(0, 0x1234_5670n);
    m.state.setGpr(1, ecxValue);
    m.state.setGpr(2, edxValue);
    m.lp.writeFlags(flagBit.fixed);
    m.run(64, (asm) => {
      asm.wrpkru();
      asm.mov(eax, -1);
      asm.rdpkru();
      asm.hlt();
    });
    return m;
  };
  it("write and read the register", () => {
    const m = run(0n, 0n);
    expect(m.finished).toBe(true);
    expect([m.state.gpr(0), m.state.gpr(2)]).toEqual([0x1234_5670n, 0n]);
  });
  it.each([
    ["ECX is not 0", 1n, 0n, true, Vector.GP],
    ["EDX is not 0", 0n, 1n, true, Vector.GP],
    ["CR4.PKE is clear", 0n, 0n, false, Vector.UD],
  ] as const)("fault when %s", (_name, ecxValue, edxValue, isOn, vector) => {
    expect(run(ecxValue, edxValue, isOn).trap().vector).toBe(vector);
  });
});

describe("IA32_PKRS", () => {
  it("takes 32 bits", () => {
    const m = machine(false);
    expect(m.lp.msrs.write(0x6e1, 0xffff_fff0n)).toBe(true);
    expect(m.lp.msrs.read(0x6e1)).toBe(0xffff_fff0n);
    expect(m.lp.msrs.write(0x6e1, 1n << 32n)).toBe(false);
  });
  it("is not there where supervisor keys are not", () => {
    expect(new TestMachine().long64().lp.msrs.read(0x6e1)).toBeUndefined();
  });
});

it("CPUID tells whether keys are on", () => {
  const m = machine(true);
  const ospke = 1 << 4;
  expect(m.lp.cpuid.query(7, 0).ecx & ospke).not.toBe(0);
  m.state.setLow("cr4", m.state.low("cr4") & ~cr4Bit.PKE);
  expect(m.lp.cpuid.query(7, 0).ecx & ospke).toBe(0);
});
