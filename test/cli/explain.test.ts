import { describe, expect, it } from "vitest";
import { cpuCommand } from "../../src/cli/cpu-command.ts";
import { explain, type SubjectName } from "../../src/cli/explain.ts";
import { explainCommand } from "../../src/cli/explain-command.ts";
import type { Explanation } from "../../src/cli/explanation.ts";
import { nearMatches } from "../../src/cli/near-matches.ts";
import { cpuModels } from "../../src/cpu/models/models.ts";
import { UserError } from "../../src/machine/user-error.ts";
import { controlBit, controlNames, wordOf } from "../../src/vmx/controls.ts";
import { allRules } from "../../src/vmx/entry-rules/all-rules.ts";
import { exitReasonTable } from "../../src/vmx/exit-reasons.ts";
import { vmxMsr } from "../../src/vmx/reported-msrs.ts";
import { vmcsFields } from "../../src/vmx/vmcs-fields.ts";

const names = (found: readonly Explanation[]): readonly string[] => found.map(({ name }) => name);
const only = (subject: SubjectName, text: string): Explanation => {
  const [first, ...others] = explain(subject, text);
  if (first === undefined || others.length > 0) throw new Error(`${text} names not one thing`);
  return first;
};
const ids = ({ rules }: Explanation): readonly string[] =>
  (rules ?? []).map((rule) => rule.split(":")[0] ?? "");

describe("explain finds", () => {
  it("every exit by its name, title and number", () => {
    for (const [name, { number, title }] of Object.entries(exitReasonTable)) {
      expect(names(explain("exit", name))).toEqual([name]);
      expect(names(explain("exit", String(number)))).toEqual([name]);
      expect(names(explain("exit", title))).toContain(name);
    }
    expect(only("exit", "0x80000021").name).toBe("invalidGuestState");
  });

  it("every field by its name, title and encodings", () => {
    for (const { name, title, encoding, width } of vmcsFields) {
      expect(names(explain("field", name))).toEqual([name]);
      expect(names(explain("field", title))).toContain(name);
      expect(names(explain("field", `0x${encoding.toString(16)}`))).toEqual([name]);
      if (width === 64) expect(names(explain("field", String(encoding + 1)))).toEqual([name]);
    }
  });

  it("every control by its name and its bit", () => {
    for (const control of controlNames) {
      const word = wordOf(control);
      expect(names(explain("control", control))).toEqual([control]);
      expect(names(explain("control", `${word}:${controlBit(control)}`))).toEqual([control]);
      expect(names(explain("control", control.slice(word.length + 1)))).toContain(control);
    }
  });

  it("every check by its id", () => {
    for (const { id } of allRules) expect(only("check", id).name).toBe(id);
    expect(only("check", "ctl7").name).toBe("CTL-07");
  });

  it("MSRs by name, with or without IA32_, and number", () => {
    expect(only("msr", "EFER").name).toBe("IA32_EFER");
    expect(only("msr", "0xc0000080").name).toBe("IA32_EFER");
    expect(only("msr", "80eh").facts).toContainEqual(["register", "offset 0xe0 of the APIC page"]);
    expect(only("msr", String(vmxMsr.basic)).name).toBe("IA32_VMX_BASIC");
  });
});

describe("explain goes from", () => {
  it("a field to its rules, and from the rule back to the field", () => {
    for (const { name } of vmcsFields) {
      for (const id of ids(only("field", name))) {
        expect(only("check", id).fields).toContain(name);
      }
    }
    expect(ids(only("field", "guestRip"))).toContain("GRF-01");
    expect(ids(only("field", "virtualApicAddress"))).toEqual(["CTL-14", "CTL-15", "CTL-17"]);
  });

  it("a control to its rules, fields and exits, and back", () => {
    const ept = only("control", "secondary.enableEpt");
    expect(ids(ept)).toEqual(expect.arrayContaining(["CTL-33", "CTL-39", "CTL-42"]));
    expect(ids(ept)).not.toContain("CTL-14");
    expect(ept.fields).toContain("eptPointer");
    expect(ept.exits).toContain("eptViolation");
    expect(only("exit", "eptViolation").controls).toContain("secondary.enableEpt");
    expect(only("field", "eptPointer").controls).toContain("secondary.enableEpt");
  });

  it("anything to the models that have it", () => {
    expect(only("control", "enableEpt").models).not.toContain("penryn");
    expect(only("control", "enableEpt").models).toContain("nehalem");
    expect(only("exit", "invvpid").models).not.toContain("penryn");
    expect(only("field", "vpid").models).toContain("sapphire-rapids");
    expect(only("msr", "IA32_VMX_TRUE_EXIT_CTLS").models).not.toContain("penryn");
    expect(only("check", "CTL-34").models).toEqual(only("control", "enableEpt").models);
  });

  it("an entry failure to the rules that lead to it", () => {
    expect(ids(only("exit", "34")).slice(0, 2)).toEqual(["MSL-01", "MSL-02"]);
    expect(ids(only("exit", "33"))).toContain("GNR-22");
  });
});

describe("a name that nothing has", () => {
  it("is an error of one line with the names that are like it", () => {
    expect(() => explain("field", "guestRap")).toThrow(UserError);
    expect(() => explain("field", "guestRap")).toThrow(
      /^explain field: nothing is called "guestRap"; near matches: .*guestRip/,
    );
    expect(() => explain("exit", "9999")).toThrow(/^explain exit: nothing is called "9999"$/);
    expect(() => explain("exit", "0x100000030")).toThrow(UserError);
  });

  it("offers what contains it, and nothing far off", () => {
    expect(nearMatches("window", ["interruptWindow", "hlt"])).toEqual(["interruptWindow"]);
    expect(nearMatches("xyzzy", ["interruptWindow", "hlt"])).toEqual([]);
  });
});

/** Runs a command. @returns what it has printed */
async function printed(args: readonly string[]): Promise<string> {
  let text = "";
  const print = (piece: string): Promise<void> => {
    text += piece;
    return Promise.resolve();
  };
  const [name, ...rest] = args;
  const command = name === "cpu" ? cpuCommand(print) : explainCommand(print);
  await command.exitOverride().parseAsync(rest, { from: "user" });
  return text;
}

describe("vmxon cpu", () => {
  it("lists every model on a line of its own", async () => {
    const lines = (await printed(["cpu", "list"])).trimEnd().split("\n");
    expect(lines.map((line) => line.split(" ")[0])).toEqual(cpuModels.map(({ name }) => name));
    expect(lines.filter((line) => line.endsWith("(default)"))).toHaveLength(1);
  });

  it("shows a model: widths, features, controls with the settings allowed, MSRs", async () => {
    const penryn = await printed(["cpu", "show", "penryn"]);
    expect(penryn).toContain("36 bits physical, 48 bits linear");
    expect(penryn).toMatch(/ 15 {2}- 1 .*primary\.cr3LoadExiting/);
    expect(penryn).not.toContain("enableEpt");
    const skylake = await printed(["cpu", "show", "skylake-server"]);
    expect(skylake).toMatch(/ 15 {2}0 1 .*primary\.cr3LoadExiting/);
    expect(skylake).toMatch(/IA32_VMX_TRUE_PINBASED_CTLS +0x[0-9a-f]{16}/);
    for (const line of skylake.split("\n")) expect(line.length).toBeLessThan(140);
  });

  it("prints JSON that says the same", async () => {
    const list = JSON.parse(await printed(["cpu", "list", "--json"])) as { name: string }[];
    expect(list.map(({ name }) => name)).toEqual(cpuModels.map(({ name }) => name));
    const one = JSON.parse(await printed(["cpu", "show", "haswell", "--json"]));
    expect(one).toMatchObject({ name: "haswell", physicalAddressBits: 39 });
    expect(one.vmx.words[0].controls[0]).toMatchObject({
      name: "pin.externalInterruptExiting",
      bit: 0,
      allowed0: true,
      allowed1: true,
    });
  });

  it("refuses a model that there is not", async () => {
    await expect(printed(["cpu", "show", "skylake"])).rejects.toThrow(
      /near matches: skylake-server/,
    );
    await expect(printed(["cpu", "show", "z80"])).rejects.toThrow(/the models are: penryn/);
  });
});

describe("vmxon explain", () => {
  it("prints text, and JSON when asked", async () => {
    const text = await printed(["explain", "check", "CTL-14"]);
    expect(text).toContain("check CTL-14: the virtual-APIC page is page-aligned\n");
    expect(text).toContain("VMfailValid 7");
    const json = JSON.parse(await printed(["explain", "check", "CTL-14", "--json"]));
    expect(json).toMatchObject([{ kind: "check", name: "CTL-14" }]);
  });

  it("prints all that a name stands for", async () => {
    const text = await printed(["explain", "control", "loadIa32Pat"]);
    expect(text).toContain("control exit.loadIa32Pat");
    expect(text).toContain("control entry.loadIa32Pat");
  });
});
