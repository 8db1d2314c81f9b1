import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { defaultCpuModel } from "../cpu/models/models.ts";
import { type VmxProfile, vmxProfile } from "../vmx/capabilities.ts";
import { capabilityMsrs } from "../vmx/capability-msrs.ts";
import {
  type ControlName,
  type ControlWord,
  controlBit,
  controlMask,
  controlNames,
  controlTable,
  controlText,
  wordOf,
} from "../vmx/controls.ts";
import { eptCapability, vpidCapability, type WordRange } from "../vmx/reported-msrs.ts";
import { wordTitles } from "./explain-control.ts";

export interface ControlDescription {
  readonly name: ControlName;
  readonly bit: number;
  readonly text: string;
  /** Settings that a VM entry accepts. */
  readonly allowed0: boolean;
  readonly allowed1: boolean;
  /** The real part has it, but the simulator does not carry it out. */
  readonly notSimulated: boolean;
}

export interface WordDescription {
  readonly word: ControlWord;
  readonly title: string;
  readonly mustBeOne: number;
  readonly mayBeOne: number;
  readonly controls: readonly ControlDescription[];
}

/** A CPU model as `vmxon cpu show` prints it. */
export interface CpuDescription {
  readonly name: string;
  readonly summary: string;
  readonly isDefault: boolean;
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  readonly physicalAddressBits: number;
  readonly linearAddressBits: number;
  readonly features: readonly string[];
  readonly vmx: VmxDescription | undefined;
}

export interface VmxDescription {
  readonly revision: number;
  readonly words: readonly WordDescription[];
  /** Of EPT and VPIDs. */
  readonly translation: readonly string[];
  readonly limits: Readonly<Record<string, number | boolean>>;
  /** Values by name, 16 hexadecimal digits. */
  readonly msrs: Readonly<Record<string, string>>;
}

export function describeCpu(model: CpuModel): CpuDescription {
  const { signature } = model;
  const profile = vmxProfile(model);
  return {
    name: model.name,
    summary: model.summary,
    isDefault: model === defaultCpuModel,
    family: (signature >>> 8) & 0xf,
    model: ((signature >>> 4) & 0xf) | ((signature >>> 12) & 0xf0),
    stepping: signature & 0xf,
    physicalAddressBits: model.physicalAddressBits,
    linearAddressBits: model.linearAddressBits,
    features: [...model.features],
    vmx: profile && describeVmx(model, profile),
  };
}

function describeVmx(model: CpuModel, profile: VmxProfile): VmxDescription {
  const words = Object.keys(controlTable) as ControlWord[];
  return {
    revision: profile.revision,
    words: words.map((word) => describeWord(word, model, profile)),
    translation: [
      ...namesOf("ept", eptCapability, profile.eptCapabilities),
      ...namesOf("vpid", vpidCapability, profile.vpidCapabilities),
    ],
    limits: {
      "CR3 targets": profile.cr3TargetCountMax,
      "entries of an MSR area": profile.msrAreaEntriesMax,
      "TSC cycles per count of the preemption timer": 2 ** profile.preemptionTimerShift,
      "VMWRITE to exit information": profile.writesReadOnlyFields,
      "injection with instruction length 0": profile.injectsZeroLength,
      "error code with any injected exception": profile.injectsAnyErrorCode,
      "instruction information of INS and OUTS": profile.reportsStringIo,
    },
    msrs: Object.fromEntries(
      capabilityMsrs(profile).map(({ address, name }) => [
        name,
        `0x${(profile.msrs.get(address) ?? 0n).toString(16).padStart(16, "0")}`,
      ]),
    ),
  };
}

/** The controls of a word that the model has or that are fixed to 1. */
function describeWord(word: ControlWord, model: CpuModel, profile: VmxProfile): WordDescription {
  const range = rangeOf(word, profile);
  const isListed = (control: ControlName): boolean =>
    model.vmx?.controls.includes(control) ?? false;
  const controls = controlNames
    .filter((control) => wordOf(control) === word)
    .map((control) => ({
      name: control,
      bit: controlBit(control),
      text: controlText(control),
      allowed0: (range.mustBeOne & controlMask(control)) === 0,
      allowed1: (range.mayBeOne & controlMask(control)) !== 0,
      notSimulated: isListed(control) && !profile.offered.has(control),
    }))
    .filter((control) => control.allowed1 || control.notSimulated);
  return { word, title: wordTitles[word].title, ...range, controls };
}

function rangeOf(word: ControlWord, profile: VmxProfile): WordRange {
  return word === "vmFunction" ? { mustBeOne: 0, mayBeOne: profile.vmFunctions } : profile[word];
}

function namesOf(
  prefix: string,
  bits: Readonly<Record<string, number>>,
  mask: number,
): readonly string[] {
  return Object.entries(bits)
    .filter(([, bit]) => (mask & bit) !== 0)
    .map(([name]) => `${prefix}.${name}`);
}
