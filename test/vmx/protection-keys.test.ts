import { beforeEach, describe, expect, it } from "vitest";
import { sapphireRapids } from "../../src/cpu/models/sapphire-rapids.ts";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { VmxMachine } from "./vmx-machine.ts";

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
  it("is loaded by VM exit", () => {
    m.enable("exit.loadPkrs").enable("entry.loadPkrs");
    m.set("guestIa32Pkrs", 0x30).set("hostIa32Pkrs", 0x40);
    m.launch();
    expect(m.number("guestIa32Pkrs")).toBe(0x30);
    expect(pkrs()).toBe(0x40);
  });
});
