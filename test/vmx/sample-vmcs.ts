import { present } from "../../src/base/assert.ts";
import { defaultCpuModel } from "../../src/cpu/models/models.ts";
import { type VmxProfile, vmxProfile } from "../../src/vmx/capabilities.ts";
import { type ControlName, controlTable } from "../../src/vmx/controls.ts";
import { EntryContext } from "../../src/vmx/entry-rules/entry-context.ts";
import type { WordRange } from "../../src/vmx/reported-msrs.ts";
import { type FieldName, slot, vmcsBytes } from "../../src/vmx/vmcs-fields.ts";

const skylake = present(vmxProfile(defaultCpuModel), "VMX");

const everyBit = (word: keyof typeof controlTable, fixed: number): WordRange => {
  const named = Object.values(controlTable[word]).reduce((mask, [bit]) => mask | (1 << bit), 0);
  return { mustBeOne: fixed, mayBeOne: (named | fixed) >>> 0 };
};

/** A processor that offers every control there is. */
export const everything: VmxProfile = {
  ...skylake,
  pin: everyBit("pin", skylake.pin.mustBeOne),
  primary: everyBit("primary", skylake.primary.mustBeOne),
  secondary: everyBit("secondary", 0),
  tertiary: everyBit("tertiary", 0),
  exit: everyBit("exit", skylake.exit.mustBeOne),
  exit2: everyBit("exit2", 0),
  entry: everyBit("entry", skylake.entry.mustBeOne),
  vmFunctions: 1,
  cr3TargetCountMax: 4,
  activityStates: 0xf,
  cr4Fixed1: (skylake.cr4Fixed1 | (1 << 23)) >>> 0,
};

const wordFields: Record<string, FieldName> = {
  pin: "pinControls",
  primary: "primaryControls",
  secondary: "secondaryControls",
  tertiary: "tertiaryControls",
  exit: "exitControls",
  exit2: "exitControls2",
  entry: "entryControls",
  vmFunction: "vmFunctionControls",
};

/** Where the sample's VMCS and the structures of the cases lie: free in the machine of the other tests too. */
export const samplePlace = {
  vmcs: 0x2_1000,
  linkedVmcs: 0x4_8000,
  virtualApic: 0x4_9000,
  pdptes: 0x4_6020,
} as const;

/** A VMCS by the field, and the few other things that entry rules look at. It starts out as one that may be entered. */
export class SampleVmcs {
  readonly words = new Uint32Array(vmcsBytes >>> 2);
  readonly memory = new Map<number, number>();
  profile: VmxProfile;
  isLongMode = true;
  isX2apic = false;

  constructor(profile: VmxProfile = everything) {
    this.profile = profile;
    this.#fillControls();
    this.#fillHost();
    this.#fillGuest();
  }

  set(name: FieldName, value: bigint | number): this {
    const wide = BigInt.asUintN(64, BigInt(value));
    this.words[slot[name]] = Number(wide & 0xffff_ffffn);
    this.words[slot[name] + 1] = Number(wide >> 32n);
    return this;
  }
  get(name: FieldName): bigint {
    return (BigInt(this.words[slot[name] + 1] ?? 0) << 32n) | BigInt(this.words[slot[name]] ?? 0);
  }
  /** Sets a control, and activates its word. */
  on(name: ControlName): this {
    return this.#control(name, true);
  }
  off(name: ControlName): this {
    return this.#control(name, false);
  }
  with(change: Partial<VmxProfile>): this {
    this.profile = { ...this.profile, ...change };
    return this;
  }

  #control(name: ControlName, isOn: boolean): this {
    const [word = "", control = ""] = name.split(".");
    const rows: Readonly<Record<string, readonly [number, string]>> =
      controlTable[word as keyof typeof controlTable];
    const [bit] = present(rows[control], name);
    const field = present(wordFields[word], word);
    const mask = 1n << BigInt(bit);
    this.set(field, isOn ? this.get(field) | mask : this.get(field) & ~mask);
    if (isOn && word === "secondary") {
      this.on("primary.activateSecondaryControls");
    }
    if (isOn && word === "tertiary") {
      this.on("primary.activateTertiaryControls");
    }
    if (isOn && word === "exit2") {
      this.on("exit.activateSecondaryControls");
    }
    return this;
  }

  context(): EntryContext {
    const reader = { read32: (address: number) => this.memory.get(address) ?? 0 };
    const context = new EntryContext(this.profile, reader, this.words);
    context.isLongMode = this.isLongMode;
    context.isX2apic = this.isX2apic;
    context.currentPointer = samplePlace.vmcs;
    context.begin(0);
    return context;
  }

  #fillControls(): void {
    this.set("pinControls", this.profile.pin.mustBeOne);
    this.set("primaryControls", this.profile.primary.mustBeOne);
    this.set("exitControls", this.profile.exit.mustBeOne);
    this.set("entryControls", this.profile.entry.mustBeOne);
    this.on("exit.hostAddressSpaceSize").on("entry.ia32eModeGuest");
    this.set("vmcsLinkPointer", -1n);
  }

  #fillHost(): void {
    this.set("hostCr0", 0x8005_0033).set("hostCr3", 0x5000).set("hostCr4", 0x2020);
    this.set("hostCsSelector", 0x08).set("hostTrSelector", 0x18);
    for (const name of ["Ss", "Ds", "Es", "Fs", "Gs"] as const) {
      this.set(`host${name}Selector`, 0x10);
    }
    this.set("hostIa32Pat", 0x0007_0406_0007_0406n).set("hostIa32Efer", 0x500);
    this.set("hostRip", 0x10_0000).set("hostRsp", 0x20_0000);
  }

  #fillGuest(): void {
    this.set("guestCr0", 0x8005_0033).set("guestCr3", 0x6000).set("guestCr4", 0x2020);
    this.segment("Cs", 0x08, 0xa09b, 0xffff_ffff);
    for (const name of ["Ss", "Ds", "Es", "Fs", "Gs"] as const) {
      this.segment(name, 0x10, 0xc093, 0xffff_ffff);
    }
    this.segment("Tr", 0x18, 0x8b, 0x67).segment("Ldtr", 0, 0x1_0000, 0);
    this.set("guestGdtrLimit", 0xff).set("guestIdtrLimit", 0xfff);
    this.set("guestRip", 0x30_0000).set("guestRsp", 0x40_0000).set("guestRflags", 2);
    this.set("guestDr7", 0x400).set("guestIa32Pat", 0x0007_0406_0007_0406n);
    this.set("guestIa32Efer", 0x500);
  }

  segment(
    name: "Cs" | "Ss" | "Ds" | "Es" | "Fs" | "Gs" | "Tr" | "Ldtr",
    selector: number,
    rights: number,
    limit: number,
  ): this {
    this.set(`guest${name}Selector`, selector);
    this.set(`guest${name}AccessRights`, rights);
    return this.set(`guest${name}Limit`, limit).set(`guest${name}Base`, 0);
  }

  copyTo(other: SampleVmcs): void {
    other.words.set(this.words);
  }

  // ——— other kinds of guest

  /** 32-bit paged guest. */
  protected32(): this {
    this.off("entry.ia32eModeGuest").set("guestIa32Efer", 0).set("guestCr4", 0x2000);
    return this.segment("Cs", 0x08, 0xc09b, 0xffff_ffff);
  }
  virtual8086(): this {
    this.protected32().set("guestRflags", 0x2_0002);
    for (const name of ["Cs", "Ss", "Ds", "Es", "Fs", "Gs"] as const) {
      this.segment(name, 0x1000, 0xf3, 0xffff).set(`guest${name}Base`, 0x1_0000);
    }
    return this;
  }
  /** Unpaged guest in real mode. */
  realMode(): this {
    this.protected32().ept().on("secondary.unrestrictedGuest").set("guestCr0", 0x20);
    return this;
  }
  ept(): this {
    return this.on("secondary.enableEpt").set("eptPointer", 0x7_001e);
  }
  /** Event to inject: valid, of a type and vector. */
  inject(type: number, vector: number, more = 0): this {
    return this.set("entryInterruptionInformation", 0x8000_0000 + more + type * 256 + vector);
  }
}
