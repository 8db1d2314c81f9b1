import { beforeEach, describe, expect, it, vi } from "vitest";
import { sapphireRapids } from "../../src/cpu/models/sapphire-rapids.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
beforeEach(() => {
  m = new VmxMachine(sapphireRapids).root();
  m.guest((asm) => asm.vmcall());
  m.lp.addressSpace.loadKeys(lpOffset.pkrs, 0x10);
});
const pkrs = (): number => m.state.read32(lpOffset.pkrs);

describe("IA32_PKRS", () => {
  it("is loaded by VM entry, and saved by VM exit", () => {
    m.enable("entry.loadPkrs").set("guestIa32Pkrs", 0x30);
    m.launch();
    expect(m.number("guestIa32Pkrs")).toBe(0x30);
    expect(pkrs()).toBe(0x30);
  });
  it("is saved by VM exit though it was not loaded", () => {
    m.set("guestIa32Pkrs", 0x30);
    m.launch();
    expect(m.number("guestIa32Pkrs")).toBe(0x10);
  });
  it("is saved by VM exits that only move words, too", () => {
    const steady = new VmxMachine(sapphireRapids, 64, undefined, false).root();
    steady.guest((asm) => asm.vmcall());
    steady.lp.addressSpace.loadKeys(lpOffset.pkrs, 0x10);
    const handled = vi.spyOn(steady.vmx.exits, "instruction");
    steady.launch();
    for (let round = 0; round < 4; round++) {
      steady.set("guestRip", vmxPlace.guestCode).set("guestIa32Pkrs", 0x30);
      steady.resume();
      expect(steady.number("guestIa32Pkrs")).toBe(0x10);
    }
    expect(handled).toHaveBeenCalledTimes(1);
  });
  it("is loaded by VM exit", () => {
    m.enable("exit.loadPkrs").enable("entry.loadPkrs");
    m.set("guestIa32Pkrs", 0x30).set("hostIa32Pkrs", 0x40);
    m.launch();
    expect(m.number("guestIa32Pkrs")).toBe(0x30);
    expect(pkrs()).toBe(0x40);
  });
});
