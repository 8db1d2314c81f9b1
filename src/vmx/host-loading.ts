import { privateOffset } from "../cpu/lp-private.ts";
import { cr4Bit, eferBit, flagBit } from "../cpu/register-bits.ts";
import { Activity, lpOffset } from "../execution/lp-window.ts";
import { exitControl, pin, secondary } from "./controls.ts";
import { abortIndicator } from "./entry-rules/msr-areas.ts";
import type { MsrAreas } from "./msr-area.ts";
import type { PreemptionTimer } from "./preemption-timer.ts";
import {
  deriveSegments,
  derivesMore,
  loadHostSegments,
  modeChanged,
  setMode,
} from "./state-transfer.ts";
import { slot } from "./vmcs-fields.ts";
import type { VmxUnit } from "./vmx-unit.ts";

/** Bits of CR0 that VM entry and VM exit leave alone: ET, CD, NW, and reserved bits. */
export const cr0Kept = 0x7ffa_ffd0;

const nmiBlocking = 8;
const dr7Reset = 0x400;
const tableLimit = 0xffff;
const hostFlags = flagBit.fixed;
const longMode = eferBit.LMA | eferBit.LME;

/** "Loading Host State" and "Loading MSRs" of a VM exit. */
export class HostLoader {
  readonly #unit: VmxUnit;
  readonly #timer: PreemptionTimer;
  readonly #areas: MsrAreas;

  constructor(unit: VmxUnit, timer: PreemptionTimer, areas: MsrAreas) {
    this.#unit = unit;
    this.#timer = timer;
    this.#areas = areas;
  }

  /** @returns 0, or the indicator of the VMX abort that this comes to */
  load(isNmiExit: boolean): number {
    const unit = this.#unit;
    const { lp, vmcs } = unit;
    const exit = vmcs.low(slot.exitControls);
    const is64Bit = (exit & exitControl.hostAddressSpaceSize) !== 0;
    if (lp.isLongMode && !is64Bit) {
      return abortIndicator.notLongMode;
    }
    unit.leaveGuest();
    this.#timer.stop();
    let changed = this.#loadControls(exit, is64Bit);
    unit.transfer.loadHost(vmcs.location);
    const segments = loadHostSegments(vmcs.i32, vmcs.base, is64Bit);
    changed |= segments | this.#loadFlags();
    lp.state.write32(lpOffset.gdtrLimit, tableLimit);
    lp.state.write32(lpOffset.idtrLimit, tableLimit);
    this.#loadEventState(isNmiExit);
    if (segments !== 0) {
      deriveSegments(lp.state, segments);
    }
    this.#leaveGuestMemory();
    if (!is64Bit && !this.#loadPdptes()) {
      return abortIndicator.hostPdptes;
    }
    const loads = vmcs.low(slot.exitMsrLoadCount);
    if (loads !== 0) {
      changed |= modeChanged;
      if (this.#areas.load(vmcs.address(slot.exitMsrLoadAddress), loads) !== 0) {
        return abortIndicator.loadHostMsrs;
      }
    }
    if ((changed & derivesMore) !== 0) {
      lp.loadControlState();
    } else {
      lp.switchedVm();
    }
    return 0;
  }

  /** @returns `modeChanged` or 0 */
  #loadControls(exit: number, is64Bit: boolean): number {
    const { lp, vmcs } = this.#unit;
    const { state } = lp;
    const cr0 = (vmcs.low(slot.hostCr0) & ~cr0Kept) | (state.read32(lpOffset.cr0) & cr0Kept);
    const loadsEfer = (exit & exitControl.loadIa32Efer) !== 0;
    const efer = loadsEfer ? vmcs.low(slot.hostIa32Efer) : state.read32(lpOffset.efer);
    const words = vmcs.i32;
    state.write32(lpOffset.debugCtl, 0);
    if ((exit & exitControl.loadIa32Pat) !== 0) {
      state.write32(lpOffset.pat, vmcs.low(slot.hostIa32Pat));
      state.write32(lpOffset.pat + 4, vmcs.high(slot.hostIa32Pat));
    }
    if ((exit & exitControl.loadPkrs) !== 0) {
      lp.addressSpace.loadKeys(lpOffset.pkrs, vmcs.low(slot.hostIa32Pkrs));
    }
    return (
      setMode(words, lpOffset.cr0, cr0) |
      setMode(words, lpOffset.cr4, vmcs.low(slot.hostCr4)) |
      setMode(words, lpOffset.dr7, dr7Reset) |
      setMode(words, lpOffset.efer, is64Bit ? efer | longMode : efer & ~longMode)
    );
  }

  /** @returns `modeChanged` when the guest was in virtual-8086 mode */
  #loadFlags(): number {
    const { lp } = this.#unit;
    const wasVirtual = lp.isVirtual8086;
    lp.writeFlags(hostFlags);
    return wasVirtual ? modeChanged : 0;
  }

  /**
   * Nothing blocks events but NMI blocking: an NMI that exits blocks the next one; otherwise the guest's stays, unless it was
   * that of virtual NMIs.
   */
  #loadEventState(isNmiExit: boolean): void {
    const { lp, controls } = this.#unit;
    const { state } = lp;
    const hadRealBlocking =
      (controls.pin & pin.virtualNmis) === 0 && (state.interruptibility & nmiBlocking) !== 0;
    state.interruptibility = isNmiExit || hadRealBlocking ? nmiBlocking : 0;
    state.activity = Activity.Active;
    state.write32(privateOffset.pendingDebug, 0);
    state.write32(privateOffset.dataHits, 0);
    state.write32(privateOffset.monitorArmed, 0);
    lp.shadowIsNew = false;
    lp.resumeIsNew = false;
    lp.stepAfter = false;
    lp.nmiUnblockedByIret = false;
  }

  /** Translations are the host's again. Without VPIDs those of VPID 0 do not outlive the exit. */
  #leaveGuestMemory(): void {
    const { lp, controls } = this.#unit;
    lp.addressSpace.enter(0, 0, (controls.secondary & secondary.enableVpid) === 0);
  }

  /** @returns false when the host uses PAE paging and a PDPTE is malformed */
  #loadPdptes(): boolean {
    const { lp } = this.#unit;
    if ((lp.state.read32(lpOffset.cr4) & cr4Bit.PAE) === 0) {
      return true;
    }
    return lp.walker.loadPdptes(lp.state.read32(lpOffset.cr3));
  }
}
