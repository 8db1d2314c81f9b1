import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { rax } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;

const page = 0x6_0000;
const Right = { read: 1n, write: 2n, execute: 4n, userExecute: 0x400n } as const;
const writeBack = 0x30n;
const ramEntries = 1024;

beforeAll(() => {
  m = new VmxMachine().root().useEpt();
  for (const level of [1, 2, 3]) {
    grantUsers(m.eptEntry(page, level));
  }
  grantUsers(m.eptEntry(0x20_0000, 1));
  for (let n = 0; n < ramEntries; n++) {
    grantUsers(m.eptEntry(n * 0x1000));
  }
  m.enable("secondary.modeBasedExecuteControlForEpt");
  restore = m.checkpoint();
});
beforeEach(() => restore());

function grantUsers(at: number): void {
  m.write64(at, m.read64(at) | Right.userExecute);
}
const entry = (rights: bigint): void =>
  m.write64(m.eptEntry(page), BigInt(page) | rights | (rights === 0n ? 0n : writeBack));

/** The guest calls code in the page, whose linear address its own paging gives to users or to the supervisor. */
function fetch(isUser: boolean): Exit {
  m.map(BigInt(page), BigInt(page) | (isUser ? 7n : 3n));
  m.state.u8[page] = 0xc3;
  m.guest((asm) => {
    asm.mov(rax, BigInt(page));
    asm.call(rax);
    asm.vmcall();
  });
  return m.launch();
}

/** Qualification of an access through a writable page. */
const translated = (isUser: boolean): bigint => (isUser ? 0x780n : 0x580n);

describe("mode-based execute control", () => {
  it.each([
    ["the supervisor", Right.read | Right.execute, false, true],
    ["the supervisor", Right.read | Right.userExecute, false, false],
    ["users", Right.read | Right.execute, true, false],
    ["users", Right.read | Right.userExecute, true, true],
    ["the supervisor, execute-only", Right.execute, false, true],
    ["users, execute-only", Right.userExecute, true, true],
  ])("lets %s execute by its own bit: %x", (_who, rights, isUser, isAllowed) => {
    entry(rights);
    const exit = fetch(isUser);
    if (isAllowed) {
      expect(exit.reason).toBe(exitReason.vmcall);
      return;
    }
    expect(exit.reason).toBe(exitReason.eptViolation);
    const shown = ((rights & 7n) << 3n) | ((rights & Right.userExecute) >> 4n);
    expect(exit.qualification).toBe(4n | shown | translated(isUser));
  });

  it("counts the bit on every level", () => {
    const upper = m.eptEntry(page, 1);
    entry(7n | Right.userExecute);
    m.write64(upper, m.read64(upper) & ~Right.userExecute);
    // The guest's code lies under the same entry and belongs to users.
    const exit = fetch(true);
    expect(exit).toMatchObject({ reason: exitReason.eptViolation, qualification: 0x7bcn });
    expect(m.number("guestPhysicalAddress")).toBe(vmxPlace.guestCode);
  });

  it("makes an entry present that users may execute, and malformed if it may be written only", () => {
    entry(Right.userExecute | Right.write);
    expect(fetch(true).reason).toBe(exitReason.eptMisconfiguration);
    restore();
    entry(0n);
    expect(fetch(true)).toMatchObject({
      reason: exitReason.eptViolation,
      qualification: 4n | translated(true),
    });
  });

  it("tells apart by what is remembered too", () => {
    entry(Right.read | Right.execute);
    expect(fetch(false).reason).toBe(exitReason.vmcall);
    m.set("guestRip", vmxPlace.guestCode);
    m.map(BigInt(page), BigInt(page) | 7n);
    m.lp.addressSpace.invalidateAll();
    expect(m.resume().reason).toBe(exitReason.eptViolation);
  });

  it.each([
    [Right.userExecute, exitReason.vmcall],
    [Right.execute, exitReason.eptViolation],
  ])(
    "takes every address for one of user mode where the guest does not page: %x",
    (right, reason) => {
      m.enable("secondary.unrestrictedGuest").disable("entry.ia32eModeGuest");
      m.set("guestCr0", m.get("guestCr0") & ~0x8000_0000n).set("guestIa32Efer", 0);
      m.set("guestCsAccessRights", 0xc09b).set("guestSsAccessRights", 0xc093);
      const code = vmxPlace.guestCode;
      m.write64(m.eptEntry(code), BigInt(code) | Right.read | Right.write | right | writeBack);
      m.guest((asm) => asm.vmcall(), 32);
      expect(m.launch().reason).toBe(reason);
    },
  );

  it("ignores the bit when it is off", () => {
    m.disable("secondary.modeBasedExecuteControlForEpt");
    entry(Right.read | Right.execute);
    expect(fetch(true).reason).toBe(exitReason.vmcall);
    restore();
    m.disable("secondary.modeBasedExecuteControlForEpt");
    entry(Right.userExecute);
    expect(fetch(true)).toMatchObject({
      reason: exitReason.eptViolation,
      qualification: 4n | translated(true),
    });
  });
});
