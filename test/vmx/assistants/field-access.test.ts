import { beforeEach, describe, expect, it } from "vitest";
import { lpOffset } from "../../../src/execution/lp-window.ts";
import { rax, rbx, rcx } from "../../../src/isa/assembler-operands.ts";
import { assistantOffset } from "../../../src/vmx/assistants/assistant-window.ts";
import { fieldBit, fieldEntryOffset } from "../../../src/vmx/assistants/field-table.ts";
import { slot, vmcsFields } from "../../../src/vmx/vmcs-fields.ts";
import { VmxMachine } from "../vmx-machine.ts";

/** Handlers alone, without the assistants. */
function unassisted(): VmxMachine {
  const m = new VmxMachine().root();
  m.state.write32(assistantOffset.vmcs, 0);
  return m;
}
function setRegisters(m: VmxMachine, encoding: bigint, value: bigint): void {
  m.state.setGpr(0, value);
  m.state.setGpr(1, encoding);
  m.state.setGpr(3, value);
}
/** What an access has left: how it ended, the register read, the whole VMCS, what is to be checked again. */
function outcome(m: VmxMachine, result: string) {
  const { vmcs } = m.vmx.unit;
  const words = Array.from(vmcs.u32.subarray(vmcs.base, vmcs.base + 512));
  return { result, rax: m.state.gpr(0), words, dirty: vmcs.dirty, live: vmcs.live };
}

const encodings = [
  ...vmcsFields.map((field) => BigInt(field.encoding)),
  ...vmcsFields.map((field) => BigInt(field.encoding | 1)),
  0x0880n,
  0x1000n,
  0x6c7en,
  0x8000n,
  0x4402_0000_4402n,
  0x1_0000_681en,
  -1n,
];
const value = 0xfedc_ba98_7654_3210n;

describe("assistants of VMREAD and VMWRITE", () => {
  let assisted: VmxMachine;
  let plain: VmxMachine;
  beforeEach(() => {
    assisted = new VmxMachine().root();
    plain = unassisted();
  });

  it("do what the handlers do, for every encoding", () => {
    for (const encoding of encodings) {
      const outcomes = [assisted, plain].map((m) => {
        m.vmx.unit.vmcs.held(-1, 0);
        setRegisters(m, encoding, value ^ encoding);
        const written = m.execute((asm) => asm.vmwrite(rcx, rbx));
        const afterWrite = outcome(m, written);
        setRegisters(m, encoding, 0n);
        const read = m.execute((asm) => asm.vmread(rax, rcx));
        return [afterWrite, outcome(m, read)];
      });
      expect(outcomes[0], `encoding ${encoding.toString(16)}`).toEqual(outcomes[1]);
    }
  });

  it("execute what they know without the handlers", () => {
    // The assistants look here, the handlers do not.
    const at = assistantOffset.fields + fieldEntryOffset(0x681e);
    const entry = assisted.state.read32(at);
    assisted.state.write32(at, (entry & ~fieldBit.offsetMask) | (slot.guestRsp * 4));
    assisted.set("guestRsp", 7);
    setRegisters(assisted, 0x681en, 0n);
    expect(assisted.execute((asm) => asm.vmread(rax, rcx))).toBe("succeed");
    expect(assisted.state.gpr(0)).toBe(7n);
  });

  it("leave everything to the handlers above privilege level 0", () => {
    assisted.state.write32(lpOffset.cpl, 3);
    setRegisters(assisted, 0x681en, 0n);
    expect(assisted.execute((asm) => asm.vmread(rax, rcx))).toMatch(/^fault/);
  });
});
