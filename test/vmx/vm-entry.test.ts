import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../src/cpu/trap.ts";
import { eax, ss } from "../../src/isa/assembler-operands.ts";
import { allGroups, RuleChecker } from "../../src/vmx/entry-rules/all-rules.ts";
import type { EntryRule } from "../../src/vmx/entry-rules/entry-rule.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { vmcsFields } from "../../src/vmx/vmcs-fields.ts";
import { entryCases, type RuleCase } from "./entry-cases.ts";
import { SampleVmcs } from "./sample-vmcs.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root().guest((asm) => asm.vmcall());
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** What a case makes of a sample under the processor's own capabilities, or undefined when it cannot be made there. */
function sampleOf(...changes: (RuleCase["given"] | undefined)[]): SampleVmcs | undefined {
  const sample = new SampleVmcs(m.vmx.unit.profile);
  const { profile } = sample;
  for (const change of changes) {
    change?.(sample);
  }
  return sample.profile === profile && sample.isLongMode ? sample : undefined;
}
const firstBroken = (sample: SampleVmcs): EntryRule | undefined =>
  new RuleChecker().check(sample.context(), allGroups, 0);

/** Carries what a sample has changed over to the VMCS of the machine, and its memory too. */
function apply(sample: SampleVmcs): void {
  const plain = new SampleVmcs(m.vmx.unit.profile);
  for (const { name } of vmcsFields) {
    if (sample.get(name) !== plain.get(name)) {
      m.set(name, sample.get(name));
    }
  }
  for (const [address, value] of sample.memory) {
    m.write32(address, value);
  }
}

describe.each(Object.entries(entryCases))(
  "VMLAUNCH and rule %s",
  (_id, { given, invalid, valid }) => {
    it("meets the stated outcome", ({ skip }) => {
      const good = sampleOf(given, valid);
      const bad = sampleOf(given, invalid);
      if (good === undefined || bad === undefined || firstBroken(good) !== undefined) {
        skip("not offered by this processor");
        return;
      }
      const rule = firstBroken(bad);
      if (rule === undefined) {
        throw new Error("nothing is broken");
      }
      apply(bad);
      if (rule.outcome.type === "entry-failure") {
        const exit = m.launch();
        expect(exit.entryFailure).toBe(true);
        expect(exit.reason).toBe(rule.outcome.reason);
        expect(exit.qualification).toBe(BigInt(rule.outcome.qualification));
      } else {
        const result = m.execute((asm) => asm.vmlaunch());
        expect(rule.outcome.type).toBe("fail-valid");
        expect(result).toBe(
          `fail-valid ${rule.outcome.type === "fail-valid" ? rule.outcome.error : ""}`,
        );
      }
      expect(m.entries).toBe(0);
    });

    it("is entered otherwise", ({ skip }) => {
      const good = sampleOf(given, valid);
      if (good === undefined || firstBroken(good) !== undefined) {
        skip("not offered by this processor");
        return;
      }
      apply(good);
      // What the guest then does is its own affair.
      m.run(64, (asm) => asm.vmlaunch(), 200);
      // An MSR-load area may well be where it may be and still hold nothing that can be loaded.
      const isPastChecks = m.entries === 1 || m.exit().reason === exitReason.msrLoading;
      expect(isPastChecks).toBe(true);
    });
  },
);

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
