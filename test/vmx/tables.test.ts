import { describe, expect, it } from "vitest";
import { cpuModels } from "../../src/cpu/models/models.ts";
import { type VmxProfile, vmxProfile } from "../../src/vmx/capabilities.ts";
import { controlTable, default1, pin, primary } from "../../src/vmx/controls.ts";
import { allRules } from "../../src/vmx/entry-rules/all-rules.ts";
import { exitReasonLimit, exitReasonTable } from "../../src/vmx/exit-reasons.ts";
import { instructionErrorTable } from "../../src/vmx/instruction-errors.ts";
import { vmxMsr } from "../../src/vmx/reported-msrs.ts";
import { fieldAt, slotOfEncoding, vmcsBytes, vmcsFields } from "../../src/vmx/vmcs-fields.ts";

const profiles = cpuModels.map((model): [string, VmxProfile | undefined] => [
  model.name,
  vmxProfile(model),
]);

const bitCount = (word: number): number => word.toString(2).split("1").length - 1;
const unique = (values: readonly unknown[]): number => new Set(values).size;

describe("VMCS fields", () => {
  it("are 206, each with its own encoding and slot", () => {
    expect(vmcsFields).toHaveLength(206);
    expect(unique(vmcsFields.map((field) => field.encoding))).toBe(206);
    expect(unique(vmcsFields.map((field) => field.slot))).toBe(206);
    expect(unique(vmcsFields.map((field) => field.title))).toBe(206);
  });

  it("fit the region", () => {
    for (const field of vmcsFields) {
      expect(field.slot * 4 + 8).toBeLessThanOrEqual(vmcsBytes);
    }
  });

  it("are found by their encoding, and 64-bit ones by that of their high half", () => {
    for (const field of vmcsFields) {
      expect(slotOfEncoding(field.encoding)).toBe(field.slot);
      expect(fieldAt(field.slot)).toBe(field);
      expect(slotOfEncoding(field.encoding | 1)).toBe(field.width === 64 ? field.slot : -1);
    }
  });

  it("are not found by an encoding with reserved bits", () => {
    const rip = 0x681e;
    for (const bit of [12, 15, 16, 20, 30, 31]) {
      expect(slotOfEncoding(rip | (1 << bit))).toBe(-1);
    }
  });

  it("answer to no other encoding of 15 bits", () => {
    const known = new Set(
      vmcsFields.flatMap((field) =>
        field.width === 64 ? [field.encoding, field.encoding | 1] : [field.encoding],
      ),
    );
    for (let encoding = 0; encoding < 0x8000; encoding++) {
      expect(slotOfEncoding(encoding) >= 0, encoding.toString(16)).toBe(known.has(encoding));
    }
  });

  it("take width and type from the encoding", () => {
    const widths = [16, 64, 32, "natural"];
    for (const { encoding, width, type, readOnly } of vmcsFields) {
      expect(widths[(encoding >> 13) & 3]).toBe(width);
      expect(readOnly).toBe(type === "exit-information");
    }
  });
});

describe("controls", () => {
  it("are 104 that mean something, and 34 that are fixed to 1 and mean nothing", () => {
    const words = Object.values(controlTable).slice(0, 7);
    const named = words.flatMap((word) => Object.values(word));
    expect(named).toHaveLength(104);
    const fixed = [default1.pin, default1.primaryTrue, default1.exitTrue, default1.entryTrue];
    expect(fixed.reduce((sum, word) => sum + bitCount(word), 0)).toBe(34);
  });

  it("have one bit each within their word", () => {
    for (const word of Object.values(controlTable)) {
      const bits = Object.values(word).map(([bit]) => bit);
      expect(unique(bits)).toBe(bits.length);
    }
  });

  it("are masks by name", () => {
    expect(pin.nmiExiting).toBe(8);
    expect(primary.activateSecondaryControls).toBe(0x8000_0000);
  });
});

describe("exit reasons and instruction errors", () => {
  it("are 76 reasons with their own numbers", () => {
    const numbers = Object.values(exitReasonTable).map((row) => row.number);
    expect(numbers).toHaveLength(76);
    expect(unique(numbers)).toBe(76);
    expect(Math.max(...numbers)).toBe(exitReasonLimit - 1);
  });

  it("are errors 1 to 28 but for the three that are not used", () => {
    const numbers = Object.values(instructionErrorTable).map(([number]) => number);
    expect(unique(numbers)).toBe(25);
    expect(numbers.filter((number) => [14, 21, 27].includes(number))).toEqual([]);
  });
});

describe("entry rules", () => {
  it("are 291 with their own ids", () => {
    expect(allRules).toHaveLength(291);
    expect(unique(allRules.map((rule) => rule.id))).toBe(291);
  });

  it("are numbered in order within their group", () => {
    const last = new Map<string, number>();
    for (const { id } of allRules) {
      const [prefix = "", number = ""] = id.split("-");
      // The address-space rules stand on both sides of the other rules on the host.
      expect(Number(number), id).toBe((last.get(prefix) ?? 0) + 1);
      last.set(prefix, Number(number));
    }
  });
});

describe.each(profiles)("capabilities of %s", (_name, profile) => {
  it("exist", () => {
    expect(profile).toBeDefined();
  });
  if (profile === undefined) {
    return;
  }

  it("fix to 1 only what they also allow to be 1", () => {
    for (const word of [profile.pin, profile.primary, profile.exit, profile.entry]) {
      expect(word.mustBeOne & ~word.mayBeOne).toBe(0);
    }
  });

  it("report the default1 bits", () => {
    const low = (msr: number) => Number((profile.msrs.get(msr) ?? 0n) & 0xffff_ffffn);
    expect(low(vmxMsr.pinbased)).toBe(default1.pin);
    expect(low(vmxMsr.procbased)).toBe(default1.primary);
    expect(low(vmxMsr.exit)).toBe(default1.exit);
    expect(low(vmxMsr.entry)).toBe(default1.entry);
    const isTrue = ((profile.msrs.get(vmxMsr.basic) ?? 0n) & (1n << 55n)) !== 0n;
    expect(profile.msrs.has(vmxMsr.truePinbased)).toBe(isTrue);
    expect(low(vmxMsr.trueProcbased)).toBe(isTrue ? default1.primaryTrue : 0);
    expect(low(vmxMsr.trueExit)).toBe(isTrue ? default1.exitTrue : 0);
    expect(low(vmxMsr.trueEntry)).toBe(isTrue ? default1.entryTrue : 0);
    expect(profile.exit.mustBeOne).toBe(isTrue ? default1.exitTrue : default1.exit);
  });

  it("report the region size that a VMCS really uses", () => {
    expect(Number(((profile.msrs.get(vmxMsr.basic) ?? 0n) >> 32n) & 0x1fffn)).toBe(vmcsBytes);
  });

  it("name the highest index of the fields that exist", () => {
    const indexes = vmcsFields
      .filter((field) => profile.fieldExists[field.slot] === 1)
      .map((field) => field.index);
    const reported = Number((profile.msrs.get(vmxMsr.vmcsEnum) ?? 0n) >> 1n) & 0x1ff;
    expect(reported).toBe(Math.max(...indexes));
  });

  it("have no field whose control is not offered", () => {
    const names = vmcsFields
      .filter((field) => profile.fieldExists[field.slot] === 0)
      .map((field) => field.name);
    expect(names).toContain("seamGuestKeyId");
    expect(names).toContain("guestIa32FredConfig");
    expect(names).not.toContain("guestRip");
  });
});
