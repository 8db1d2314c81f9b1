/** IA32_VMX_*: what software is told of a model's VMX ("VMX Capability Reporting Facility"). */
import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { supportedCr4 } from "../cpu/models/cpu-model.ts";
import type { VmxCapabilities } from "../cpu/models/vmx-capabilities.ts";
import {
  type ControlName,
  type ControlWord,
  controlMask,
  controlNames,
  default1,
  wordOf,
} from "./controls.ts";
import {
  controlNeeds,
  implementedControls,
  implementedTranslation,
} from "./implemented-controls.ts";
import { vmcsBytes } from "./vmcs-fields.ts";

/** A control word: the bits that must be 1, and the bits that may be. Unsigned. */
export interface WordRange {
  readonly mustBeOne: number;
  readonly mayBeOne: number;
}
export type WordRanges = Readonly<Record<Exclude<ControlWord, "vmFunction">, WordRange>>;

/** IA32_VMX_EPT_VPID_CAP, low half. */
export const eptCapability = {
  executeOnly: 1 << 0,
  walkLength4: 1 << 6,
  walkLength5: 1 << 7,
  uncacheable: 1 << 8,
  writeBack: 1 << 14,
  pages2M: 1 << 16,
  pages1G: 1 << 17,
  invept: 1 << 20,
  accessedDirty: 1 << 21,
  advancedInformation: 1 << 22,
  supervisorShadowStack: 1 << 23,
  inveptSingle: 1 << 25,
  inveptAll: 1 << 26,
} as const;

/** IA32_VMX_EPT_VPID_CAP, high half. */
export const vpidCapability = {
  invvpid: 1 << 0,
  individualAddress: 1 << 8,
  singleContext: 1 << 9,
  allContexts: 1 << 10,
  retainingGlobals: 1 << 11,
} as const;

export const vmxMsr = {
  basic: 0x480,
  pinbased: 0x481,
  procbased: 0x482,
  exit: 0x483,
  entry: 0x484,
  misc: 0x485,
  cr0Fixed0: 0x486,
  cr0Fixed1: 0x487,
  cr4Fixed0: 0x488,
  cr4Fixed1: 0x489,
  vmcsEnum: 0x48a,
  procbased2: 0x48b,
  eptVpidCap: 0x48c,
  truePinbased: 0x48d,
  trueProcbased: 0x48e,
  trueExit: 0x48f,
  trueEntry: 0x490,
  vmfunc: 0x491,
  procbased3: 0x492,
  exit2: 0x493,
} as const;

/** Words that count only while a control activates them. */
export const activation: Partial<Record<ControlWord, ControlName>> = {
  secondary: "primary.activateSecondaryControls",
  tertiary: "primary.activateTertiaryControls",
  exit2: "exit.activateSecondaryControls",
};

/**
 * Controls that software may set to 1: those the model has and the simulator carries out, if what they need is there too.
 * A control that activates a word goes with the last of the word's controls.
 */
export function offeredControls(vmx: VmxCapabilities): ReadonlySet<ControlName> {
  const listed = new Set(vmx.controls);
  const offered = new Set(
    controlNames.filter((name) => listed.has(name) && implementedControls.has(name)),
  );
  for (let size = -1; size !== offered.size; ) {
    size = offered.size;
    for (const name of offered) {
      if (!needsAreMet(name, offered)) {
        offered.delete(name);
      }
    }
  }
  return offered;
}

function needsAreMet(name: ControlName, offered: ReadonlySet<ControlName>): boolean {
  const activates = Object.entries(activation).find(([, activator]) => activator === name)?.[0];
  if (activates !== undefined && ![...offered].some((other) => wordOf(other) === activates)) {
    return false;
  }
  const activator = activation[wordOf(name)];
  const needs = [...(controlNeeds[name] ?? []), ...(activator === undefined ? [] : [activator])];
  return needs.every((needed) => offered.has(needed));
}

/** The controls of a word as a mask. */
function mayBeOne(offered: ReadonlySet<ControlName>, word: ControlWord): number {
  let mask = 0;
  for (const name of offered) {
    mask |= wordOf(name) === word ? controlMask(name) : 0;
  }
  return mask >>> 0;
}

/** Every word as the most exact MSR reports it. */
export function wordRanges(vmx: VmxCapabilities, offered: ReadonlySet<ControlName>): WordRanges {
  const range = (word: ControlWord, fixed: number): WordRange => ({
    mustBeOne: fixed,
    mayBeOne: (mayBeOne(offered, word) | fixed) >>> 0,
  });
  const isTrue = vmx.hasTrueControls;
  return {
    pin: range("pin", default1.pin),
    primary: range("primary", isTrue ? default1.primaryTrue : default1.primary),
    secondary: range("secondary", 0),
    tertiary: range("tertiary", 0),
    exit: range("exit", isTrue ? default1.exitTrue : default1.exit),
    exit2: range("exit2", 0),
    entry: range("entry", isTrue ? default1.entryTrue : default1.entry),
  };
}

export function vmFunctionMask(offered: ReadonlySet<ControlName>): number {
  return mayBeOne(offered, "vmFunction");
}

/** IA32_VMX_EPT_VPID_CAP: nothing of EPT without EPT, nothing of VPIDs without VPIDs. */
export function translationCapabilities(
  vmx: VmxCapabilities,
  offered: ReadonlySet<ControlName>,
): { readonly ept: number; readonly vpid: number } {
  const half = (prefix: "ept" | "vpid", bits: Readonly<Record<string, number>>): number =>
    Object.entries(bits)
      .map(([name, bit]): [string, number] => [`${prefix}.${name}`, bit])
      .filter(([name]) => vmx.translation.includes(name) && implementedTranslation.has(name))
      .reduce((mask, [, bit]) => mask | bit, 0) >>> 0;
  return {
    ept: offered.has("secondary.enableEpt") ? half("ept", eptCapability) : 0,
    vpid: offered.has("secondary.enableVpid") ? half("vpid", vpidCapability) : 0,
  };
}

const activityBits = { hlt: 1 << 6, shutdown: 1 << 7, "wait-for-sipi": 1 << 8 } as const;

/** IA32_VMX_MISC. */
function miscMsr(vmx: VmxCapabilities, offered: ReadonlySet<ControlName>): bigint {
  const storesLma = offered.has("secondary.unrestrictedGuest") ? 1 << 5 : 0;
  const value =
    (offered.has("pin.activateVmxPreemptionTimer") ? vmx.preemptionTimerShift : 0) |
    storesLma |
    vmx.activityStates.reduce((mask, state) => mask | activityBits[state], 0) |
    (vmx.cr3TargetCount << 16) |
    ((vmx.msrAreaEntries / 512 - 1) << 25) |
    (vmx.writesReadOnlyFields ? 1 << 29 : 0) |
    (vmx.injectsZeroLength ? 1 << 30 : 0);
  return BigInt(value >>> 0);
}

const writeBack = 6n;

/** IA32_VMX_BASIC; VMX is used with write-back memory. The region size is a property of this simulator, not of the model. */
function basicMsr(vmx: VmxCapabilities): bigint {
  const flag = (isSet: boolean, bit: bigint): bigint => (isSet ? 1n << bit : 0n);
  return (
    BigInt(vmx.revision) |
    (BigInt(vmcsBytes) << 32n) |
    (writeBack << 50n) |
    flag(vmx.reportsStringIo, 54n) |
    flag(vmx.hasTrueControls, 55n) |
    flag(vmx.injectsAnyErrorCode, 56n)
  );
}

const join = (high: number, low: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

/** CR0.PE, NE and PG. */
const cr0Fixed0 = 0x8000_0021n;
const cr0Fixed1 = 0xffff_ffffn;
/** CR4.VMXE. */
const cr4Fixed0 = 0x2000n;

/**
 * The values by MSR number; an MSR that the model does not have is left out.
 * @param highestIndex of the VMCS fields that exist
 */
export function reportedMsrs(
  model: CpuModel,
  vmx: VmxCapabilities,
  highestIndex: number,
): Map<number, bigint> {
  const offered = offeredControls(vmx);
  const ranges = wordRanges(vmx, offered);
  const translation = translationCapabilities(vmx, offered);
  const word = ({ mayBeOne }: WordRange, fixed: number): bigint => join(mayBeOne | fixed, fixed);
  const rows: [keyof typeof vmxMsr, boolean, bigint][] = [
    ["basic", true, basicMsr(vmx)],
    ["pinbased", true, word(ranges.pin, default1.pin)],
    ["procbased", true, word(ranges.primary, default1.primary)],
    ["exit", true, word(ranges.exit, default1.exit)],
    ["entry", true, word(ranges.entry, default1.entry)],
    ["misc", true, miscMsr(vmx, offered)],
    ["cr0Fixed0", true, cr0Fixed0],
    ["cr0Fixed1", true, cr0Fixed1],
    ["cr4Fixed0", true, cr4Fixed0],
    ["cr4Fixed1", true, BigInt(supportedCr4(model))],
    ["vmcsEnum", true, BigInt(highestIndex << 1)],
    ["procbased2", ranges.secondary.mayBeOne !== 0, word(ranges.secondary, 0)],
    [
      "eptVpidCap",
      (translation.ept | translation.vpid) !== 0,
      join(translation.vpid, translation.ept),
    ],
    ["truePinbased", vmx.hasTrueControls, word(ranges.pin, default1.pin)],
    ["trueProcbased", vmx.hasTrueControls, word(ranges.primary, default1.primaryTrue)],
    ["trueExit", vmx.hasTrueControls, word(ranges.exit, default1.exitTrue)],
    ["trueEntry", vmx.hasTrueControls, word(ranges.entry, default1.entryTrue)],
    ["vmfunc", offered.has("secondary.enableVmFunctions"), BigInt(vmFunctionMask(offered))],
    // These two report 64 bits of which each may be 1.
    ["procbased3", ranges.tertiary.mayBeOne !== 0, BigInt(ranges.tertiary.mayBeOne)],
    ["exit2", ranges.exit2.mayBeOne !== 0, BigInt(ranges.exit2.mayBeOne)],
  ];
  return new Map(
    rows.flatMap(([name, exists, value]) => (exists ? [[vmxMsr[name], value] as const] : [])),
  );
}
