import { type FixedBits, noFixedBits } from "../cpu/fixed-bits.ts";
import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { cr0Bit, flagBit } from "../cpu/register-bits.ts";
import { writeStatusFlags } from "../execution/flags.ts";
import { lpOffset } from "../execution/lp-window.ts";
import { assistantOffset } from "./assistants/assistant-window.ts";
import { writeFieldTable } from "./assistants/field-table.ts";
import type { VmxProfile } from "./capabilities.ts";
import { secondary } from "./controls.ts";
import { EntryContext } from "./entry-rules/entry-context.ts";
import { ExitClassCounts } from "./exit-classes.ts";
import { exitReasonLimit } from "./exit-reasons.ts";
import { createStateTransfer, type StateTransfer } from "./state-transfer.ts";
import { VmcsCache } from "./vmcs-cache.ts";
import { slot } from "./vmcs-fields.ts";

/** The vmx room's part of the LP window, byte offsets. */
export const vmxOffset = {
  /** u32: bit 0 in VMX operation, bit 1 in non-root operation. */
  mode: lpOffset.vmxPrivate + 0x00,
  /** u64 each; all ones: none. */
  vmxonPointer: lpOffset.vmxPrivate + 0x08,
  currentPointer: lpOffset.vmxPrivate + 0x10,
  /** u32 each: VM entries that reached the guest, entries that failed after the checks, VMX aborts. */
  entries: lpOffset.vmxPrivate + 0x20,
  failedEntries: lpOffset.vmxPrivate + 0x24,
  aborts: lpOffset.vmxPrivate + 0x28,
  /** u32 by basic exit reason. */
  exits: lpOffset.vmxPrivate + 0x100,
  /** The checker's list of VMCSs that are active here (see `checker/residency-board.ts`). */
  residency: lpOffset.vmxPrivate + 0x800,
} as const;

export const modeBit = { on: 1, nonRoot: 2 } as const;
const none = -1;
/** VMX of one LP: whether and how it operates, its VMCSs, and what VMX instructions report. */
export class VmxUnit {
  readonly lp: LogicalProcessor;
  readonly profile: VmxProfile;
  readonly vmcs: VmcsCache;
  readonly transfer: StateTransfer;
  /** The rules' view of the current VMCS; also the control words in effect while the guest runs. */
  readonly controls: EntryContext;

  /** In VMX operation. */
  isOn = false;
  /** In non-root operation. */
  isNonRoot = false;
  /** VM entry is delivering an event: the instruction in progress is VMLAUNCH or VMRESUME. */
  isInjecting = false;
  /** Guest-physical addresses are translated. */
  usesEpt = false;
  /** Physical address of the VMXON region, -1 outside VMX operation. */
  vmxonPointer = none;
  #isInitHeld = false;
  readonly #rootBits: FixedBits;
  readonly #unrestrictedBits: FixedBits;

  /** VM exits on this LP by basic reason, for each VMCS by its address. */
  readonly exitsByVmcs = new Map<number, Uint32Array>();
  /** Those with a qualification worth telling apart, by class. */
  readonly exitClasses = new ExitClassCounts();
  #countedPointer = none;
  #counts: Uint32Array = new Uint32Array(exitReasonLimit);

  constructor(lp: LogicalProcessor, profile: VmxProfile) {
    this.lp = lp;
    this.profile = profile;
    this.#rootBits = {
      cr0Ones: profile.cr0Fixed0,
      cr0Allowed: profile.cr0Fixed1,
      cr4Ones: profile.cr4Fixed0,
      cr4Allowed: profile.cr4Fixed1,
    };
    const optional = cr0Bit.PE | cr0Bit.PG;
    this.#unrestrictedBits = {
      ...this.#rootBits,
      cr0Ones: (profile.cr0Fixed0 & ~optional) >>> 0,
    };
    this.vmcs = new VmcsCache(lp.state, lp.physical);
    this.transfer = createStateTransfer(lp.memory, lp.state.base);
    this.controls = new EntryContext(profile, lp.physical, this.vmcs.u32);
    writeFieldTable(lp.state, profile);
    this.reset();
  }

  /** Power-up and INIT outside VMX operation. */
  reset(): void {
    this.isInitHeld = false;
    this.turnOff();
  }

  // ——— modes

  /** VMXON. There is no current VMCS. */
  turnOn(vmxonPointer: number): void {
    this.isOn = true;
    this.vmxonPointer = vmxonPointer;
    this.lp.fixedBits = this.#rootBits;
    this.publish();
  }
  /** VMXOFF. What is cached goes to memory. */
  turnOff(): void {
    this.vmcs.drain();
    this.isOn = false;
    this.isNonRoot = false;
    this.usesEpt = false;
    this.lp.physical.watchedPage = none;
    this.vmxonPointer = none;
    this.lp.fixedBits = noFixedBits;
    this.publish();
  }
  enterGuest(): void {
    const isUnrestricted = (this.controls.secondary & secondary.unrestrictedGuest) !== 0;
    this.isNonRoot = true;
    if ((this.controls.secondary & secondary.virtualizeApicAccesses) !== 0) {
      this.lp.physical.watchedPage = this.vmcs.address(slot.apicAccessAddress);
    }
    this.lp.fixedBits = isUnrestricted ? this.#unrestrictedBits : this.#rootBits;
    this.#publishMode();
  }
  leaveGuest(): void {
    this.isNonRoot = false;
    this.lp.physical.watchedPage = none;
    this.usesEpt = false;
    this.lp.fixedBits = this.#rootBits;
    this.#publishMode();
  }

  /** An INIT has arrived in root operation, where it is blocked. */
  get isInitHeld(): boolean {
    return this.#isInitHeld;
  }
  set isInitHeld(isHeld: boolean) {
    this.#isInitHeld = isHeld;
    this.leaveToHandlers();
  }

  /** The next VM entry or exit is not for the assistants. */
  leaveToHandlers(): void {
    this.vmcs.u32[assistantOffset.enterable >>> 2] = 0;
    this.vmcs.u32[assistantOffset.exitable >>> 2] = 0;
  }

  #publishMode(): void {
    const { vmcs } = this;
    vmcs.u32[vmxOffset.mode >>> 2] =
      (this.isOn ? modeBit.on : 0) | (this.isNonRoot ? modeBit.nonRoot : 0);
    const isAccessible = this.isOn && !this.isNonRoot && vmcs.hasCurrent;
    vmcs.u32[assistantOffset.vmcs >>> 2] = isAccessible ? vmcs.location : 0;
    vmcs.u32[assistantOffset.line >>> 2] = vmcs.lineLocation;
    vmcs.u32[assistantOffset.receiving >>> 2] = 0;
  }
  /** Makes the mode and the two pointers visible in the window. */
  publish(): void {
    const { state } = this.lp;
    this.leaveToHandlers();
    this.#publishMode();
    state.write64(vmxOffset.vmxonPointer, BigInt.asUintN(64, BigInt(this.vmxonPointer)));
    state.write64(vmxOffset.currentPointer, BigInt.asUintN(64, BigInt(this.vmcs.currentPointer)));
  }

  // ——— how VMX instructions end ("Conventions" in "VMX Instructions")

  succeed(): void {
    this.#report(0);
  }
  failInvalid(): void {
    this.#report(flagBit.CF);
  }
  /** There is a current VMCS. */
  failValid(error: number): void {
    this.vmcs.write32(slot.instructionError, error);
    this.#report(flagBit.ZF);
  }
  /** VMfail: with a number if there is a VMCS to hold it. */
  fail(error: number): void {
    if (this.vmcs.hasCurrent) {
      this.failValid(error);
    } else {
      this.failInvalid();
    }
  }

  #report(flags: number): void {
    const { state } = this.lp;
    writeStatusFlags(state.u32, state.base, flags);
  }

  // ——— statistics

  countExit(reason: number): void {
    const index = reason < exitReasonLimit ? reason : 0;
    const at = (vmxOffset.exits >>> 2) + index;
    this.vmcs.u32[at] = (this.vmcs.u32[at] ?? 0) + 1;
    this.countExitsOfCurrent(index, 1);
  }
  /** Exits that the window has counted already. */
  countExitsOfCurrent(index: number, times: number): void {
    const counts = this.#countsOfCurrent();
    counts[index] = (counts[index] ?? 0) + times;
  }

  #countsOfCurrent(): Uint32Array {
    const { currentPointer } = this.vmcs;
    if (currentPointer !== this.#countedPointer) {
      this.#counts = this.exitsByVmcs.get(currentPointer) ?? new Uint32Array(exitReasonLimit);
      this.exitsByVmcs.set(currentPointer, this.#counts);
      this.#countedPointer = currentPointer;
    }
    return this.#counts;
  }

  count(offset: number): void {
    this.vmcs.u32[offset >>> 2] = (this.vmcs.u32[offset >>> 2] ?? 0) + 1;
  }
}

/** VM exits by basic reason of an LP, read from its window by anyone. */
export function readExitCounts(u32: Uint32Array, windowBase: number): Uint32Array {
  const from = (windowBase + vmxOffset.exits) >>> 2;
  return u32.slice(from, from + exitReasonLimit);
}
