import { beforeEach, describe, expect, it } from "vitest";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
beforeEach(() => {
  m = new VmxMachine().root();
});

describe("a round trip", () => {
  it("leads from VMLAUNCH to the guest and back to the host at VMCALL", () => {
    m.guest((asm) => asm.vmcall());
    const exit = m.launch();
    expect(exit).toMatchObject({
      reason: exitReason.vmcall,
      entryFailure: false,
      rip: BigInt(vmxPlace.guestCode),
      length: 3,
      qualification: 0n,
    });
  });
});
