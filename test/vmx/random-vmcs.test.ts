import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { cpuModel, defaultCpuModel } from "../../src/cpu/models/models.ts";
import { Activity } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import type { ControlName } from "../../src/vmx/controls.ts";
import { exitReasonTitle } from "../../src/vmx/exit-reasons.ts";
import { controlNeeds } from "../../src/vmx/implemented-controls.ts";
import { type FieldName, vmcsFields } from "../../src/vmx/vmcs-fields.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

/** Random VMCSs in the run; a campaign sets more. */
const runs = Number(process.env["VMXON_RANDOM_VMCS"] ?? 2000);
const model = cpuModel(process.env["VMXON_RANDOM_CPU"] ?? defaultCpuModel.name);

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine(model).root();
  m.lp.apic.configureVirtualWire();
  m.useEpt().disable("secondary.enableEpt");
  restore = m.checkpoint();
});

const launch = (asm: Assembler): void => {
  asm.vmlaunch();
  asm.hlt();
};
const resume = (asm: Assembler): void => {
  asm.vmresume();
  asm.hlt();
};

/** Marks a region as that of a shadow VMCS. */
const shadowIndicator = 0x8000_0000;

/** Instructions that a VMCS may give the guest, which chance would hardly put together. */
const vmxInstructions = [
  // XOR EAX, EAX; XOR ECX, ECX; VMFUNC
  [0x31, 0xc0, 0x31, 0xc9, 0x0f, 0x01, 0xd4],
  // MOV ECX, 7; XOR EAX, EAX; VMFUNC
  [0xb9, 7, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x01, 0xd4],
  // MOV EAX, 681EH (RIP of the guest); VMREAD RBX, RAX
  [0xb8, 0x1e, 0x68, 0, 0, 0x0f, 0x78, 0xc3],
  // MOV EAX, 4402H (exit reason); VMWRITE RAX, RBX
  [0xb8, 0x02, 0x44, 0, 0, 0x0f, 0x79, 0xc3],
] as const;

interface Change {
  readonly field: FieldName;
  readonly value: bigint;
  /** Flips these bits instead of writing the value. */
  readonly isFlip: boolean;
}

/** All but exit information, which tells how it ended. */
const fields = vmcsFields.filter((field) => !field.readOnly).map((field) => field.name);
const interesting = [
  0n,
  1n,
  0xffn,
  0xfffn,
  0x1000n,
  0xffff_ffffn,
  0x7fff_ffff_ffffn,
  0x8000_0000_0000n,
  -1n,
  BigInt(vmxPlace.msrArea),
  BigInt(vmxPlace.ept | 0x1e),
  BigInt(vmxPlace.otherVmcs),
];

const change = fc.record<Change>({
  field: fc.constantFrom(...fields),
  value: fc.oneof(
    fc.constantFrom(...interesting),
    fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
    fc.nat(63).map((bit) => 1n << BigInt(bit)),
  ),
  isFlip: fc.boolean(),
});

/** Controls that may be 1, but for those that exclude one another or need more than a bit. */
const excluded: ReadonlySet<ControlName> = new Set(["secondary.virtualizeX2apicMode"]);
function offered(): ControlName[] {
  return [...m.vmx.unit.profile.offered].filter((name) => !excluded.has(name));
}
/** Turns a control on, and what it needs. */
function turnOn(name: ControlName): void {
  if (name === "vmFunction.eptpSwitching") {
    m.set("vmFunctionControls", 1).set("eptpListAddress", vmxPlace.msrBitmaps);
  } else {
    m.enable(name);
  }
  if (name === "secondary.vmcsShadowing") {
    m.write32(vmxPlace.otherVmcs, (m.revision | shadowIndicator) >>> 0);
    m.set("vmcsLinkPointer", vmxPlace.otherVmcs);
    m.set("vmreadBitmap", vmxPlace.ioBitmapA).set("vmwriteBitmap", vmxPlace.ioBitmapB);
  }
  for (const needed of controlNeeds[name] ?? []) {
    turnOn(needed);
  }
}

describe("a random VMCS", () => {
  it("leads to success, VMfail or an architected exit, and nothing else", () => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { maxLength: 6 }),
        fc.array(change, { maxLength: 5 }),
        fc.array(fc.constantFrom(...vmxInstructions), { maxLength: 2 }),
        fc.uint8Array({ minLength: 32, maxLength: 64 }),
        fc.nat(3),
        (controls, changes, first, rest, resumes) => {
          restore();
          m.time = 0;
          m.set("vpid", 1).set("postedInterruptVector", 0xf2);
          const names = offered();
          for (const n of controls) {
            turnOn(present(names[n % names.length], "a control"));
          }
          for (const { field, value, isFlip } of changes) {
            m.set(field, isFlip ? m.get(field) ^ value : value);
          }
          m.load(vmxPlace.guestCode, Uint8Array.from([...first.flat(), ...rest]));
          m.run(64, launch, 100);
          note(seen);
          for (let n = 0; n < resumes && canResume(); n++) {
            m.time += 10_000;
            m.state.activity = Activity.Active;
            m.run(64, resume, 100);
            note(seen);
          }
        },
      ),
      { numRuns: runs },
    );
    // The property means little unless it has seen the guest, refusals and failed entries.
    expect(seen.get("fail-valid 7")).toBeGreaterThan(0);
    expect(seen.get("fail-valid 8")).toBeGreaterThan(0);
    expect(seen.get("VM-entry failure due to invalid guest state")).toBeGreaterThan(0);
    expect(seen.get("VMFUNC")).toBeGreaterThan(0);
    expect(seen.get("VMREAD")).toBeGreaterThan(0);
    expect([...seen.keys()].length).toBeGreaterThan(10);
  }, 600_000);

  const canResume = (): boolean =>
    m.entries > 0 && !m.vmx.unit.isNonRoot && m.state.activity !== Activity.Shutdown;
  function note(seen: Map<string, number>): void {
    const outcome = outcomeOf();
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }

  function outcomeOf(): string {
    const { state } = m;
    if (state.activity === Activity.Shutdown) {
      return "VMX abort or shutdown";
    }
    if (m.vmx.unit.isNonRoot) {
      return "in the guest";
    }
    if (m.entries === 0 && m.finished && m.number("exitReason") === 0) {
      return m.result();
    }
    const { reason } = m.exit();
    const title = exitReasonTitle(reason);
    expect(title, `exit reason ${reason}`).toBeDefined();
    return title ?? "";
  }
});
