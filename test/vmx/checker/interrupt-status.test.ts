import { beforeEach, describe, expect, it } from "vitest";
import { rax, rbx } from "../../../src/isa/assembler-operands.ts";
import { windowBase } from "../../../src/memory/physical-memory.ts";
import { VmcsChecker } from "../../../src/vmx/checker/vmcs-checker.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { ApicMachine } from "../apic-virtualization/apic-machine.ts";
import { encodingOf, vmxPlace } from "../vmx-machine.ts";

let m: ApicMachine;
let checker: VmcsChecker;
beforeEach(() => {
  m = new ApicMachine();
  checker = new VmcsChecker({
    words: m.state.i32,
    windows: [windowBase(m.lp.layout, 0)],
    index: 0,
    clock: m.lp.clock,
    stops: false,
  });
  checker.attach(m.vmx.unit);
  // The machine has loaded its VMCS before anybody listened.
  checker.hear("vmptrld", { lp: 0, vmcs: vmxPlace.vmcs });
  m.hear = checker.hear;
  m.x2apic().delivery();
  m.guest((asm) => asm.vmcall());
});
const found = (): string[] =>
  checker.violations.map(({ invariant, text }) => `${invariant} ${text}`);

/** VMWRITE, as software changes the status. */
function writeStatus(status: number): void {
  const result = m.execute((asm) => {
    asm.mov(rax, encodingOf("guestInterruptStatus"));
    asm.mov(rbx, status);
    asm.vmwrite(rax, rbx);
  });
  expect(result).toBe("succeed");
}
function again(): void {
  m.set("guestRip", vmxPlace.guestCode);
  expect(m.resume().reason).toBe(exitReason.vmcall);
}

describe("invariant 19", () => {
  it("holds while the status changes by VMWRITE and by virtual interrupts alone", () => {
    m.status(0x45).request(0x45);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    m.request(0x61);
    writeStatus(0x61);
    again();
    expect(found()).toEqual([]);
  });

  it("is broken by RVI whose bit is not in VIRR", () => {
    m.status(0x45);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(found()).toEqual(["19 RVI is 69, and VIRR has no such bit"]);
    expect(checker.violations[0]).toMatchObject({ vmcs: vmxPlace.vmcs, instruction: "VMLAUNCH" });
  });

  it("is broken by a status that changes otherwise than through the VMCS", () => {
    m.status(0).request(0x45);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    m.status(0x45);
    again();
    expect(found()).toEqual(["19 its interrupt status was 0x0 and is 0x45"]);
  });

  it("does not count where virtual interrupts are not delivered", () => {
    m.status(0x45).disable("secondary.virtualInterruptDelivery");
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(found()).toEqual([]);
  });
});
