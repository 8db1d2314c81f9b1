import type { InstructionView } from "../cpu/instruction-view.ts";
import type { DeliveredEvent } from "../cpu/ports.ts";
import { Vector } from "../cpu/trap.ts";
import { Activity } from "../execution/lp-window.ts";
import type { SteadyTransitions } from "./assistants/steady-transitions.ts";
import { abortIndicator } from "./entry-rules/msr-areas.ts";
import { entryFailureBit, exitReason } from "./exit-reasons.ts";
import { GuestSaver } from "./guest-saving.ts";
import { HostLoader } from "./host-loading.ts";
import { InterruptionType, interruptionBit } from "./interruption.ts";
import type { MsrAreas } from "./msr-area.ts";
import type { PreemptionTimer } from "./preemption-timer.ts";
import { headerWord } from "./vmcs-cache.ts";
import { slot } from "./vmcs-fields.ts";
import { type VmxUnit, vmxOffset } from "./vmx-unit.ts";

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
  readonly #areas: MsrAreas;
  readonly #guest: GuestSaver;
  readonly #host: HostLoader;
  readonly #steady: SteadyTransitions;

  constructor(unit: VmxUnit, timer: PreemptionTimer, areas: MsrAreas, steady: SteadyTransitions) {
    this.#unit = unit;
    this.#steady = steady;
    this.#areas = areas;
    this.#guest = new GuestSaver(unit, timer);
    this.#host = new HostLoader(unit, timer, areas);
  }

  // ——— the ways to exit. RIP in the window is what is saved.

  /**
   * An instruction exits instead of executing.
   * @param low, high halves of the exit qualification
   * @param information instruction-information field
   */
  instruction(reason: number, insn: InstructionView, low = 0, high = 0, information = 0): void {
    const { vmcs } = this.#unit;
    vmcs.put(slot.exitInstructionLength, insn.length, 0);
    if (information !== 0) {
      vmcs.put(slot.exitInstructionInformation, information, 0);
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
      vmcs.put(slot.exitInterruptionErrorCode, event.errorCode, 0);
    }
    vmcs.put(slot.exitInstructionLength, event.instructionLength, 0);
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
    vmcs.put(slot.exitInstructionLength, length, 0);
    const { delivering } = lp;
    this.#exit(reason, low, high, 0, delivering === undefined || setsResumeFlag(delivering));
  }

  /** A task switch, before any task-state segment is touched. */
  taskSwitch(qualification: number, length: number): void {
    this.#unit.vmcs.put(slot.exitInstructionLength, length, 0);
    this.#exit(exitReason.taskSwitch, qualification, 0, 0);
  }

  /** VM entry has failed after the checks on controls and host state: nothing of the guest is saved. */
  entryFailure(reason: number, qualification: number): void {
    const { vmcs } = this.#unit;
    vmcs.put(slot.exitReason, reason | entryFailureBit, 0);
    vmcs.put(slot.exitQualification, qualification, 0);
    vmcs.changed(0);
    this.#unit.count(vmxOffset.failedEntries);
    this.#unit.exitClasses.add(reason, qualification, 0);
    this.#trace(reason | entryFailureBit, qualification, 0);
    this.#toHost(false);
  }

  /** @param resume RFLAGS.RF is saved as 1: the instruction is to be executed again */
  #exit(reason: number, low: number, high: number, interruption: number, resume = false): void {
    const unit = this.#unit;
    const { vmcs } = unit;
    vmcs.put(slot.exitReason, reason, 0);
    vmcs.put(slot.exitQualification, low, high);
    vmcs.put(slot.exitInterruptionInformation, interruption, 0);
    this.#recordVectoring();
    this.#trace(reason, low, high);
    this.#guest.save(reason, resume);
    unit.countExit(reason);
    unit.exitClasses.add(reason, low, interruption);
    unit.lp.clock.charge?.("vmExit");
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
      vmcs.put(slot.idtVectoringInformation, 0, 0);
      return;
    }
    vmcs.put(slot.idtVectoringInformation, interruptionInformation(event), 0);
    if (event.errorCode !== undefined) {
      vmcs.put(slot.idtVectoringErrorCode, event.errorCode, 0);
    }
    if (event.instructionLength !== 0) {
      vmcs.put(slot.exitInstructionLength, event.instructionLength, 0);
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

  #toHost(isNmiExit: boolean): void {
    const indicator = this.#host.load(isNmiExit);
    if (indicator !== 0) {
      this.#abort(indicator);
    } else {
      this.#steady.exited();
    }
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
    // The instruction that exited goes on at the host's RIP otherwise.
    lp.requestEvents();
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
