import type { InstructionView } from "../cpu/instruction-view.ts";
import { ApicMode } from "../cpu/local-apic/registers.ts";
import { privateOffset } from "../cpu/lp-private.ts";
import type { DeliveredEvent } from "../cpu/ports.ts";
import { cr0Bit, eferBit, flagBit } from "../cpu/register-bits.ts";
import { generalProtection, undefinedOpcode, vmExitTaken } from "../cpu/trap.ts";
import { Outcome } from "../execution/core-host.ts";
import { Activity, lpOffset } from "../execution/lp-window.ts";
import type { SteadyTransitions } from "./assistants/steady-transitions.ts";
import { entryControl, secondary } from "./controls.ts";
import { RuleChecker } from "./entry-rules/all-rules.ts";
import type { EntryRule } from "./entry-rules/entry-rule.ts";
import { usesPaePaging } from "./entry-rules/guest-pdptes.ts";
import {
  type EntryAttempt,
  type PreliminaryRule,
  preliminaryRules,
} from "./entry-rules/preliminary.ts";
import type { ExtendedPageTables } from "./ept.ts";
import type { VmExits } from "./exit.ts";
import { exitReason } from "./exit-reasons.ts";
import type { GuestEvents } from "./guest-events.ts";
import { cr0Kept } from "./host-loading.ts";
import { isProperMode } from "./instructions/guards.ts";
import { InterruptionType, interruptionBit } from "./interruption.ts";
import type { MsrAreas } from "./msr-area.ts";
import { deriveSegments, derivesMore, modeChanged, setMode } from "./state-transfer.ts";
import { slot } from "./vmcs-fields.ts";
import { type VmxUnit, vmxOffset } from "./vmx-unit.ts";

const blocking = { shadows: 3, movSs: 2, nmi: 8, all: 0xf } as const;
const dr7Cleared = 0xd000;
const dr7Set = 0x400;
/** Pending debug exceptions count only when one of them is enabled, or for a single step. */
const pendingDebugValid = (1 << 12) | (1 << 14);
const pendingDebugBits = 0x400f;

/** What VM entries are made with. */
export interface EntryParts {
  readonly unit: VmxUnit;
  readonly exits: VmExits;
  readonly areas: MsrAreas;
  readonly ept: ExtendedPageTables;
  readonly events: GuestEvents;
  readonly steady: SteadyTransitions;
}

/** VM entries of one LP ("VM Entries"). */
export class VmEntries {
  readonly #parts: EntryParts;
  readonly #unit: VmxUnit;
  readonly #checker = new RuleChecker();
  /** The entry has changed more than the address space: derived state is to be worked out anew. */
  #isModeChanged = false;
  /** RIP of the instruction in progress, known while tracing. */
  #from = 0n;
  readonly #attempt: { -readonly [K in keyof EntryAttempt]: EntryAttempt[K] } = {
    isVmxOperation: false,
    isProperMode: false,
    isNonRoot: false,
    cpl: 0,
    hasCurrentVmcs: false,
    isShadowVmcs: false,
    isBlockedByMovSs: false,
    isLaunch: false,
    isLaunched: false,
  };

  constructor(parts: EntryParts) {
    this.#parts = parts;
    this.#unit = parts.unit;
  }

  /** VMLAUNCH and VMRESUME. @returns an `Outcome` */
  enter(insn: InstructionView, isLaunch: boolean): number {
    const { lp } = this.#unit;
    if (lp.trace !== undefined) {
      this.#from = lp.state.rip;
    }
    const rule = this.#firstObstacle(isLaunch);
    if (rule !== undefined) {
      return this.#refuse(rule, insn, isLaunch);
    }
    const broken = this.#firstBrokenRule();
    if (broken !== undefined) {
      return this.#reject(broken);
    }
    if (!this.#loadGuest()) {
      return Outcome.Jump;
    }
    return this.#goToGuest();
  }

  // ——— before the contents of the VMCS matter

  #firstObstacle(isLaunch: boolean): PreliminaryRule | undefined {
    const unit = this.#unit;
    const { lp, vmcs } = unit;
    const attempt = this.#attempt;
    attempt.isVmxOperation = unit.isOn;
    attempt.isProperMode = isProperMode(lp);
    attempt.isNonRoot = unit.isNonRoot;
    attempt.cpl = lp.state.cpl;
    attempt.hasCurrentVmcs = vmcs.hasCurrent;
    attempt.isShadowVmcs = vmcs.hasCurrent && vmcs.isShadow;
    attempt.isBlockedByMovSs = (lp.state.interruptibility & blocking.movSs) !== 0;
    attempt.isLaunch = isLaunch;
    attempt.isLaunched = vmcs.hasCurrent && vmcs.isLaunched;
    for (const rule of preliminaryRules) {
      if (!rule.holds(attempt)) {
        return rule;
      }
    }
    return undefined;
  }

  #refuse({ id, outcome }: PreliminaryRule, insn: InstructionView, isLaunch: boolean): number {
    if (this.#unit.lp.trace !== undefined && outcome.type.startsWith("fail")) {
      this.#traceRefusal(id, isLaunch);
    }
    switch (outcome.type) {
      case "fault":
        throw outcome.vector === "#UD" ? undefinedOpcode() : generalProtection();
      case "vm-exit":
        this.#parts.exits.instruction(isLaunch ? exitReason.vmlaunch : exitReason.vmresume, insn);
        return Outcome.Jump;
      case "fail-valid":
        this.#unit.failValid(outcome.error);
        return Outcome.Next;
      default:
        this.#unit.failInvalid();
        return Outcome.Next;
    }
  }

  #traceRefusal(rule: string, launch: boolean): void {
    const { lp, vmcs } = this.#unit;
    lp.trace?.("vm-entry-refused", { lp: lp.index, vmcs: vmcs.currentPointer, launch, rule });
  }

  // ——— the contents

  #firstBrokenRule(): EntryRule | undefined {
    const { lp, vmcs, controls } = this.#unit;
    controls.begin(vmcs.base);
    controls.isLongMode = lp.isLongMode;
    controls.isX2apic = lp.apic.mode === ApicMode.X2Apic;
    controls.currentPointer = vmcs.currentPointer;
    const checker = this.#checker;
    this.#parts.steady.entering(vmcs.dirty);
    const broken = checker.check(controls, vmcs.dirty, vmcs.live);
    vmcs.held(checker.held, checker.live);
    return broken;
  }

  #reject(rule: EntryRule): number {
    const { lp, vmcs } = this.#unit;
    lp.trace?.("vm-entry-rejected", {
      lp: lp.index,
      vmcs: vmcs.currentPointer,
      launch: this.#attempt.isLaunch,
      rule: rule.id,
    });
    const { outcome } = rule;
    if (outcome.type === "entry-failure") {
      this.#parts.exits.entryFailure(outcome.reason, outcome.qualification);
      return Outcome.Jump;
    }
    this.#unit.failValid(outcome.type === "fail-valid" ? outcome.error : 0);
    return Outcome.Next;
  }

  // ——— "Loading Guest State" and "Loading MSRs"

  /** @returns false when the entry has failed, and host state is loaded */
  #loadGuest(): boolean {
    const { lp, vmcs, controls, transfer } = this.#unit;
    const { ept, areas, exits } = this.#parts;
    let changed = this.#loadControlRegisters() | this.#loadControlledMsrs();
    const segments = transfer.loadGuest(vmcs.location);
    changed |= segments | this.#loadFlags();
    if (segments !== 0) {
      deriveSegments(lp.state, segments);
    }
    ept.begin();
    this.#enterGuestMemory();
    if (usesPaePaging(controls)) {
      this.#loadPdptes();
    }
    const loads = vmcs.low(slot.entryMsrLoadCount);
    if (loads !== 0) {
      changed |= modeChanged;
      const failed = areas.load(vmcs.address(slot.entryMsrLoadAddress), loads);
      if (failed !== 0) {
        exits.entryFailure(exitReason.msrLoading, failed);
        return false;
      }
    }
    this.#isModeChanged = (changed & derivesMore) !== 0;
    return true;
  }

  /** @returns `modeChanged` or 0 */
  #loadControlRegisters(): number {
    const { lp, vmcs, controls } = this.#unit;
    const words = vmcs.i32;
    const cr0 = (vmcs.low(slot.guestCr0) & ~cr0Kept) | (lp.state.read32(lpOffset.cr0) & cr0Kept);
    let changed =
      setMode(words, lpOffset.cr0, cr0) | setMode(words, lpOffset.cr4, vmcs.low(slot.guestCr4));
    if ((controls.entry & entryControl.loadDebugControls) !== 0) {
      const dr7 = (vmcs.low(slot.guestDr7) & ~dr7Cleared) | dr7Set;
      changed |= setMode(words, lpOffset.dr7, dr7);
      lp.state.write32(lpOffset.debugCtl, vmcs.low(slot.guestIa32Debugctl));
    }
    return changed;
  }

  /** @returns `modeChanged` or 0 */
  #loadControlledMsrs(): number {
    const { lp, vmcs, controls } = this.#unit;
    const { entry } = controls;
    if ((entry & entryControl.loadIa32Pat) !== 0) {
      lp.state.write32(lpOffset.pat, vmcs.low(slot.guestIa32Pat));
      lp.state.write32(lpOffset.pat + 4, vmcs.high(slot.guestIa32Pat));
    }
    if ((entry & entryControl.loadPkrs) !== 0) {
      lp.addressSpace.loadKeys(lpOffset.pkrs, vmcs.low(slot.guestIa32Pkrs));
    }
    const loadsEfer = (entry & entryControl.loadIa32Efer) !== 0;
    const efer = loadsEfer ? vmcs.low(slot.guestIa32Efer) : this.#eferByMode();
    return setMode(vmcs.i32, lpOffset.efer, efer);
  }

  /** IA32_EFER when no field holds it: LMA is the entry control, LME follows it in a paged guest. */
  #eferByMode(): number {
    const { lp, vmcs, controls } = this.#unit;
    const efer = lp.state.read32(lpOffset.efer);
    if ((controls.entry & entryControl.ia32eModeGuest) !== 0) {
      return efer | eferBit.LMA | eferBit.LME;
    }
    const isPaged = (vmcs.low(slot.guestCr0) & cr0Bit.PG) !== 0;
    return efer & ~(isPaged ? eferBit.LMA | eferBit.LME : eferBit.LMA);
  }

  /** @returns `modeChanged` when the guest is in virtual-8086 mode */
  #loadFlags(): number {
    const { lp, vmcs } = this.#unit;
    const flags = vmcs.low(slot.guestRflags);
    lp.writeFlags(flags);
    return (flags & flagBit.VM) !== 0 ? modeChanged : 0;
  }

  /** Translations are tagged as the guest's. Without VPIDs those of VPID 0 do not outlive the entry. */
  #enterGuestMemory(): void {
    const { lp, vmcs, controls } = this.#unit;
    const { ept } = this.#parts;
    const usesVpid = (controls.secondary & secondary.enableVpid) !== 0;
    lp.addressSpace.enter(usesVpid ? vmcs.low(slot.vpid) : 0, ept.tag, !usesVpid);
  }

  /** With EPT the PDPTEs come from the VMCS, without it from memory; the rules have checked them. */
  #loadPdptes(): void {
    const { lp, vmcs, controls } = this.#unit;
    if ((controls.secondary & secondary.enableEpt) === 0) {
      lp.walker.loadPdptes(lp.state.read32(lpOffset.cr3));
      return;
    }
    for (let n = 0; n < 8; n++) {
      lp.state.write32(lpOffset.pdpte + n * 4, vmcs.low(slot.guestPdpte0 + n));
    }
  }

  // ——— the guest

  #goToGuest(): number {
    const unit = this.#unit;
    const { lp, vmcs, controls } = unit;
    const { events } = this.#parts;
    const isVectoring = (controls.injection & interruptionBit.valid) !== 0;
    vmcs.setLaunched();
    unit.enterGuest();
    unit.count(vmxOffset.entries);
    this.#loadEventState(isVectoring);
    if (this.#isModeChanged) {
      lp.loadControlState();
    } else {
      lp.switchedVm();
    }
    events.begin();
    this.#parts.steady.entered();
    if (lp.trace !== undefined) {
      this.#trace();
    }
    if (isVectoring) {
      return this.#inject();
    }
    return lp.state.activity === Activity.Active ? Outcome.Jump : Outcome.JumpAndLeave;
  }

  #trace(): void {
    const { lp, vmcs, controls } = this.#unit;
    lp.trace?.("vm-entry", {
      lp: lp.index,
      vmcs: vmcs.currentPointer,
      launch: this.#attempt.isLaunch,
      from: this.#from,
      rip: lp.state.rip,
      injection: controls.injection,
    });
  }

  /** "Interruptibility State", "Activity State", "Delivery of Pending Debug Exceptions after VM Entry". */
  #loadEventState(isVectoring: boolean): void {
    const { lp, vmcs } = this.#unit;
    const { state } = lp;
    const saved = vmcs.low(slot.guestInterruptibility) & blocking.all;
    state.interruptibility = isVectoring ? saved & ~blocking.shadows : saved;
    state.activity =
      isVectoring && !this.#injectsMtf() ? Activity.Active : vmcs.low(slot.guestActivity);
    lp.shadowIsNew = (state.interruptibility & blocking.shadows) !== 0;
    lp.resumeIsNew = (state.read32(lpOffset.systemFlags) & flagBit.RF) !== 0;
    lp.stepAfter = false;
    lp.nmiUnblockedByIret = false;
    const debug = vmcs.low(slot.guestPendingDebug);
    lp.pendingDebug =
      !isVectoring && (debug & pendingDebugValid) !== 0 ? debug & pendingDebugBits : 0;
    state.write32(privateOffset.monitorArmed, 0);
  }

  #injectsMtf(): boolean {
    return ((this.#unit.controls.injection >>> 8) & 7) === InterruptionType.Other;
  }

  /** "Event Injection": like delivery of an event that has just occurred, but no intercept asks about it. */
  #inject(): number {
    const { vmcs, controls } = this.#unit;
    const { events } = this.#parts;
    const type = (controls.injection >>> 8) & 7;
    if (type === InterruptionType.Other) {
      events.requestMtf();
      return Outcome.JumpAndLeave;
    }
    const hasErrorCode = (controls.injection & interruptionBit.errorCode) !== 0;
    const event: DeliveredEvent = {
      vector: controls.injection & 0xff,
      type: type as DeliveredEvent["type"],
      errorCode: hasErrorCode ? vmcs.low(slot.entryExceptionErrorCode) : undefined,
      instructionLength:
        type >= InterruptionType.SoftwareInterrupt ? vmcs.low(slot.entryInstructionLength) : 0,
      qualification: 0n,
    };
    try {
      events.inject(event);
    } catch (trap) {
      if (trap !== vmExitTaken) {
        throw trap;
      }
    }
    return Outcome.JumpAndLeave;
  }
}
