/**
 * What of the tables is tested: every row of rules, control bits, exit reasons and fields. The lines it prints are counts; a
 * row without a test makes it fail.
 */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { cpuModels } from "../../src/cpu/models/models.ts";
import { rax, rbx } from "../../src/isa/assembler-operands.ts";
import { projectFile } from "../../src/machine/project-files.ts";
import { isFieldThere, type VmxProfile, vmxProfile } from "../../src/vmx/capabilities.ts";
import { controlTable, default1 } from "../../src/vmx/controls.ts";
import { allGroups, allRules, RuleChecker } from "../../src/vmx/entry-rules/all-rules.ts";
import { canExit, exitCauses } from "../../src/vmx/exit-causes.ts";
import { type ExitReasonName, exitReasonTable } from "../../src/vmx/exit-reasons.ts";
import { type FieldName, type VmcsField, vmcsFields } from "../../src/vmx/vmcs-fields.ts";
import { entryCases, unbreakable } from "./entry-cases.ts";
import { SampleVmcs } from "./sample-vmcs.ts";
import { VmxMachine } from "./vmx-machine.ts";

const models = cpuModels.map((model) => ({ model, profile: present(vmxProfile(model), "VMX") }));

const lines: string[] = [];
afterAll(() => process.stdout.write(`\ncoverage\n${lines.join("\n")}\n`));
function count(what: string, covered: number, all: number, note = ""): void {
  lines.push(`  ${what.padEnd(14)} ${covered}/${all}${note === "" ? "" : `, ${note}`}`);
}

/** Text of the tests in a folder, but for tests that go through whole tables. */
function testText(): string {
  const folder = projectFile("test", "vmx");
  const tablesOnly = /(coverage|tables|models|entry-cases|sample-vmcs)(\.test)?\.ts$/;
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !tablesOnly.test(name))
    .map((name) => readFileSync(`${folder}/${name}`, "utf8"))
    .join("\n");
}
const text = testText();

function firstBroken(vmcs: SampleVmcs): string | undefined {
  return new RuleChecker().check(vmcs.context(), allGroups, 0)?.id;
}

describe("rules of VM entry", () => {
  /** Whether a rule's valid case is entered, and its invalid one is not, by what a real model offers. */
  function isTestedOn(id: string, profile: VmxProfile): boolean {
    const { given, valid, invalid } = present(entryCases[id], id);
    const good = new SampleVmcs(profile);
    given?.(good);
    valid?.(good);
    const bad = new SampleVmcs(profile);
    given?.(bad);
    invalid(bad);
    return firstBroken(good) === undefined && firstBroken(bad) !== undefined;
  }

  it("have a valid and an invalid case each", () => {
    // Rules that look at something else than the VMCS have their cases with the tests of VMX instructions and MSR areas.
    const ofInstructions = /^(PRE|MSL|XMS)-/;
    const isCovered = (id: string): boolean =>
      id in entryCases ||
      unbreakable.includes(id) ||
      (ofInstructions.test(id) && text.includes(`"${id}"`)) ||
      text.includes(`${id} `);
    const missing = allRules.map(({ id }) => id).filter((id) => !isCovered(id));
    const onModels = Object.keys(entryCases).filter((id) =>
      models.some(({ profile }) => isTestedOn(id, profile)),
    );
    const others = Object.keys(entryCases).length - onModels.length;
    count(
      "rules",
      allRules.length - missing.length,
      allRules.length,
      `${others} of them only on a processor that offers more than any model`,
    );
    expect(missing).toEqual([]);
    expect(onModels.length).toBeGreaterThan(200);
  });
});

/** Bits of the control words that mean something or are fixed to 1. */
const words = [
  ["pin", "pinControls", default1.pin],
  ["primary", "primaryControls", default1.primary],
  ["secondary", "secondaryControls", 0],
  ["tertiary", "tertiaryControls", 0],
  ["exit", "exitControls", default1.exit],
  ["entry", "entryControls", default1.entry],
] as const;

describe("control bits", () => {
  /** The settings of a bit that VM entry accepts, as far as the reserved-bit rules say. */
  function accepts(profile: VmxProfile, field: FieldName, bit: number, value: 0 | 1): boolean {
    const vmcs = new SampleVmcs(profile);
    if (field === "secondaryControls") vmcs.set("primaryControls", allOnes(vmcs, 1n << 31n));
    if (field === "tertiaryControls") vmcs.set("primaryControls", allOnes(vmcs, 1n << 17n));
    const mask = 1n << BigInt(bit);
    const word = vmcs.get(field);
    vmcs.set(field, value === 1 ? word | mask : word & ~mask);
    return !reserved.has(firstBroken(vmcs) ?? "");
  }
  const allOnes = (vmcs: SampleVmcs, bits: bigint): bigint => vmcs.get("primaryControls") | bits;
  const reserved = new Set([
    "CTL-01",
    "CTL-02",
    "CTL-03",
    "CTL-04",
    "CTL-05",
    "CTL-06",
    "XCT-01",
    "XCT-02",
    "NCT-01",
    "NCT-02",
  ]);

  it("are accepted by VM entry in the settings that each model reports", () => {
    const judged = new Set<string>();
    for (const { model, profile } of models) {
      for (const [word, field, fixed] of words) {
        const { mustBeOne, mayBeOne } = profile[word];
        const named = Object.values(controlTable[word]).map(([bit]) => bit);
        for (let bit = 0; bit < 32; bit++) {
          if (!isWordUsable(profile, word)) continue;
          const label = `${model.name} ${word} bit ${bit}`;
          expect(accepts(profile, field, bit, 1), `${label} = 1`).toBe(
            ((mayBeOne >>> bit) & 1) === 1,
          );
          expect(accepts(profile, field, bit, 0), `${label} = 0`).toBe(
            ((mustBeOne >>> bit) & 1) === 0,
          );
          if (named.includes(bit as never) || ((fixed >>> bit) & 1) === 1)
            judged.add(`${word} ${bit}`);
        }
      }
    }
    const rows = words.flatMap(([word, , fixed]) => [
      ...Object.values(controlTable[word]).map(([bit]) => `${word} ${bit}`),
      ...Array.from({ length: 32 }, (_, bit) => bit)
        .filter((bit) => ((fixed >>> bit) & 1) === 1)
        .map((bit) => `${word} ${bit}`),
    ]);
    const all = new Set(rows);
    // The secondary VM-exit word belongs to no model.
    const exit2 = Object.keys(controlTable.exit2).length;
    expect(models.every(({ profile }) => profile.exit2.mayBeOne === 0)).toBe(true);
    count("control bits", judged.size + exit2, all.size + exit2);
    expect([...all].filter((row) => !judged.has(row))).toEqual([]);
    expect(all.size + exit2).toBe(138);
  });

  /** A word that no control of the model activates cannot be looked at. */
  function isWordUsable(profile: VmxProfile, word: string): boolean {
    if (word === "secondary") return profile.offered.has("primary.activateSecondaryControls");
    if (word === "tertiary") return profile.offered.has("primary.activateTertiaryControls");
    return true;
  }

  it("that a model offers are tried out by a test of what they do", () => {
    const offered = new Set(models.flatMap(({ profile }) => [...profile.offered]));
    const missing = [...offered].filter((control) => !text.includes(`"${control}"`));
    count("controls", offered.size - missing.length, offered.size, "that models offer, tried out");
    expect(missing).toEqual([]);
  });
});

describe("exit reasons", () => {
  it("that a guest can meet are each expected by a test", () => {
    const names = Object.keys(exitReasonTable) as ExitReasonName[];
    const possible = names.filter((name) =>
      models.some(({ profile }) => canExit(name, profile.offered)),
    );
    const missing = possible.filter((name) => !text.includes(`exitReason.${name}`));
    const impossible = names.filter((name) => !possible.includes(name));
    count(
      "exit reasons",
      names.length - missing.length,
      names.length,
      `${impossible.length} of them cannot occur: no model offers what they need`,
    );
    expect(missing).toEqual([]);
    for (const name of impossible) {
      const { controls, lacking } = exitCauses[name];
      expect(lacking !== undefined || controls.length > 0, name).toBe(true);
    }
  });
});

describe("VMCS fields", () => {
  const machines = new Map<CpuModel, VmxMachine>();
  function machineOf(model: CpuModel): VmxMachine {
    const known = machines.get(model) ?? new VmxMachine(model).on();
    machines.set(model, known);
    return known;
  }
  const pattern = 0x1122_3344_5566_7788n;
  const bits = { 16: 0xffffn, 32: 0xffff_ffffn, 64: -1n, natural: -1n } as const;

  /** VMWRITE, then VMREAD of what was written. */
  function tryOut(machine: VmxMachine, { encoding, width }: VmcsField): readonly [string, string] {
    machine.state.setGpr(0, BigInt(encoding));
    machine.state.setGpr(3, pattern);
    const written = machine.execute((asm) => asm.vmwrite(rax, rbx));
    machine.state.setGpr(0, BigInt(encoding));
    machine.state.setGpr(3, 0n);
    const read = machine.execute((asm) => asm.vmread(rbx, rax));
    const isSame = machine.state.gpr(3) === BigInt.asUintN(64, pattern & bits[width]);
    return [written, read === "succeed" && !isSame ? "another value" : read];
  }

  it("are written and read where they exist, and error 12 elsewhere", () => {
    let tried = 0;
    for (const { model, profile } of models) {
      const machine = machineOf(model);
      machine.current(0x2_1000);
      for (const field of vmcsFields) {
        const exists = isFieldThere(field.existsIf, profile.offered);
        const isWritable = !field.readOnly || profile.writesReadOnlyFields;
        const result = tryOut(machine, field);
        const label = `${model.name} ${field.name}`;
        if (!exists) expect(result, label).toEqual(["fail-valid 12", "fail-valid 12"]);
        else if (isWritable) expect(result, label).toEqual(["succeed", "succeed"]);
        else expect(result[0], label).toBe("fail-valid 13");
        tried += 1;
      }
    }
    expect(tried).toBe(models.length * vmcsFields.length);
    const existing = vmcsFields.filter(({ existsIf }) =>
      models.some(({ profile }) => isFieldThere(existsIf, profile.offered)),
    );
    count(
      "fields",
      vmcsFields.length,
      vmcsFields.length,
      `${existing.length} exist in a model, the others are refused`,
    );
  });
});
