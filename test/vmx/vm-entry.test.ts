import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { Activity } from "../../src/execution/lp-window.ts";
import { eax, ss } from "../../src/isa/assembler-operands.ts";
import type { VmxProfile } from "../../src/vmx/capabilities.ts";
import { allGroups, RuleChecker } from "../../src/vmx/entry-rules/all-rules.ts";
import type { EntryRule } from "../../src/vmx/entry-rules/entry-rule.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { type FieldName, slot, vmcsFields } from "../../src/vmx/vmcs-fields.ts";
import { entryCases, type RuleCase } from "./entry-cases.ts";
import { everything, SampleVmcs } from "./sample-vmcs.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root().guest((asm) => asm.vmcall());
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** What a case makes of a sample under some capabilities. */
function sampleOn(profile: VmxProfile, ...changes: (RuleCase["given"] | undefined)[]): SampleVmcs {
  const sample = new SampleVmcs(profile);
  for (const change of changes) {
    change?.(sample);
  }
  return sample;
}

/** A case's sample, and what a machine's own VMCS looks like beside it. */
interface Trial {
  readonly machine: VmxMachine;
  readonly sample: SampleVmcs;
  readonly plain: SampleVmcs;
}

/**
 * The valid or the invalid sample of a case, on a machine it fits: the one at hand if its processor offers what the case needs, else
 * one whose processor offers all there is, in the mode that it needs.
 */
function trial({ given, valid, invalid }: RuleCase, isValid: boolean): Trial {
  const own = m.vmx.unit.profile;
  const change = isValid ? valid : invalid;
  const good = sampleOn(own, given, valid);
  const sample = sampleOn(own, given, change);
  const isAtHand = [good, sample].every((each) => each.profile === own && each.isLongMode);
  if (isAtHand && firstBroken(good) === undefined) {
    return { machine: m, sample, plain: new SampleVmcs(own) };
  }
  const other = sampleOn(everything, given, change);
  const machine = new VmxMachine(undefined, other.isLongMode ? 64 : 32, other.profile);
  machine.root().guest((asm) => asm.vmcall());
  // A case in another mode is given a VMCS of that mode, and so is such a machine.
  const plain = other.isLongMode ? new SampleVmcs(other.profile) : sampleOn(everything, given);
  return { machine, sample: other, plain };
}
const firstBroken = (sample: SampleVmcs): EntryRule | undefined =>
  new RuleChecker().check(sample.context(), allGroups, 0);

/** Carries what a sample has changed over to the VMCS of the machine, and its memory too. */
function apply(
  { machine, sample, plain }: Trial,
  set = (name: FieldName, value: bigint): unknown => machine.set(name, value),
): void {
  for (const { name } of vmcsFields) {
    if (sample.get(name) !== plain.get(name)) {
      set(name, sample.get(name));
    }
  }
  for (const [address, value] of sample.memory) {
    machine.write32(address, value);
  }
}

/** VMLAUNCH ends as the first broken rule of the sample says. */
function expectRefusal({ machine, sample }: Trial): void {
  const { outcome } = present(firstBroken(sample), "nothing is broken");
  if (outcome.type === "entry-failure") {
    const exit = machine.launch();
    expect(exit.entryFailure).toBe(true);
    expect(exit.reason).toBe(outcome.reason);
    expect(exit.qualification).toBe(BigInt(outcome.qualification));
  } else {
    const result = machine.execute((asm) => asm.vmlaunch());
    expect(outcome.type).toBe("fail-valid");
    expect(result).toBe(`fail-valid ${outcome.type === "fail-valid" ? outcome.error : ""}`);
  }
}

/** Valid only for an entry to system-management mode, which is not modelled. */
const entersSmm: ReadonlySet<string> = new Set(["GNR-07", "GNR-14"]);

describe.each(Object.entries(entryCases))("VMLAUNCH and rule %s", (id, ruleCase) => {
  it("meets the stated outcome", () => {
    const bad = trial(ruleCase, false);
    apply(bad);
    expectRefusal(bad);
    expect(bad.machine.entries).toBe(0);
  });

  it("meets it too when a VMCS that was entered was changed in memory", () => {
    const bad = trial(ruleCase, false);
    const { machine } = bad;
    expect(machine.launch().entryFailure).toBe(false);
    machine.clear(vmxPlace.vmcs);
    apply(bad, (name, value) => {
      const at = vmxPlace.vmcs + slot[name] * 4;
      machine.write32(at, Number(value & 0xffff_ffffn));
      machine.write32(at + 4, Number(value >> 32n));
    });
    machine.current(vmxPlace.vmcs);
    expectRefusal(bad);
    expect(machine.entries).toBe(1);
  });

  it.skipIf(entersSmm.has(id))("is entered otherwise", () => {
    const good = trial(ruleCase, true);
    const { machine } = good;
    apply(good);
    // What the guest then does is its own affair.
    machine.state.activity = Activity.Active;
    machine.run(good.sample.isLongMode ? 64 : 32, (asm) => asm.vmlaunch(), 200);
    // An MSR-load area may well be where it may be and still hold nothing that can be loaded.
    const isPastChecks = machine.entries === 1 || machine.exit().reason === exitReason.msrLoading;
    expect(isPastChecks).toBe(true);
  });
});

describe("the instruction ladder of VMLAUNCH and VMRESUME", () => {
  it("needs VMX operation", () => {
    const off = new VmxMachine().ready();
    expect(off.execute((asm) => asm.vmlaunch())).toBe(`fault ${Vector.UD}`);
    expect(off.execute((asm) => asm.vmresume())).toBe(`fault ${Vector.UD}`);
  });

  it("needs a current VMCS", () => {
    const none = new VmxMachine().on();
    expect(none.execute((asm) => asm.vmlaunch())).toBe("fail-invalid");
    expect(none.execute((asm) => asm.vmresume())).toBe("fail-invalid");
  });

  it("needs CPL 0", () => {
    m.user();
    expect(m.execute((asm) => asm.vmlaunch())).toBe(`fault ${Vector.GP}`);
  });

  it("launches what is clear and resumes what is launched", () => {
    expect(m.execute((asm) => asm.vmresume())).toBe("fail-valid 5");
    m.launch();
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 4");
    expect(m.resume().rip).toBe(BigInt(vmxPlace.guestCode));
    expect(m.entries).toBe(2);
  });

  it("refuses while MOV SS blocks events", () => {
    expect(
      m.execute((asm) => {
        asm.mov(eax, ss);
        asm.mov(ss, eax);
        asm.vmlaunch();
      }),
    ).toBe("fail-valid 26");
  });

  it("leaves the launch state clear when the entry fails", () => {
    m.set("guestRflags", 0);
    expect(m.launch().entryFailure).toBe(true);
    m.set("guestRflags", 2);
    expect(m.launch().entryFailure).toBe(false);
  });
});
