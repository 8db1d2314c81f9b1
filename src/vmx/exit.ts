import type { InstructionView } from "../cpu/instruction-view.ts";
import { privateOffset } from "../cpu/lp-private.ts";
import { PagingMode } from "../cpu/paging.ts";
import type { DeliveredEvent } from "../cpu/ports.ts";
import { cr4Bit, eferBit, flagBit } from "../cpu/register-bits.ts";
import { deriveSegment } from "../cpu/segment-registers.ts";
import { Vector } from "../cpu/trap.ts";
import { Activity, lpOffset, Segment } from "../execution/lp-window.ts";
import { entryControl, exitControl, pin, secondary } from "./controls.ts";
import { abortIndicator } from "./entry-rules/msr-areas.ts";
import { entryFailureBit, exitReason } from "./exit-reasons.ts";
import { InterruptionType, interruptionBit } from "./interruption.ts";
import type { MsrAreas } from "./msr-area.ts";
import type { PreemptionTimer } from "./preemption-timer.ts";
import { loadHostSegments, loadHostWords, saveGuestWords, setLow } from "./state-transfer.ts";
import { headerWord } from "./vmcs-cache.ts";
import { slot } from "./vmcs-fields.ts";
import { type VmxUnit, vmxOffset } from "./vmx-unit.ts";

/** Bits of CR0 that VM entry and VM exit leave alone: ET, CD, NW, and reserved bits. */
export const cr0Kept = 0x7ffa_ffd0;

const blocking = { movSs: 2, nmi: 8, all: 0xf } as const;
const dr7Reset = 0x400;
const tableLimit = 0xffff;
const hostFlags = flagBit.fixed;

/** Exit reasons after which pending debug exceptions are saved rather than lost: INIT and the trap-like ones. */
const savesPendingDebug: ReadonlySet<number> = new Set([
  exitReason.init,
  exitReason.monitorTrapFlag,
  exitReason.tprBelowThreshold,
  exitReason.virtualizedEoi,
  exitReason.apicWrite,
  exitReason.busLock,
]);

/** The interruption-information format of an event. @returns u32 */
export function interruptionInformation(event: DeliveredEvent): number {
  return (
    (event.vector |
      (event.type << 8) |
      (event.errorCode === undefined ? 0 : interruptionBit.errorCode) |
      interruptionBit.valid) >>>
    0
  );
}

/** VM exits of one LP ("VM Exits"): what is recorded, what of the guest is saved, what of the host is loaded. */
export class VmExits {
  readonly #unit: VmxUnit;
  readonly #timer: PreemptionTimer;
  readonly #areas: MsrAreas;

  constructor(unit: VmxUnit, timer: PreemptionTimer, areas: MsrAreas) {
    this.#unit = unit;
    this.#timer = timer;
    this.#areas = areas;
  }

  // ——— the ways to exit. RIP in the window is what is saved.

  /**
   * An instruction exits instead of executing.
   * @param low, high halves of the exit qualification
   * @param information instruction-information field
   */
  instruction(reason: number, insn: InstructionView, low = 0, high = 0, information = 0): void {
    const { vmcs } = this.#unit;
    vmcs.write32(slot.exitInstructionLength, insn.length);
    if (information !== 0) {
      vmcs.write32(slot.exitInstructionInformation, information);
    }
    this.#exit(reason, low, high, 0);
  }

  /**
   * Something between instructions, or a trap after one.
   * @param interruption VM-exit interruption information, 0 when there is none
   */
  between(reason: number, low = 0, interruption = 0): void {
    this.#exit(reason, low, 0, interruption);
  }

  /** An exception, NMI or software exception, before its delivery. */
  event(event: DeliveredEvent, low: number, high: number, nmiUnblocked: boolean): void {
    const { vmcs } = this.#unit;
    if (event.errorCode !== undefined) {
      vmcs.write32(slot.exitInterruptionErrorCode, event.errorCode);
    }
    vmcs.write32(slot.exitInstructionLength, event.instructionLength);
    const unblocked = nmiUnblocked ? interruptionBit.nmiUnblocked : 0;
    const information = interruptionInformation(event) | unblocked;
    this.#exit(exitReason.exceptionOrNmi, low, high, information, setsResumeFlag(event));
  }

  /**
   * A fault of the second stage during the instruction in progress or the delivery of an event.
   * @param length of the instruction
   */
  fault(reason: number, low: number, high: number, length: number): void {
    const { lp, vmcs } = this.#unit;
    vmcs.write32(slot.exitInstructionLength, length);
    const { delivering } = lp;
    this.#exit(reason, low, high, 0, delivering === undefined || setsResumeFlag(delivering));
  }

  /** A task switch, before any task-state segment is touched. */
  taskSwitch(qualification: number, length: number): void {
    this.#unit.vmcs.write32(slot.exitInstructionLength, length);
    this.#exit(exitReason.taskSwitch, qualification, 0, 0);
  }

  /** VM entry has failed after the checks on controls and host state: nothing of the guest is saved. */
  entryFailure(reason: number, qualification: number): void {
    const { vmcs } = this.#unit;
    vmcs.write32(slot.exitReason, (reason | entryFailureBit) >>> 0);
    vmcs.write(slot.exitQualification, qualification, 0);
    this.#unit.count(vmxOffset.failedEntries);
    this.#trace(reason | entryFailureBit, qualification, 0);
    this.#toHost(false);
  }

  /** @param resume RFLAGS.RF is saved as 1: the instruction is to be executed again */
  #exit(reason: number, low: number, high: number, interruption: number, resume = false): void {
    const unit = this.#unit;
    const { vmcs } = unit;
    vmcs.write32(slot.exitReason, reason);
    vmcs.write(slot.exitQualification, low, high);
    vmcs.write32(slot.exitInterruptionInformation, interruption);
    this.#recordVectoring();
    this.#trace(reason, low, high);
    this.#saveGuest(reason, resume);
    unit.countExit(reason);
    const stores = vmcs.low(slot.exitMsrStoreCount);
    if (stores !== 0 && !this.#areas.store(vmcs.address(slot.exitMsrStoreAddress), stores)) {
      this.#abort(abortIndicator.saveGuestMsrs);
      return;
    }
    this.#toHost(interruption !== 0 && isNmi(interruption));
  }

  // ——— what is recorded

  /** IDT-vectoring information: the event whose delivery the exit has interrupted. */
  #recordVectoring(): void {
    const { lp, vmcs } = this.#unit;
    const event = lp.delivering;
    if (event === undefined) {
      vmcs.write32(slot.idtVectoringInformation, 0);
      return;
    }
    vmcs.write32(slot.idtVectoringInformation, interruptionInformation(event));
    if (event.errorCode !== undefined) {
      vmcs.write32(slot.idtVectoringErrorCode, event.errorCode);
    }
    if (event.instructionLength !== 0) {
      vmcs.write32(slot.exitInstructionLength, event.instructionLength);
    }
    lp.delivering = undefined;
  }

  #trace(reason: number, low: number, high: number): void {
    const { lp, vmcs } = this.#unit;
    if (lp.trace !== undefined) {
      lp.trace("vm-exit", {
        lp: lp.index,
        vmcs: vmcs.currentPointer,
        reason: reason & 0xffff,
        entryFailure: reason < 0 || reason >= entryFailureBit,
        qualification: (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0),
        rip: lp.state.rip,
      });
    }
  }

  // ——— "Saving Guest State"

  #saveGuest(reason: number, resume: boolean): void {
    const { lp, vmcs, controls } = this.#unit;
    const { state } = lp;
    vmcs.changed(saveGuestWords(vmcs.i32, vmcs.base));
    vmcs.write32(slot.guestRflags, resume ? lp.readFlags() | flagBit.RF : lp.readFlags());
    vmcs.write32(slot.guestCr0, state.read32(lpOffset.cr0));
    vmcs.write32(slot.guestCr4, state.read32(lpOffset.cr4));
    this.#saveControlled(controls.exit);
    vmcs.write32(slot.guestActivity, state.activity > Activity.WaitForSipi ? 0 : state.activity);
    vmcs.write32(slot.guestInterruptibility, state.interruptibility & blocking.all);
    vmcs.write32(slot.guestPendingDebug, lp.pendingDebug === 0 ? 0 : this.#pendingDebug(reason));
    if ((controls.secondary & secondary.enableEpt) !== 0 && lp.walker.mode === PagingMode.pae) {
      this.#savePdptes();
    }
    if ((controls.exit & exitControl.saveVmxPreemptionTimer) !== 0) {
      const expired = reason === exitReason.preemptionTimer;
      vmcs.write32(slot.preemptionTimerValue, expired ? 0 : this.#timer.remaining);
    }
    if (controls.injection >>> 31 !== 0) {
      const information = vmcs.low(slot.entryInterruptionInformation);
      vmcs.write32(slot.entryInterruptionInformation, information & ~interruptionBit.valid);
    }
    if (this.#unit.profile.storesLma) {
      const isLong = (state.read32(lpOffset.efer) & eferBit.LMA) !== 0;
      const entry = vmcs.low(slot.entryControls) & ~entryControl.ia32eModeGuest;
      vmcs.write32(
        slot.entryControls,
        (isLong ? entry | entryControl.ia32eModeGuest : entry) >>> 0,
      );
    }
  }

  #saveControlled(exit: number): void {
    const { lp, vmcs } = this.#unit;
    const { state } = lp;
    if ((exit & exitControl.saveDebugControls) !== 0) {
      vmcs.write32(slot.guestDr7, state.read32(lpOffset.dr7));
      vmcs.write32(slot.guestIa32Debugctl, state.read32(lpOffset.debugCtl));
    }
    if ((exit & exitControl.saveIa32Pat) !== 0) {
      vmcs.write(slot.guestIa32Pat, state.read32(lpOffset.pat), state.readHigh32(lpOffset.pat));
    }
    if ((exit & exitControl.saveIa32Efer) !== 0) {
      vmcs.write32(slot.guestIa32Efer, state.read32(lpOffset.efer));
    }
  }

  /** Breakpoints that have matched count as enabled: only such are recorded. */
  #pendingDebug(reason: number): number {
    const { lp } = this.#unit;
    const heldByMovSs = (lp.state.interruptibility & blocking.movSs) !== 0;
    if (!heldByMovSs && !savesPendingDebug.has(reason)) {
      return 0;
    }
    const bits = lp.pendingDebug;
    const enabled = (bits & 0xf) !== 0 ? 1 << 12 : 0;
    return bits | enabled;
  }

  #savePdptes(): void {
    const { lp, vmcs } = this.#unit;
    for (let n = 0; n < 4; n++) {
      const at = lpOffset.pdpte + n * 8;
      vmcs.write(slot.guestPdpte0 + n * 2, lp.state.read32(at), lp.state.read32(at + 4));
    }
  }

  // ——— "Loading Host State"

  #toHost(isNmiExit: boolean): void {
    const unit = this.#unit;
    const { lp, vmcs } = unit;
    const exit = vmcs.low(slot.exitControls);
    const is64Bit = (exit & exitControl.hostAddressSpaceSize) !== 0;
    if (lp.isLongMode && !is64Bit) {
      this.#abort(abortIndicator.notLongMode);
      return;
    }
    unit.leaveGuest();
    this.#timer.stop();
    this.#loadControls(exit, is64Bit);
    loadHostWords(vmcs.i32, vmcs.base);
    const segments = loadHostSegments(vmcs.i32, vmcs.base, is64Bit);
    lp.state.write32(lpOffset.gdtrLimit, tableLimit);
    lp.state.write32(lpOffset.idtrLimit, tableLimit);
    lp.writeFlags(hostFlags);
    this.#loadEventState(isNmiExit);
    deriveSegments(lp.state, segments);
    this.#leaveGuestMemory();
    if (!is64Bit && !this.#loadPdptes()) {
      this.#abort(abortIndicator.hostPdptes);
      return;
    }
    const loads = vmcs.low(slot.exitMsrLoadCount);
    if (loads !== 0 && this.#areas.load(vmcs.address(slot.exitMsrLoadAddress), loads) !== 0) {
      this.#abort(abortIndicator.loadHostMsrs);
      return;
    }
    lp.loadControlState();
  }

  #loadControls(exit: number, is64Bit: boolean): void {
    const { lp, vmcs } = this.#unit;
    const { state } = lp;
    const cr0 = (vmcs.low(slot.hostCr0) & ~cr0Kept) | (state.read32(lpOffset.cr0) & cr0Kept);
    setLow(vmcs.i32, lpOffset.cr0, cr0);
    setLow(vmcs.i32, lpOffset.cr4, vmcs.low(slot.hostCr4));
    setLow(vmcs.i32, lpOffset.dr7, dr7Reset);
    setLow(vmcs.i32, lpOffset.debugCtl, 0);
    const longMode = eferBit.LMA | eferBit.LME;
    const efer =
      (exit & exitControl.loadIa32Efer) !== 0
        ? vmcs.low(slot.hostIa32Efer)
        : state.read32(lpOffset.efer);
    setLow(vmcs.i32, lpOffset.efer, is64Bit ? efer | longMode : efer & ~longMode);
    if ((exit & exitControl.loadIa32Pat) !== 0) {
      state.write32(lpOffset.pat, vmcs.low(slot.hostIa32Pat));
      state.write32(lpOffset.pat + 4, vmcs.high(slot.hostIa32Pat));
    }
  }

  /**
   * Nothing blocks events but NMI blocking: an NMI that exits blocks the next one; otherwise the guest's stays, unless it was
   * that of virtual NMIs.
   */
  #loadEventState(isNmiExit: boolean): void {
    const { lp, controls } = this.#unit;
    const { state } = lp;
    const hadRealBlocking =
      (controls.pin & pin.virtualNmis) === 0 && (state.interruptibility & blocking.nmi) !== 0;
    state.interruptibility = isNmiExit || hadRealBlocking ? blocking.nmi : 0;
    state.activity = Activity.Active;
    lp.pendingDebug = 0;
    lp.shadowIsNew = false;
    lp.resumeIsNew = false;
    lp.stepAfter = false;
    lp.nmiUnblockedByIret = false;
    state.write32(privateOffset.monitorArmed, 0);
  }

  /** Translations are the host's again. Without VPIDs those of VPID 0 do not outlive the exit. */
  #leaveGuestMemory(): void {
    const { lp, controls } = this.#unit;
    lp.addressSpace.enter(0, 0);
    if ((controls.secondary & secondary.enableVpid) === 0) {
      lp.addressSpace.invalidateVpid(0);
    }
  }

  /** @returns false when the host uses PAE paging and a PDPTE is malformed */
  #loadPdptes(): boolean {
    const { lp } = this.#unit;
    if ((lp.state.read32(lpOffset.cr4) & cr4Bit.PAE) === 0) {
      return true;
    }
    return lp.walker.loadPdptes(lp.state.read32(lpOffset.cr3));
  }

  /** "VMX Aborts": the region gets an indicator and the processor shuts down. */
  #abort(indicator: number): void {
    const unit = this.#unit;
    const { lp, vmcs } = unit;
    lp.physical.write32(vmcs.currentPointer + headerWord.abortIndicator * 4, indicator);
    unit.leaveGuest();
    unit.count(vmxOffset.aborts);
    lp.trace?.("vmx-abort", { lp: lp.index, vmcs: vmcs.currentPointer, indicator });
    lp.state.activity = Activity.Shutdown;
    lp.loadControlState();
  }
}

/** Faults push RFLAGS.RF as 1; traps, interrupts and #DB do not touch it. */
function setsResumeFlag(event: DeliveredEvent): boolean {
  return event.type === InterruptionType.HardwareException && event.vector !== Vector.DB;
}

function isNmi(interruption: number): boolean {
  return ((interruption >>> 8) & 7) === InterruptionType.Nmi;
}

/** Recomputes what is derived from the segments in the set; CS is `loadControlState`'s. */
export function deriveSegments(state: Parameters<typeof deriveSegment>[0], segments: number): void {
  for (let left = segments & ~(1 << Segment.CS); left !== 0; left &= left - 1) {
    deriveSegment(state, 31 - Math.clz32(left & -left));
  }
}
