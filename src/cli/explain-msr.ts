import { x2apicMsrBase, x2apicMsrLast } from "../cpu/local-apic/registers.ts";
import { cpuModels } from "../cpu/models/models.ts";
import { msrTable } from "../cpu/msr-table.ts";
import { capabilityMsrs } from "../vmx/capability-msrs.ts";
import { controlNames } from "../vmx/controls.ts";
import { vmxMsr } from "../vmx/reported-msrs.ts";
import { vmcsFields } from "../vmx/vmcs-fields.ts";
import { wordTitles } from "./explain-control.ts";
import { hex, parseNumber, type Subject } from "./explain-subject.ts";
import type { Explanation } from "./explanation.ts";
import { modelProfiles } from "./model-profiles.ts";
import { plain } from "./near-matches.ts";

interface KnownMsr {
  readonly address: number;
  readonly name: string;
  readonly models: readonly string[];
}

/** Every MSR of any model, by address. */
function knownMsrs(): readonly KnownMsr[] {
  const known = new Map<number, KnownMsr>();
  for (const model of cpuModels) {
    const profile = modelProfiles.find((entry) => entry.model === model)?.profile;
    const capabilities = profile === undefined ? [] : capabilityMsrs(profile);
    for (const { address, name } of [...msrTable(model), ...capabilities]) {
      const models = [...(known.get(address)?.models ?? []), model.name];
      known.set(address, { address, name, models });
    }
  }
  return [...known.values()].sort((a, b) => a.address - b.address);
}

export const explainMsr: Subject = {
  find: (text) => {
    const number = parseNumber(text);
    if (number !== undefined && number >= x2apicMsrBase && number <= x2apicMsrLast) {
      return [explanationOfX2apic(number)];
    }
    const wanted = plain(text);
    return knownMsrs()
      .filter(({ address, name }) =>
        number === undefined
          ? plain(name) === wanted || plain(name) === `ia32${wanted}`
          : address === number,
      )
      .map(explanationOf);
  },
  names: () => knownMsrs().map(({ name }) => name),
};

function explanationOf({ address, name, models }: KnownMsr): Explanation {
  const isCapability = Object.values(vmxMsr).some((msr) => msr === address);
  const held = plain(name);
  const holds = (text: string): boolean => plain(text).endsWith(held);
  const values: [string, string][] = modelProfiles.flatMap(({ model, profile }) => {
    const value = profile.msrs.get(address);
    return value === undefined ? [] : [[model.name, `0x${value.toString(16).padStart(16, "0")}`]];
  });
  const word = Object.values(wordTitles).find(({ msr }) => msr === name.replace("_TRUE", ""));
  return {
    kind: "msr",
    name,
    title: `MSR ${hex(address)}`,
    facts: [
      ["access", isCapability ? "read only; WRMSR faults" : "RDMSR and WRMSR"],
      ["MSR bitmaps", bitmapPlace(address)],
      ...(word === undefined ? [] : [["reports", word.title] as [string, string]]),
      ...values,
    ],
    models,
    fields: vmcsFields.filter((field) => holds(field.name)).map((field) => field.name),
    controls: controlNames.filter(holds),
  };
}

function explanationOfX2apic(address: number): Explanation {
  const offset = (address - x2apicMsrBase) * 16;
  return {
    kind: "msr",
    name: hex(address),
    title: "a register of the local APIC in x2APIC mode",
    facts: [
      ["register", `offset ${hex(offset)} of the APIC page`],
      ["MSR bitmaps", bitmapPlace(address)],
      ["MSR areas", "refused while the local APIC is in x2APIC mode"],
    ],
    models: cpuModels.filter(({ features }) => features.has("x2apic")).map(({ name }) => name),
    controls: ["secondary.virtualizeX2apicMode"],
  };
}

/** Where the bits for an MSR are: the read bitmaps for the low and the high range, then those for writes. */
function bitmapPlace(address: number): string {
  const isLow = address < 0x2000;
  const isHigh = address >= 0xc000_0000 && address < 0xc000_2000;
  if (!isLow && !isHigh) return "not covered: RDMSR and WRMSR always exit";
  const at = (isHigh ? 1024 : 0) + ((address & 0x1fff) >>> 3);
  return `bit ${address & 7} of byte ${hex(at)} for reads, of byte ${hex(at + 2048)} for writes`;
}
