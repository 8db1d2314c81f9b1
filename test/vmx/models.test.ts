import { describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import type { CpuFeature } from "../../src/cpu/models/cpu-features.ts";
import { supportedCr4 } from "../../src/cpu/models/cpu-model.ts";
import { cpuModel, cpuModels } from "../../src/cpu/models/models.ts";
import { type VmxProfile, vmxProfile } from "../../src/vmx/capabilities.ts";
import {
  type ControlName,
  type ControlWord,
  controlBit,
  controlNames,
  controlTable,
} from "../../src/vmx/controls.ts";
import { controlNeeds, implementedControls } from "../../src/vmx/implemented-controls.ts";
import {
  activation,
  eptCapability,
  offeredControls,
  vmxMsr,
  vpidCapability,
  wordRanges,
} from "../../src/vmx/reported-msrs.ts";

const profileOf = (name: string): VmxProfile => present(vmxProfile(cpuModel(name)), name);
const vmxOf = (name: string) => present(cpuModel(name).vmx, name);

const models = cpuModels.map((model) => [model.name, model] as const);

describe.each(models)("VMX of %s", (name, model) => {
  const vmx = vmxOf(name);
  const profile = profileOf(name);

  it("lists only what the tables name, each once", () => {
    const known = new Set<string>(controlNames);
    expect(vmx.controls.filter((control) => !known.has(control))).toEqual([]);
    expect(new Set(vmx.controls).size).toBe(vmx.controls.length);
    const parts = new Set([
      ...Object.keys(eptCapability).map((part) => `ept.${part}`),
      ...Object.keys(vpidCapability).map((part) => `vpid.${part}`),
    ]);
    expect(vmx.translation.filter((part) => !parts.has(part))).toEqual([]);
  });

  it("lists with each control what it needs", () => {
    const listed = new Set<string>(vmx.controls);
    for (const control of listed as Set<ControlName>) {
      const activator = activation[control.split(".")[0] as ControlWord];
      const needs = [...(controlNeeds[control] ?? []), ...(activator ? [activator] : [])];
      expect(
        needs.filter((needed) => !listed.has(needed)),
        control,
      ).toEqual([]);
    }
  });

  it("offers what it lists and the simulator carries out, and nothing else", () => {
    for (const control of profile.offered) {
      expect(vmx.controls).toContain(control);
      expect(implementedControls.has(control)).toBe(true);
    }
    const left = vmx.controls.filter(
      (control) =>
        implementedControls.has(control as ControlName) &&
        !profile.offered.has(control as ControlName),
    );
    const lacksSomething = (control: string): boolean =>
      (controlNeeds[control as ControlName] ?? []).some((needed) => !profile.offered.has(needed)) ||
      Object.values(activation).includes(control as ControlName) ||
      !profile.offered.has(activation[control.split(".")[0] as ControlWord] ?? "pin.nmiExiting");
    expect(left.filter((control) => !lacksSomething(control))).toEqual([]);
  });

  it("offers no control of an instruction that the model lacks", () => {
    const instructions: [ControlName, CpuFeature][] = [
      ["secondary.enableRdtscp", "rdtscp"],
      ["secondary.enableInvpcid", "invpcid"],
      ["secondary.enableXsavesXrstors", "xsaves"],
      ["secondary.rdrandExiting", "rdrand"],
      ["secondary.rdseedExiting", "rdseed"],
    ];
    for (const [control, feature] of instructions) {
      expect(vmx.controls.includes(control), control).toBe(model.features.has(feature));
    }
  });

  it("reports words that agree with each other and with what is enforced", () => {
    const at = (msr: number): bigint => profile.msrs.get(msr) ?? 0n;
    const pairs = [
      [vmxMsr.pinbased, vmxMsr.truePinbased, profile.pin],
      [vmxMsr.procbased, vmxMsr.trueProcbased, profile.primary],
      [vmxMsr.exit, vmxMsr.trueExit, profile.exit],
      [vmxMsr.entry, vmxMsr.trueEntry, profile.entry],
    ] as const;
    for (const [plain, exact, range] of pairs) {
      const mustBe1 = at(plain) & 0xffff_ffffn;
      expect(mustBe1 & ~(at(plain) >> 32n)).toBe(0n);
      const reported = vmx.hasTrueControls ? at(exact) : at(plain);
      expect(reported & 0xffff_ffffn & ~mustBe1).toBe(0n);
      expect(Number(reported & 0xffff_ffffn)).toBe(range.mustBeOne);
      expect(Number(reported >> 32n) | range.mustBeOne | 0).toBe(range.mayBeOne | 0);
      expect((at(plain) >> 32n) & ~mustBe1).toBe(BigInt(range.mayBeOne) & ~mustBe1);
    }
    expect(at(vmxMsr.cr4Fixed1)).toBe(BigInt(supportedCr4(model)));
  });

  it("has the MSRs of its generation", () => {
    const has = (msr: number): boolean => profile.msrs.has(msr);
    expect(has(vmxMsr.truePinbased)).toBe(vmx.hasTrueControls);
    expect(has(vmxMsr.procbased2)).toBe(profile.offered.has("primary.activateSecondaryControls"));
    expect(has(vmxMsr.procbased3)).toBe(profile.offered.has("primary.activateTertiaryControls"));
    const translates =
      profile.offered.has("secondary.enableEpt") || profile.offered.has("secondary.enableVpid");
    expect(has(vmxMsr.eptVpidCap)).toBe(translates);
    expect(has(vmxMsr.vmfunc)).toBe(profile.offered.has("secondary.enableVmFunctions"));
  });
});

describe("generations", () => {
  it("differ in what they are known for", () => {
    const lists = (name: string, control: ControlName): boolean =>
      vmxOf(name).controls.includes(control);
    for (const control of [
      "secondary.enableEpt",
      "secondary.enableVpid",
      "secondary.unrestrictedGuest",
    ] as const) {
      expect(lists("penryn", control)).toBe(false);
    }
    expect(lists("nehalem", "secondary.enableEpt")).toBe(true);
    expect(lists("nehalem", "secondary.enableVpid")).toBe(true);
    expect(lists("nehalem", "secondary.unrestrictedGuest")).toBe(false);
    expect(lists("haswell", "secondary.virtualInterruptDelivery")).toBe(true);
    expect(lists("haswell", "secondary.vmcsShadowing")).toBe(true);
    for (const control of [
      "pin.processPostedInterrupts",
      "secondary.enablePml",
      "secondary.modeBasedExecuteControlForEpt",
      "secondary.useTscScaling",
    ] as const) {
      expect(lists("haswell", control)).toBe(false);
      expect(lists("skylake-server", control)).toBe(true);
    }
    expect(lists("skylake-server", "tertiary.ipiVirtualization")).toBe(false);
    expect(lists("sapphire-rapids", "tertiary.ipiVirtualization")).toBe(true);
  });

  it("a control is offered only together with what it needs", () => {
    const vmx = vmxOf("skylake-server");
    const without = (gone: string) =>
      offeredControls({ ...vmx, controls: vmx.controls.filter((control) => control !== gone) });
    expect(without("pin.nmiExiting").has("pin.virtualNmis")).toBe(false);
    expect(without("pin.nmiExiting").has("primary.nmiWindowExiting")).toBe(false);
    expect(without("secondary.enableEpt").has("secondary.unrestrictedGuest")).toBe(false);
    const unactivated = without("primary.activateSecondaryControls");
    expect([...unactivated].filter((control) => control.startsWith("secondary."))).toEqual([]);
  });
});

/** Allowed 1-settings that real parts report, most exact MSR: words in the order pin, primary, secondary, exit, entry. */
const recorded: Readonly<Record<string, Readonly<Partial<Record<ControlWord, number>>>>> = {
  "Skylake-X (06_55H)": {
    pin: 0xff,
    primary: 0xfff9_fffe,
    secondary: 0x025d_3fff,
    exit: 0x01ff_ffff,
    entry: 0x0003_ffff,
  },
  "Broadwell ULT (06_3DH)": {
    pin: 0x7f,
    primary: 0xfff9_fffe,
    secondary: 0x0005_7cff,
    exit: 0x007f_ffff,
    entry: 0xffff,
  },
};
/** Controls that the models have beyond the recorded client parts: those of server parts. */
const ofServers: Readonly<Record<string, readonly ControlName[]>> = {
  "Skylake-X (06_55H)": ["secondary.vmcsShadowing", "secondary.enablePml"],
  "Broadwell ULT (06_3DH)": [
    "secondary.apicRegisterVirtualization",
    "secondary.virtualInterruptDelivery",
  ],
};

describe("recorded capability MSRs", () => {
  it.each([
    ["skylake-server", "Skylake-X (06_55H)"],
    ["haswell", "Broadwell ULT (06_3DH)"],
  ])("%s lists nothing that %s does not have", (name, part) => {
    const words = present(recorded[part], part);
    for (const control of vmxOf(name).controls as readonly ControlName[]) {
      const mask = words[control.split(".")[0] as ControlWord];
      if (mask !== undefined && !ofServers[part]?.includes(control)) {
        expect((mask >>> controlBit(control)) & 1, control).toBe(1);
      }
    }
  });

  it("skylake-server differs from the recorded part only by features that the model lacks", () => {
    const vmx = vmxOf("skylake-server");
    const listed = wordRanges(vmx, new Set(vmx.controls as readonly ControlName[]));
    const missing: string[] = [];
    for (const word of ["pin", "primary", "secondary", "exit", "entry"] as const) {
      const real = recorded["Skylake-X (06_55H)"]?.[word] ?? 0;
      for (const [control, [bit]] of Object.entries(controlTable[word])) {
        if (((real & ~listed[word].mayBeOne) >>> bit) & 1) {
          missing.push(`${word}.${control}`);
        }
      }
    }
    expect(missing).toEqual([
      "secondary.concealVmxFromPt",
      "exit.loadIa32PerfGlobalCtrl",
      "exit.clearIa32Bndcfgs",
      "exit.concealVmxFromPt",
      "entry.entryToSmm",
      "entry.deactivateDualMonitor",
      "entry.loadIa32PerfGlobalCtrl",
      "entry.loadIa32Bndcfgs",
      "entry.concealVmxFromPt",
    ]);
  });

  it("EPT and VPID of skylake-server are those recorded, but for what is not carried out", () => {
    const reported = profileOf("skylake-server").msrs.get(vmxMsr.eptVpidCap) ?? 0n;
    const real = 0x0f01_0673_4141n;
    expect(reported & ~real).toBe(0n);
    expect(real & ~reported & ~BigInt(eptCapability.advancedInformation)).toBe(0n);
  });
});
