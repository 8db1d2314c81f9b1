import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../src/cpu/trap.ts";
import { mem64, rax } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { place } from "../cpu/test-machine.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;

const page = 0x6_0000;
const area = 0x6_1000;
const suppress = 1n << 63n;
const handler = place.handlers + Vector.VE * 16;

beforeAll(() => {
  m = new VmxMachine().root().useEpt();
  m.enable("secondary.eptViolationVe").set("virtualizationExceptionInformation", area);
  m.set("eptpIndex", 0x1234);
  m.interruptGate(Vector.VE, 0x8e);
  m.interruptGate(Vector.UD, 0x8e);
  m.assemble(64, (asm) => asm.vmcall(), handler);
  m.write64(m.eptEntry(page), 0n);
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** The guest writes to the page. */
function write(): Exit {
  m.guest((asm) => {
    asm.mov(mem64(page + 8), rax);
    asm.vmcall();
  });
  return m.launch();
}

describe("a virtualization exception", () => {
  it.each([0n, BigInt(page) | 0x31n])("takes the place of an EPT violation: entry %x", (entry) => {
    m.write64(m.eptEntry(page), entry);
    m.write32(area + 32, 0xabcd_0000);
    const exit = write();
    expect(exit).toMatchObject({ reason: exitReason.vmcall, rip: BigInt(handler) });
    expect(m.read64(area)).toBe(0xffff_ffff_0000_0030n);
    expect(m.read64(area + 8)).toBe(0x782n | ((entry & 7n) << 3n));
    expect(m.read64(area + 16)).toBe(BigInt(page + 8));
    expect(m.read64(area + 24)).toBe(BigInt(page + 8));
    expect(m.read64(area + 32) & 0xffff_ffffn).toBe(0xabcd_1234n);
    // No error code: the frame begins with RIP.
    expect(m.read64(m.number("guestRsp"))).toBe(BigInt(vmxPlace.guestCode));
  });

  it("exits when the exception bitmap says so", () => {
    m.set("exceptionBitmap", 1 << Vector.VE);
    const exit = write();
    expect(exit.reason).toBe(exitReason.exceptionOrNmi);
    expect(exit.interruption).toBe(0x8000_0300 + Vector.VE);
  });

  it.each<[string, () => void]>([
    ["the entry suppresses it", () => m.write64(m.eptEntry(page), suppress)],
    ["the page suppresses it", () => m.write64(m.eptEntry(page), BigInt(page) | 0x31n | suppress)],
    ["the area is in use", () => m.write32(area + 4, 1)],
    [
      "there is no memory for the area",
      () => m.set("virtualizationExceptionInformation", 1n << 40n),
    ],
    ["it is off", () => m.disable("secondary.eptViolationVe")],
  ])("does not when %s", (_why, prepare) => {
    prepare();
    expect(write().reason).toBe(exitReason.eptViolation);
    expect(m.number("guestPhysicalAddress")).toBe(page + 8);
  });

  it("does not during the delivery of an event", () => {
    m.set("guestRsp", page + 0x1000);
    m.guest((asm) => asm.ud2());
    expect(m.launch()).toMatchObject({
      reason: exitReason.eptViolation,
      vectoring: 0x8000_0300 + Vector.UD,
    });
    restore();
    m.set("guestRsp", page + 0x1000).set("entryInterruptionInformation", 0x8000_0306);
    expect(m.launch()).toMatchObject({ reason: exitReason.eptViolation, vectoring: 0x8000_0306 });
  });

  it("is none for a misconfiguration", () => {
    m.write64(m.eptEntry(page), BigInt(page) | 0x32n);
    expect(write().reason).toBe(exitReason.eptMisconfiguration);
  });
});
