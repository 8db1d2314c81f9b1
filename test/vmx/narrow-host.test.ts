import { beforeEach, describe, expect, it } from "vitest";
import { Activity } from "../../src/execution/lp-window.ts";
import { eax, ebx, ecx, mem32 } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { encodingOf, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
beforeEach(() => {
  m = new VmxMachine(undefined, 32).root();
});

describe("a host in 32-bit mode", () => {
  it("runs a guest and gets back to itself", () => {
    m.guest((asm) => asm.vmcall());
    expect(m.launch()).toMatchObject({
      reason: exitReason.vmcall,
      rip: BigInt(vmxPlace.guestCode),
    });
    expect(m.lp.isLongMode).toBe(false);
    expect(m.state.rights(1)).toBe(0xc09b);
  });

  it("reaches 64-bit fields by halves", () => {
    const tscOffset = encodingOf("tscOffset");
    m.set("tscOffset", 0x1111_2222_3333_4444n);
    m.state.setGpr(1, BigInt(tscOffset));
    expect(m.execute((asm) => asm.vmread(eax, ecx))).toBe("succeed");
    expect(m.state.gpr32(0)).toBe(0x3333_4444);
    m.state.setGpr(1, BigInt(tscOffset + 1));
    expect(m.execute((asm) => asm.vmread(mem32(vmxPlace.pointers), ecx))).toBe("succeed");
    expect(m.read32(vmxPlace.pointers)).toBe(0x1111_2222);
    m.state.setGpr(3, 0xaaaa_bbbbn);
    expect(m.execute((asm) => asm.vmwrite(ecx, ebx))).toBe("succeed");
    expect(m.get("tscOffset")).toBe(0xaaaa_bbbb_3333_4444n);
  });

  it("clears the upper half with a whole write", () => {
    m.set("guestRsp", -1n).set("tscOffset", -1n);
    m.state.setGpr(3, 5n);
    for (const name of ["guestRsp", "tscOffset"] as const) {
      m.state.setGpr(1, BigInt(encodingOf(name)));
      expect(m.execute((asm) => asm.vmwrite(ecx, ebx))).toBe("succeed");
      expect(m.get(name)).toBe(5n);
    }
  });

  it("may not ask for a 64-bit host or guest", () => {
    m.enable("exit.hostAddressSpaceSize");
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 8");
    m.disable("exit.hostAddressSpaceSize").enable("entry.ia32eModeGuest");
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 8");
  });

  it("needs a stack segment and a short RIP", () => {
    m.set("hostSsSelector", 0);
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 8");
    m.set("hostSsSelector", 0x10).set("hostRip", 1n << 32n);
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 8");
  });

  it("aborts when its PDPTEs are malformed at the exit (XMS-03)", () => {
    const directory = 0x5_0000;
    m.write64(directory, 0x23n);
    m.set("hostCr3", directory);
    m.guest((asm) => asm.vmcall());
    m.state.activity = Activity.Active;
    m.run(32, (asm) => asm.vmlaunch(), 100);
    expect(m.read32(vmxPlace.vmcs + 4)).toBe(2);
    expect(m.state.activity).toBe(Activity.Shutdown);
  });
});
