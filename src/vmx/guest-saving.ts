import { PagingMode } from "../cpu/paging.ts";
import { eferBit, flagBit } from "../cpu/register-bits.ts";
import { Activity, lpOffset } from "../execution/lp-window.ts";
import { entryControl, exitControl, secondary } from "./controls.ts";
import { exitReason } from "./exit-reasons.ts";
import { interruptionBit } from "./interruption.ts";
import type { PreemptionTimer } from "./preemption-timer.ts";
import { slot } from "./vmcs-fields.ts";
import type { VmxUnit } from "./vmx-unit.ts";

const blocking = { movSs: 2, all: 0xf } as const;

/** Exit reasons after which pending debug exceptions are saved rather than lost: INIT and the trap-like ones. */
const savesPendingDebug: ReadonlySet<number> = new Set([
  exitReason.init,
  exitReason.monitorTrapFlag,
  exitReason.tprBelowThreshold,
  exitReason.virtualizedEoi,
  exitReason.apicWrite,
  exitReason.busLock,
]);

/** "Saving Guest State", but for the MSR-store area. */
export class GuestSaver {
  readonly #unit: VmxUnit;
  readonly #timer: PreemptionTimer;

  constructor(unit: VmxUnit, timer: PreemptionTimer) {
    this.#unit = unit;
    this.#timer = timer;
  }

  /** @param resume RFLAGS.RF is saved as 1 */
  save(reason: number, resume: boolean): void {
    const { lp, vmcs, controls, transfer } = this.#unit;
    const { state } = lp;
    vmcs.changed(transfer.saveGuest(vmcs.location));
    vmcs.write32(slot.guestRflags, resume ? lp.readFlags() | flagBit.RF : lp.readFlags());
    vmcs.write32(slot.guestCr0, state.read32(lpOffset.cr0));
    vmcs.write32(slot.guestCr4, state.read32(lpOffset.cr4));
    this.#saveControlled(controls.exit);
    const { activity } = state;
    vmcs.write32(slot.guestActivity, activity > Activity.WaitForSipi ? Activity.Active : activity);
    vmcs.write32(slot.guestInterruptibility, state.interruptibility & blocking.all);
    vmcs.write32(slot.guestPendingDebug, lp.pendingDebug === 0 ? 0 : this.#pendingDebug(reason));
    if ((controls.secondary & secondary.enableEpt) !== 0 && lp.walker.mode === PagingMode.pae) {
      this.#savePdptes();
    }
    if ((controls.exit & exitControl.saveVmxPreemptionTimer) !== 0) {
      const expired = reason === exitReason.preemptionTimer;
      vmcs.write32(slot.preemptionTimerValue, expired ? 0 : this.#timer.remaining);
    }
    this.#updateEntryFields();
  }

  /** The injected event counts as done; the entry control for IA-32e mode follows the guest. */
  #updateEntryFields(): void {
    const { lp, vmcs, controls, profile } = this.#unit;
    if ((controls.injection & interruptionBit.valid) !== 0) {
      const information = vmcs.low(slot.entryInterruptionInformation);
      vmcs.write32(slot.entryInterruptionInformation, information & ~interruptionBit.valid);
    }
    if (profile.storesLma) {
      const isLong = (lp.state.read32(lpOffset.efer) & eferBit.LMA) !== 0;
      const { entry } = controls;
      const others = entry & ~entryControl.ia32eModeGuest;
      vmcs.write32(slot.entryControls, isLong ? others | entryControl.ia32eModeGuest : others);
    }
  }

  #saveControlled(exit: number): void {
    const { lp, vmcs, profile } = this.#unit;
    const { state } = lp;
    // Where it could be loaded it is saved.
    if ((profile.entry.mayBeOne & entryControl.loadPkrs) !== 0) {
      vmcs.write32(slot.guestIa32Pkrs, state.read32(lpOffset.pkrs));
    }
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
}
