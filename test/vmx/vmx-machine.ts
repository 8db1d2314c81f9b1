import { present } from "../../src/base/assert.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { cr0Bit, cr4Bit } from "../../src/cpu/register-bits.ts";
import { statusFlag, statusFlagsMask } from "../../src/execution/flags.ts";
import { Activity, lpOffset, Segment } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import { mem64 } from "../../src/isa/assembler-operands.ts";
import { attachVmx } from "../../src/vmx/attach.ts";
import type { VmxProfile } from "../../src/vmx/capabilities.ts";
import { type ControlName, controlTable } from "../../src/vmx/controls.ts";
import { allGroups } from "../../src/vmx/entry-rules/all-rules.ts";
import { type FieldName, slot, vmcsFieldTable } from "../../src/vmx/vmcs-fields.ts";
import type { VmxParts } from "../../src/vmx/vmx-parts.ts";
import { vmxOffset } from "../../src/vmx/vmx-unit.ts";
import { place, selector, TestMachine } from "../cpu/test-machine.ts";

/** Physical and linear addresses of what VMX needs, behind those of `place`. */
export const vmxPlace = {
  vmxonRegion: 0x2_0000,
  vmcs: 0x2_1000,
  otherVmcs: 0x2_2000,
  pointers: 0x2_4000,
  ioBitmapA: 0x2_5000,
  ioBitmapB: 0x2_6000,
  msrBitmaps: 0x2_7000,
  msrArea: 0x2_8000,
  guestCode: 0x3_0000,
  guestStack: 0x3_8000,
  hostEntry: 0x3_9000,
  hostStack: 0x3_a000,
  guestIdt: 0x3_b000,
  guestHandlers: 0x3_c000,
  ept: 0x20_0000,
} as const;

/** What a VM exit has left, as a hypervisor reads it. */
export interface Exit {
  readonly reason: number;
  readonly entryFailure: boolean;
  readonly qualification: bigint;
  readonly rip: bigint;
  readonly length: number;
  readonly information: number;
  readonly interruption: number;
  readonly vectoring: number;
}

/** How a VMX instruction has ended. */
export type VmxResult = "succeed" | "fail-invalid" | `fail-valid ${number}` | `fault ${number}`;

const ramBytes = 4 * 1024 ** 2;

/** A processor with VMX and a VMCS whose guest shares the host's memory. */
export class VmxMachine extends TestMachine {
  readonly vmx: VmxParts;
  /** Mode of the host: 64-bit, or 32-bit with PAE paging. */
  readonly #bits: 32 | 64;

  /** @param profile another VMX than the model's */
  constructor(model?: CpuModel, bits: 32 | 64 = 64, profile?: VmxProfile, isTraced = true) {
    super(model, isTraced);
    this.#bits = bits;
    this.vmx = present(attachVmx(this.lp, ramBytes, profile), "a model with VMX");
  }

  /** VM entries that have reached the guest. */
  get entries(): number {
    return this.state.read32(vmxOffset.entries);
  }
  exitCount(reason: number): number {
    return this.state.read32(vmxOffset.exits + reason * 4);
  }
  get revision(): number {
    return this.vmx.unit.profile.revision;
  }

  /** A mode in which VMXON would succeed. */
  ready(): this {
    if (this.#bits === 64) {
      this.long64();
    } else {
      this.paged32(true);
    }
    const { state } = this;
    state.setLow("cr0", state.low("cr0") | cr0Bit.NE);
    state.setLow("cr4", state.low("cr4") | cr4Bit.VMXE);
    state.set("featureControl", 5n);
    this.lp.loadControlState();
    for (const region of [vmxPlace.vmxonRegion, vmxPlace.vmcs, vmxPlace.otherVmcs]) {
      this.write32(region, this.revision);
    }
    return this;
  }

  /** VMX root operation without a current VMCS. */
  on(): this {
    this.ready();
    this.pointTo(vmxPlace.vmxonRegion);
    return this.#expectSuccess((asm) => asm.vmxon(mem64(vmxPlace.pointers)));
  }

  /** VMX root operation with a current VMCS that may be launched: guest code as the host's, at `vmxPlace.guestCode`. */
  root(): this {
    this.on();
    this.current(vmxPlace.vmcs);
    this.#fillControls();
    this.#fillHost();
    this.#fillGuest();
    this.state.u8[vmxPlace.hostEntry] = 0xf4;
    return this;
  }
  clear(region: number): this {
    this.pointTo(region);
    return this.#expectSuccess((asm) => asm.vmclear(mem64(vmxPlace.pointers)));
  }
  /** Clears a region and makes it current. */
  current(region: number): this {
    this.clear(region);
    return this.#expectSuccess((asm) => asm.vmptrld(mem64(vmxPlace.pointers)));
  }

  /** Puts an address where the memory operands of these tests point. */
  pointTo(address: number | bigint): void {
    this.write64(vmxPlace.pointers, BigInt(address));
  }

  // ——— the VMCS

  set(name: FieldName, value: bigint | number): this {
    const wide = BigInt.asUintN(64, BigInt(value));
    this.vmx.unit.vmcs.write(slot[name], Number(wide & 0xffff_ffffn), Number(wide >> 32n));
    return this;
  }
  get(name: FieldName): bigint {
    const { vmcs } = this.vmx.unit;
    return (BigInt(vmcs.high(slot[name])) << 32n) | BigInt(vmcs.low(slot[name]));
  }
  number(name: FieldName): number {
    return Number(this.get(name));
  }
  turn(name: ControlName, isOn: boolean): this {
    const [word = "", control = ""] = name.split(".");
    const rows: Readonly<Record<string, readonly [number, string]>> =
      controlTable[word as keyof typeof controlTable];
    const mask = 1n << BigInt(present(rows[control], name)[0]);
    const field: FieldName = present(wordFields[word], word);
    this.set(field, isOn ? this.get(field) | mask : this.get(field) & ~mask);
    return isOn && word === "secondary" ? this.enable("primary.activateSecondaryControls") : this;
  }
  enable(name: ControlName): this {
    return this.turn(name, true);
  }
  disable(name: ControlName): this {
    return this.turn(name, false);
  }

  #fillControls(): void {
    const { pin, primary, exit, entry } = this.vmx.unit.profile;
    this.set("pinControls", pin.mustBeOne).set("primaryControls", primary.mustBeOne);
    this.set("exitControls", exit.mustBeOne).set("entryControls", entry.mustBeOne);
    this.turn("exit.hostAddressSpaceSize", this.#bits === 64);
    this.turn("entry.ia32eModeGuest", this.#bits === 64);
    this.set("vmcsLinkPointer", -1n);
  }
  #fillHost(): void {
    const { state } = this;
    this.set("hostCr0", state.get("cr0")).set("hostCr3", state.get("cr3"));
    this.set("hostCr4", state.get("cr4")).set("hostRip", vmxPlace.hostEntry);
    const code = this.#bits === 64 ? selector.code64 : selector.code32;
    this.set("hostRsp", vmxPlace.hostStack).set("hostCsSelector", code);
    for (const name of ["Ss", "Ds", "Es", "Fs", "Gs"] as const) {
      this.set(`host${name}Selector`, selector.data);
    }
    this.set("hostTrSelector", selector.tss).set("hostTrBase", place.tss);
    this.set("hostIa32Efer", state.get("efer")).set("hostIa32Pat", state.get("pat"));
    this.set("hostGdtrBase", place.gdt).set("hostIdtrBase", place.idt);
  }
  #fillGuest(): void {
    const { state } = this;
    this.set("guestCr0", state.get("cr0")).set("guestCr3", state.get("cr3"));
    this.set("guestCr4", state.get("cr4")).set("guestRip", vmxPlace.guestCode);
    this.set("guestIa32Efer", state.get("efer")).set("guestIa32Pat", state.get("pat"));
    this.set("guestRsp", vmxPlace.guestStack).set("guestRflags", 2).set("guestDr7", 0x400);
    const segments = [
      ["Cs", Segment.CS],
      ["Ss", Segment.SS],
      ["Ds", Segment.DS],
      ["Es", Segment.ES],
      ["Fs", Segment.FS],
      ["Gs", Segment.GS],
      ["Tr", Segment.TR],
      ["Ldtr", Segment.LDTR],
    ] as const;
    for (const [name, segment] of segments) {
      this.set(`guest${name}Selector`, state.selector(segment));
      this.set(`guest${name}AccessRights`, state.rights(segment));
      this.set(`guest${name}Limit`, state.limit(segment));
      this.set(`guest${name}Base`, state.segmentBase(segment));
    }
    this.set("guestGdtrBase", place.gdt).set("guestGdtrLimit", 0xfff);
    this.set("guestIdtrBase", place.idt).set("guestIdtrLimit", 0xfff);
  }

  // ——— running

  /** Runs host code until it rests; it ends behind itself with a HLT. @returns how its last VMX instruction ended */
  execute(write: (asm: Assembler) => void, bits = this.#bits): VmxResult {
    this.state.activity = Activity.Active;
    this.run(bits, (asm) => {
      write(asm);
      asm.hlt();
    });
    if (!this.finished) {
      return `fault ${this.trap().vector}`;
    }
    return this.result();
  }
  result(): VmxResult {
    const flags = this.lp.readFlags() & statusFlagsMask;
    if (flags === 0) {
      return "succeed";
    }
    if (flags === statusFlag.CF) {
      return "fail-invalid";
    }
    if (flags !== statusFlag.ZF) {
      throw new Error(`flags ${flags.toString(16)} are not those of a VMX instruction`);
    }
    return `fail-valid ${this.number("instructionError")}`;
  }
  #expectSuccess(write: (asm: Assembler) => void): this {
    const result = this.execute(write);
    if (result !== "succeed") {
      throw new Error(`a VMX instruction of the preparation: ${result}`);
    }
    return this;
  }

  /** Writes the guest's program. */
  guest(write: (asm: Assembler) => void, bits: 16 | 32 | 64 = this.#bits): this {
    this.assemble(bits, write, vmxPlace.guestCode);
    return this;
  }
  /** VMLAUNCH, and then the guest, until the host rests after a VM exit. Throws when the entry was refused. */
  launch(budget = 10_000): Exit {
    return this.#enter((asm) => asm.vmlaunch(), budget);
  }
  resume(budget = 10_000): Exit {
    return this.#enter((asm) => asm.vmresume(), budget);
  }
  #enter(write: (asm: Assembler) => void, budget: number): Exit {
    this.state.activity = Activity.Active;
    this.run(
      this.#bits,
      (asm) => {
        write(asm);
        asm.hlt();
      },
      budget,
    );
    if (Number(this.state.rip) !== vmxPlace.hostEntry + 1) {
      const why = this.finished ? this.result() : `rip ${this.state.rip.toString(16)}`;
      throw new Error(`no VM exit: ${why}`);
    }
    return this.exit();
  }
  exit(): Exit {
    const reason = this.number("exitReason");
    return {
      reason: reason & 0xffff,
      entryFailure: reason >= 0x8000_0000,
      qualification: this.get("exitQualification"),
      rip: this.get("guestRip"),
      length: this.number("exitInstructionLength"),
      information: this.number("exitInstructionInformation"),
      interruption: this.number("exitInterruptionInformation"),
      vectoring: this.number("idtVectoringInformation"),
    };
  }

  // ——— the same start again and again

  /** Remembers RAM and registers, in root operation. @returns what brings them back */
  checkpoint(): () => void {
    const { state, lp } = this;
    const { unit } = this.vmx;
    const ram = state.u8.slice(0, ramBytes);
    const window = state.u8.slice(state.base, state.base + lpOffset.mailbox);
    return () => {
      state.u8.set(ram);
      state.u8.set(window, state.base);
      state.activity = Activity.Active;
      lp.core.codeWritten(place.code, 4096);
      lp.core.codeWritten(vmxPlace.guestCode, 4096);
      unit.leaveGuest();
      unit.isInitHeld = false;
      this.vmx.ept.invalidateAll();
      unit.vmcs.changed(allGroups);
      lp.addressSpace.enter(0, 0, true);
      lp.addressSpace.invalidateAll();
      lp.loadControlState();
    };
  }

  // ——— EPT

  /** Maps guest-physical RAM onto itself with 4 KiB pages, and turns EPT on. */
  useEpt(flags = 0): this {
    const { ept } = vmxPlace;
    const all = 7n;
    this.write64(ept, BigInt(ept + 0x1000) | all);
    this.write64(ept + 0x1000, BigInt(ept + 0x2000) | all);
    for (let table = 0; table < 2; table++) {
      this.write64(ept + 0x2000 + table * 8, BigInt(ept + 0x3000 + table * 0x1000) | all);
      for (let n = 0; n < 512; n++) {
        const page = BigInt(table * 512 + n) << 12n;
        this.write64(ept + 0x3000 + table * 0x1000 + n * 8, page | 0x37n);
      }
    }
    return this.enable("secondary.enableEpt").set("eptPointer", ept | 0x1e | flags);
  }
  /** Address of the EPT entry that maps a guest-physical address. @param level 0 for the page's own */
  eptEntry(guestPhysical: number, level = 0): number {
    const { ept } = vmxPlace;
    switch (level) {
      case 3:
        return ept;
      case 2:
        return ept + 0x1000;
      case 1:
        return ept + 0x2000 + (guestPhysical >>> 21) * 8;
      default:
        return ept + 0x3000 + (guestPhysical >>> 12) * 8;
    }
  }
}

const wordFields: Record<string, FieldName> = {
  pin: "pinControls",
  primary: "primaryControls",
  secondary: "secondaryControls",
  tertiary: "tertiaryControls",
  exit: "exitControls",
  entry: "entryControls",
};

/** Encoding of a field, for VMREAD and VMWRITE in test programs. */
export const encodingOf = (name: FieldName): number => vmcsFieldTable[name][0];
