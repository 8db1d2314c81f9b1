import { beforeEach, describe, expect, it } from "vitest";
import { penryn } from "../../src/cpu/models/penryn.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import { Vector } from "../../src/cpu/trap.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { cr4, mem64, mem128, rax, rbx, rcx, rdx } from "../../src/isa/assembler-operands.ts";
import { type FieldName, vmcsFields } from "../../src/vmx/vmcs-fields.ts";
import { encodingOf, VmxMachine, type VmxResult, vmxPlace } from "./vmx-machine.ts";

const operand = mem64(vmxPlace.pointers);
const beyondWidth = 1n << BigInt(skylakeServer.physicalAddressBits);

let m: VmxMachine;
beforeEach(() => {
  m = new VmxMachine();
});

/** Every VMX instruction but VMXON, with harmless operands. */
const instructions: readonly (readonly [string, (asm: Assembler) => unknown])[] = [
  ["VMCALL", (asm) => asm.vmcall()],
  ["VMCLEAR", (asm) => asm.vmclear(operand)],
  ["VMLAUNCH", (asm) => asm.vmlaunch()],
  ["VMPTRLD", (asm) => asm.vmptrld(operand)],
  ["VMPTRST", (asm) => asm.vmptrst(operand)],
  ["VMREAD", (asm) => asm.vmread(rax, rcx)],
  ["VMRESUME", (asm) => asm.vmresume()],
  ["VMWRITE", (asm) => asm.vmwrite(rcx, rax)],
  ["VMXOFF", (asm) => asm.vmxoff()],
  ["INVEPT", (asm) => asm.invept(rax, mem128(vmxPlace.pointers))],
  ["INVVPID", (asm) => asm.invvpid(rax, mem128(vmxPlace.pointers))],
];

describe("VMX instructions", () => {
  it.each(instructions)("%s outside VMX operation is undefined", (_name, write) => {
    m.ready();
    expect(m.execute((asm) => void write(asm))).toBe(`fault ${Vector.UD}`);
  });

  it.each(instructions)("%s needs privilege level 0", (_name, write) => {
    m.on().user();
    expect(m.execute((asm) => void write(asm))).toBe(`fault ${Vector.GP}`);
  });

  it.each([
    ["INVEPT", (asm: Assembler) => asm.invept(rax, mem128(vmxPlace.pointers))],
    ["INVVPID", (asm: Assembler) => asm.invvpid(rax, mem128(vmxPlace.pointers))],
  ])("%s does not exist without EPT and VPIDs", (_name, write) => {
    const old = new VmxMachine(penryn).on();
    expect(old.execute((asm) => void write(asm))).toBe(`fault ${Vector.UD}`);
  });
});

describe("VMXON", () => {
  const vmxon = (): VmxResult => m.execute((asm) => asm.vmxon(operand));
  beforeEach(() => {
    m.ready().pointTo(vmxPlace.vmxonRegion);
  });

  it("enters VMX operation, without a current VMCS", () => {
    expect(vmxon()).toBe("succeed");
    expect(m.vmx.unit.isOn).toBe(true);
    expect(m.execute((asm) => asm.vmread(rax, rcx))).toBe("fail-invalid");
  });

  it("is undefined without CR4.VMXE", () => {
    m.state.setLow("cr4", m.state.low("cr4") & ~0x2000);
    expect(vmxon()).toBe(`fault ${Vector.UD}`);
  });

  it("needs privilege level 0", () => {
    m.user();
    expect(vmxon()).toBe(`fault ${Vector.GP}`);
  });

  it.each([
    ["unlocked", 4n],
    ["locked and off", 1n],
    ["unlocked and off", 0n],
  ])("needs IA32_FEATURE_CONTROL, not %s", (_what, value) => {
    m.state.set("featureControl", value);
    expect(vmxon()).toBe(`fault ${Vector.GP}`);
  });

  it("needs the bits of CR0 that VMX fixes", () => {
    m.state.setLow("cr0", m.state.low("cr0") & ~0x20);
    expect(vmxon()).toBe(`fault ${Vector.GP}`);
  });

  it.each([
    ["that is not page-aligned", BigInt(vmxPlace.vmxonRegion + 0x10)],
    ["beyond the physical-address width", beyondWidth],
  ])("refuses a region %s", (_what, address) => {
    m.pointTo(address);
    expect(vmxon()).toBe("fail-invalid");
  });

  it("refuses a region with another revision identifier, or the shadow indicator", () => {
    m.write32(vmxPlace.vmxonRegion, m.revision + 1);
    expect(vmxon()).toBe("fail-invalid");
    m.write32(vmxPlace.vmxonRegion, m.revision | 0x8000_0000);
    expect(vmxon()).toBe("fail-invalid");
  });

  it("fails in root operation, with a number if there is a VMCS to hold it", () => {
    expect(vmxon()).toBe("succeed");
    expect(vmxon()).toBe("fail-invalid");
    m.current(vmxPlace.vmcs);
    expect(vmxon()).toBe("fail-valid 15");
  });
});

describe("VMXOFF", () => {
  it("leaves VMX operation, and writes back what is cached", () => {
    m.root();
    expect(m.execute((asm) => asm.vmxoff())).toBe("succeed");
    expect(m.vmx.unit.isOn).toBe(false);
    m.pointTo(vmxPlace.vmxonRegion);
    expect(m.execute((asm) => asm.vmxon(operand))).toBe("succeed");
    m.pointTo(vmxPlace.vmcs);
    expect(m.execute((asm) => asm.vmptrld(operand))).toBe("succeed");
    expect(m.get("guestRip")).toBe(BigInt(vmxPlace.guestCode));
  });

  it("lets go of CR0 and CR4", () => {
    m.on();
    const clearVmxe = (asm: Assembler): void => {
      asm.mov(rax, BigInt(m.state.low("cr4") & ~0x2000));
      asm.mov(cr4, rax);
    };
    expect(m.execute(clearVmxe)).toBe(`fault ${Vector.GP}`);
    expect(
      m.execute((asm) => {
        asm.vmxoff();
        clearVmxe(asm);
      }),
    ).toBe("succeed");
  });
});

describe("VMCLEAR", () => {
  const vmclear = (): VmxResult => m.execute((asm) => asm.vmclear(operand));
  beforeEach(() => {
    m.root();
  });

  it.each([
    ["a misaligned address", BigInt(vmxPlace.vmcs + 8), 2],
    ["an address beyond the width", beyondWidth, 2],
    ["the VMXON region", BigInt(vmxPlace.vmxonRegion), 3],
  ])("refuses %s", (_what, address, error) => {
    m.pointTo(address);
    expect(vmclear()).toBe(`fail-valid ${error}`);
  });

  it("makes the current VMCS no longer current, and clear", () => {
    m.guest((asm) => asm.vmcall()).launch();
    m.pointTo(vmxPlace.vmcs);
    expect(vmclear()).toBe("succeed");
    expect(m.execute((asm) => asm.vmread(rax, rcx))).toBe("fail-invalid");
    expect(m.execute((asm) => asm.vmptrld(operand))).toBe("succeed");
    expect(m.execute((asm) => asm.vmresume())).toBe("fail-valid 5");
  });

  it("leaves another VMCS current", () => {
    m.pointTo(vmxPlace.otherVmcs);
    expect(vmclear()).toBe("succeed");
    expect(m.vmx.unit.vmcs.currentPointer).toBe(vmxPlace.vmcs);
  });

  it("does not look at the revision identifier", () => {
    m.write32(vmxPlace.otherVmcs, 0x1234);
    m.pointTo(vmxPlace.otherVmcs);
    expect(vmclear()).toBe("succeed");
  });
});

describe("VMPTRLD", () => {
  const vmptrld = (): VmxResult => m.execute((asm) => asm.vmptrld(operand));
  beforeEach(() => {
    m.root();
  });

  it.each([
    ["a misaligned address", BigInt(vmxPlace.vmcs + 0x800), 9],
    ["an address beyond the width", beyondWidth, 9],
    ["the VMXON region", BigInt(vmxPlace.vmxonRegion), 10],
    ["a region outside RAM", 0x8000_0000n, 11],
  ])("refuses %s", (_what, address, error) => {
    m.pointTo(address);
    expect(vmptrld()).toBe(`fail-valid ${error}`);
  });

  it("refuses another revision identifier", () => {
    m.write32(vmxPlace.otherVmcs, m.revision + 1);
    m.pointTo(vmxPlace.otherVmcs);
    expect(vmptrld()).toBe("fail-valid 11");
  });

  it("switches between VMCSs that keep their contents", () => {
    m.set("guestRsp", 0x1111);
    m.current(vmxPlace.otherVmcs).set("guestRsp", 0x2222);
    m.pointTo(vmxPlace.vmcs);
    expect(vmptrld()).toBe("succeed");
    expect(m.get("guestRsp")).toBe(0x1111n);
  });
});

describe("VMPTRST", () => {
  it("stores the pointer, or all ones", () => {
    m.on();
    expect(m.execute((asm) => asm.vmptrst(operand))).toBe("succeed");
    expect(m.read64(vmxPlace.pointers)).toBe(0xffff_ffff_ffff_ffffn);
    m.current(vmxPlace.vmcs);
    expect(m.execute((asm) => asm.vmptrst(operand))).toBe("succeed");
    expect(m.read64(vmxPlace.pointers)).toBe(BigInt(vmxPlace.vmcs));
  });
});

describe("VMCALL in root operation", () => {
  it("fails", () => {
    m.root();
    expect(m.execute((asm) => asm.vmcall())).toBe("fail-valid 1");
  });
});

describe("VMREAD and VMWRITE", () => {
  beforeEach(() => {
    m.root();
  });

  function write(encoding: bigint | number, value: bigint): VmxResult {
    m.state.setGpr(1, BigInt(encoding));
    m.state.setGpr(3, value);
    return m.execute((asm) => asm.vmwrite(rcx, rbx));
  }
  function read(encoding: bigint | number): bigint | VmxResult {
    m.state.setGpr(1, BigInt(encoding));
    m.state.setGpr(0, 0xdead_beef_dead_beefn);
    const result = m.execute((asm) => asm.vmread(rax, rcx));
    return result === "succeed" ? m.state.gpr(0) : result;
  }
  const all = 0x8765_4321_fedc_ba98n;

  it("reach every field that exists, as wide as it is, and no other", () => {
    const { fieldExists } = m.vmx.unit.profile;
    for (const { name, encoding, width, slot } of vmcsFields) {
      if (fieldExists[slot] === 0) {
        expect(write(encoding, all), name).toBe("fail-valid 12");
        expect(read(encoding), name).toBe("fail-valid 12");
        continue;
      }
      const kept = width === 64 || width === "natural" ? all : BigInt.asUintN(width, all);
      expect(write(encoding, all), name).toBe("succeed");
      expect(read(encoding), name).toBe(kept);
    }
  });

  it("reach the halves of a 64-bit field", () => {
    const tscOffset = encodingOf("tscOffset");
    write(tscOffset, all);
    expect(read(tscOffset + 1)).toBe(0x8765_4321n);
    expect(write(tscOffset + 1, 0xffff_ffff_0000_0001n)).toBe("succeed");
    expect(read(tscOffset)).toBe(0x1_fedc_ba98n);
    expect(read(encodingOf("guestRip") + 1)).toBe("fail-valid 12");
  });

  it("refuse an encoding with high bits", () => {
    const rip = BigInt(encodingOf("guestRip"));
    expect(read(rip | (1n << 40n))).toBe("fail-valid 12");
    expect(write(rip | (1n << 63n), 1n)).toBe("fail-valid 12");
    expect(write(rip | (1n << 15n), 1n)).toBe("fail-valid 12");
  });

  it("have operands in memory", () => {
    m.write64(vmxPlace.pointers, all);
    m.state.setGpr(1, BigInt(encodingOf("guestRsp")));
    expect(m.execute((asm) => asm.vmwrite(rcx, operand))).toBe("succeed");
    expect(m.get("guestRsp")).toBe(all);
    m.write64(vmxPlace.pointers, 0n);
    expect(m.execute((asm) => asm.vmread(operand, rcx))).toBe("succeed");
    expect(m.read64(vmxPlace.pointers)).toBe(all);
  });

  it("fault for a memory operand that is not there, before the field is looked at", () => {
    m.map(0x7_0000n, 0n);
    m.state.setGpr(1, 0xffffn);
    expect(m.execute((asm) => asm.vmwrite(rcx, mem64(0x7_0000)))).toBe(`fault ${Vector.PF}`);
    m.state.setGpr(1, BigInt(encodingOf("guestRsp")));
    expect(m.execute((asm) => asm.vmread(mem64(0x7_0000), rcx))).toBe(`fault ${Vector.PF}`);
  });

  it("write exit information only where the processor allows it", () => {
    const reason = encodingOf("exitReason");
    expect(write(reason, 0x1234n)).toBe("succeed");
    expect(read(reason)).toBe(0x1234n);
    const old = new VmxMachine(penryn).root();
    old.state.setGpr(1, BigInt(reason));
    expect(old.execute((asm) => asm.vmwrite(rcx, rbx))).toBe("fail-valid 13");
  });

  it("need a current VMCS", () => {
    m.pointTo(vmxPlace.vmcs);
    m.execute((asm) => asm.vmclear(operand));
    expect(read(encodingOf("guestRip"))).toBe("fail-invalid");
    expect(write(encodingOf("guestRip"), 0n)).toBe("fail-invalid");
  });
});

describe("INVEPT", () => {
  const invept = (type: bigint, pointer: bigint): VmxResult => {
    m.state.setGpr(2, type);
    m.write64(vmxPlace.pointers, pointer);
    m.write64(vmxPlace.pointers + 8, 0n);
    return m.execute((asm) => asm.invept(rdx, mem128(vmxPlace.pointers)));
  };
  beforeEach(() => {
    m.root();
  });

  it.each([
    ["a single context", 1n, 0x7_001en, "succeed"],
    ["all contexts, whatever the pointer", 2n, -1n, "succeed"],
    ["type 0", 0n, 0x7_001en, "fail-valid 28"],
    ["type 3", 3n, 0x7_001en, "fail-valid 28"],
    ["a type with high bits", (1n << 32n) | 1n, 0x7_001en, "fail-valid 28"],
    ["an unsupported memory type", 1n, 0x7_0019n, "fail-valid 28"],
    ["an unsupported walk length", 1n, 0x7_0026n, "fail-valid 28"],
    ["reserved bits", 1n, 0x7_011en, "fail-valid 28"],
    ["a pointer beyond the width", 1n, beyondWidth | 0x1en, "fail-valid 28"],
  ])("%s", (_what, type, pointer, result) => {
    expect(invept(type, BigInt.asUintN(64, pointer))).toBe(result);
  });

  it("looks at the type before the descriptor, and reads the descriptor for each type", () => {
    m.map(0x7_0000n, 0n);
    m.state.setGpr(2, 9n);
    expect(m.execute((asm) => asm.invept(rdx, mem128(0x7_0000)))).toBe("fail-valid 28");
    m.state.setGpr(2, 2n);
    expect(m.execute((asm) => asm.invept(rdx, mem128(0x7_0000)))).toBe(`fault ${Vector.PF}`);
  });
});

describe("INVVPID", () => {
  const invvpid = (type: bigint, context: bigint, linear: bigint): VmxResult => {
    m.state.setGpr(2, type);
    m.write64(vmxPlace.pointers, context);
    m.write64(vmxPlace.pointers + 8, linear);
    return m.execute((asm) => asm.invvpid(rdx, mem128(vmxPlace.pointers)));
  };
  beforeEach(() => {
    m.root();
  });

  it.each([
    ["an address", 0n, 1n, 0x1000n, "succeed"],
    ["a single context", 1n, 0xffffn, 0n, "succeed"],
    ["all contexts", 2n, 0n, 0n, "succeed"],
    ["a single context but globals", 3n, 1n, 0n, "succeed"],
    ["type 4", 4n, 1n, 0n, "fail-valid 28"],
    ["reserved bits", 1n, 0x1_0001n, 0n, "fail-valid 28"],
    ["VPID 0 for an address", 0n, 0n, 0x1000n, "fail-valid 28"],
    ["VPID 0 for a single context", 1n, 0n, 0n, "fail-valid 28"],
    ["VPID 0 for a single context but globals", 3n, 0n, 0n, "fail-valid 28"],
    ["an address that is not canonical", 0n, 1n, 1n << 47n, "fail-valid 28"],
    ["a linear address that does not matter", 1n, 1n, 1n << 47n, "succeed"],
  ])("%s", (_what, type, context, linear, result) => {
    expect(invvpid(type, context, linear)).toBe(result);
  });
});

describe("the VMCS cache", () => {
  const offsetOf = (name: FieldName): number =>
    (vmcsFields.find((field) => field.name === name)?.slot ?? 0) * 4;

  beforeEach(() => {
    m.root();
  });

  it("keeps writes from memory until VMCLEAR", () => {
    m.set("guestRsp", 0xabcd);
    expect(m.read64(vmxPlace.vmcs + offsetOf("guestRsp"))).toBe(0n);
    m.pointTo(vmxPlace.vmcs);
    m.execute((asm) => asm.vmclear(operand));
    expect(m.read64(vmxPlace.vmcs + offsetOf("guestRsp"))).toBe(0xabcdn);
  });

  it("does not see what memory gets while the VMCS is active", () => {
    m.set("guestRsp", 0x1111);
    m.write64(vmxPlace.vmcs + offsetOf("guestRsp"), 0x2222n);
    m.pointTo(vmxPlace.vmcs);
    m.execute((asm) => asm.vmptrld(operand));
    expect(m.get("guestRsp")).toBe(0x1111n);
  });

  it("brings memory up to date when asked, and keeps its lines", () => {
    m.set("guestRsp", 0x3333);
    m.vmx.unit.vmcs.spill();
    expect(m.read64(vmxPlace.vmcs + offsetOf("guestRsp"))).toBe(0x3333n);
    expect(m.vmx.unit.vmcs.active()).toContain(vmxPlace.vmcs);
  });

  it("makes room by writing back what has not been used for longest", () => {
    m.set("guestRsp", 0x4444);
    for (let n = 0; n < 4; n++) {
      const region = 0x5_0000 + n * 0x1000;
      m.write32(region, m.revision);
      m.current(region);
    }
    expect(m.vmx.unit.vmcs.active()).not.toContain(vmxPlace.vmcs);
    expect(m.read64(vmxPlace.vmcs + offsetOf("guestRsp"))).toBe(0x4444n);
    m.pointTo(vmxPlace.vmcs);
    m.execute((asm) => asm.vmptrld(operand));
    expect(m.get("guestRsp")).toBe(0x4444n);
  });
});
