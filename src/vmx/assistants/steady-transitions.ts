import { flagBit } from "../../cpu/register-bits.ts";
import { codeMode } from "../../execution/code-mode.ts";
import { Activity, lpOffset } from "../../execution/lp-window.ts";
import { entryControl, exitControl, pin, primary, secondary } from "../controls.ts";
import { type GroupSet, guestGroups } from "../entry-rules/all-rules.ts";
import { exitReason } from "../exit-reasons.ts";
import { interruptionBit } from "../interruption.ts";
import { slot } from "../vmcs-fields.ts";
import { modeBit, type VmxUnit, vmxOffset } from "../vmx-unit.ts";
import { assistantOffset, exitKind } from "./assistant-window.ts";
import { keptEfer } from "./sides.ts";

type Masks = Readonly<Record<string, number>>;
const all = <T extends Masks>(word: T, ...names: (keyof T)[]): number =>
  names.reduce((mask, name) => mask | (word[name] ?? 0), 0);

/**
 * Controls under which entries and exits may come to moving words. A control that is not named here loads or saves something of
 * its own, or makes the guest begin with an event.
 */
const steady = {
  pin: all(pin, "externalInterruptExiting", "nmiExiting", "virtualNmis"),
  primary: all(
    primary,
    "useTscOffsetting",
    "hltExiting",
    "invlpgExiting",
    "mwaitExiting",
    "rdpmcExiting",
    "rdtscExiting",
    "cr3LoadExiting",
    "cr3StoreExiting",
    "cr8LoadExiting",
    "cr8StoreExiting",
    "movDrExiting",
    "unconditionalIoExiting",
    "useIoBitmaps",
    "useMsrBitmaps",
    "monitorExiting",
    "pauseExiting",
    "activateSecondaryControls",
  ),
  secondary: all(
    secondary,
    "enableEpt",
    "descriptorTableExiting",
    "enableRdtscp",
    "enableVpid",
    "wbinvdExiting",
    "unrestrictedGuest",
    "pauseLoopExiting",
    "rdrandExiting",
    "enableInvpcid",
    "rdseedExiting",
    "enablePml",
    "eptViolationVe",
    "enableXsavesXrstors",
    "modeBasedExecuteControlForEpt",
    "useTscScaling",
  ),
  exit: all(
    exitControl,
    "saveDebugControls",
    "hostAddressSpaceSize",
    "acknowledgeInterruptOnExit",
    "saveIa32Efer",
    "loadIa32Efer",
  ),
  entry: all(entryControl, "loadDebugControls", "ia32eModeGuest", "loadIa32Efer"),
} as const;

const noVmcs = -1;
const dr7Reset = 0x400;
const unsteadyFlags = flagBit.TF | flagBit.RF | flagBit.VM | flagBit.AC;

/**
 * Decides when the assistants of VM entries and exits may act, and takes over what they have done.
 *
 * After an entry the guest's side is kept, after an exit the host's. While both are known and belong together, and nothing
 * that they are derived from has changed, the next transition is left to an assistant; it looks for itself at what may change
 * from one transition to the next. Whatever else happens, `VmEntries` and `VmExits` do it, and this begins anew.
 *
 * | what a side is derived from | how a change is noticed |
 * |---|---|
 * | fields of the VMCS | rules read them: their groups are dirty |
 * | the current VMCS | `VmxUnit.publish` |
 * | address-space ids | `AddressSpace.onForget` |
 * | IA32_EFER, DR7, IA32_DEBUGCTL, flags | the assistants compare them |
 */
export class SteadyTransitions {
  readonly #unit: VmxUnit;
  readonly #keep: (side: number) => void;
  /** Physical address of the VMCS whose side is kept. */
  #hostOf = noVmcs;
  #guestOf = noVmcs;
  #guestVm = 0;
  #usesEpt = false;

  /** @param keep copies the derived part of the window to a side, given by its address */
  constructor(unit: VmxUnit, keep: (side: number) => void) {
    this.#unit = unit;
    this.#keep = keep;
    unit.lp.addressSpace.onForget = () => this.#forget();
  }

  // ——— when assistants may act

  #forget(): void {
    this.#hostOf = noVmcs;
    this.#guestOf = noVmcs;
    this.#unit.leaveToHandlers();
  }

  /** A VM entry begins. @param dirty groups of rules of which a field has changed */
  entering(dirty: GroupSet): void {
    this.#unit.leaveToHandlers();
    this.#guestOf = noVmcs;
    if ((dirty & ~guestGroups) !== 0) {
      this.#hostOf = noVmcs;
    }
  }

  /** The guest's state is loaded. */
  entered(): void {
    const { vmcs, lp, usesEpt } = this.#unit;
    if (!this.#isSteadyGuest()) {
      return;
    }
    this.#keep(lp.state.base + assistantOffset.guest);
    this.#guestOf = vmcs.currentPointer;
    this.#guestVm = lp.addressSpace.vmIndex;
    this.#usesEpt = usesEpt;
    if (this.#belongTogether()) {
      lp.state.write32(assistantOffset.exitable, vmcs.location);
    }
  }

  /** The host's state is loaded. */
  exited(): void {
    const { vmcs, lp, controls } = this.#unit;
    this.#unit.leaveToHandlers();
    this.#hostOf = noVmcs;
    if (lp.trace !== undefined || !this.#is64Bit()) {
      return;
    }
    const usesVpid = (controls.secondary & secondary.enableVpid) !== 0;
    lp.state.write32(assistantOffset.forgetsZero, usesVpid ? 0 : 1);
    this.#keep(lp.state.base + assistantOffset.host);
    this.#hostOf = vmcs.currentPointer;
    if (this.#belongTogether()) {
      lp.state.write32(assistantOffset.enterable, vmcs.location);
    }
  }

  /** Code segments of 64 bits without anything out of the ordinary. */
  #is64Bit(): boolean {
    const mode = this.#unit.lp.state.read32(lpOffset.codeMode);
    return (mode & ~(codeMode.single | codeMode.simdBlocked)) === codeMode.bits64;
  }

  #isSteadyGuest(): boolean {
    const { lp, isInitHeld } = this.#unit;
    const { state } = lp;
    return (
      lp.trace === undefined &&
      this.#hasSteadyControls() &&
      this.#is64Bit() &&
      state.activity === Activity.Active &&
      state.read32(lpOffset.dr7) === dr7Reset &&
      state.read32(lpOffset.debugCtl) === 0 &&
      (state.read32(lpOffset.systemFlags) & unsteadyFlags) === 0 &&
      !isInitHeld
    );
  }

  #hasSteadyControls(): boolean {
    const { controls, profile, vmcs } = this.#unit;
    return (
      (controls.pin & ~(steady.pin | profile.pin.mustBeOne)) === 0 &&
      (controls.primary & ~(steady.primary | profile.primary.mustBeOne)) === 0 &&
      (controls.secondary & ~steady.secondary) === 0 &&
      controls.tertiary === 0 &&
      (controls.exit & ~(steady.exit | profile.exit.mustBeOne)) === 0 &&
      (controls.entry & ~(steady.entry | profile.entry.mustBeOne)) === 0 &&
      (controls.injection & interruptionBit.valid) === 0 &&
      ((controls.exit & exitControl.saveDebugControls) === 0 || this.#hasSavedDebugControls()) &&
      vmcs.low(slot.entryMsrLoadCount) === 0 &&
      vmcs.low(slot.exitMsrStoreCount) === 0 &&
      vmcs.low(slot.exitMsrLoadCount) === 0
    );
  }

  /** The fields have what an exit will save. */
  #hasSavedDebugControls(): boolean {
    const { vmcs } = this.#unit;
    return (
      vmcs.low(slot.guestDr7) === dr7Reset &&
      vmcs.high(slot.guestDr7) === 0 &&
      vmcs.low(slot.guestIa32Debugctl) === 0 &&
      vmcs.high(slot.guestIa32Debugctl) === 0
    );
  }

  /** Both sides are those of the current VMCS, and each transition leads from one IA32_EFER to the other. */
  #belongTogether(): boolean {
    const { vmcs, lp, controls } = this.#unit;
    const pointer = vmcs.currentPointer;
    if (this.#hostOf !== pointer || this.#guestOf !== pointer) {
      return false;
    }
    const isSame =
      lp.state.read32(assistantOffset.host + keptEfer) ===
      lp.state.read32(assistantOffset.guest + keptEfer);
    const entryLoads = (controls.entry & entryControl.loadIa32Efer) !== 0;
    const exitLoads = (controls.exit & exitControl.loadIa32Efer) !== 0;
    const exitSaves = (controls.exit & exitControl.saveIa32Efer) !== 0;
    return (isSame || (entryLoads && exitLoads)) && (!exitSaves || entryLoads);
  }

  // ——— what assistants have done

  /** Brings what TypeScript keeps up to date with the window. @returns whether a guest has been entered */
  catchUp(): boolean {
    const { lp, vmcs } = this.#unit;
    const { state } = lp;
    state.write32(lpOffset.assisted, 0);
    this.#count(exitReason.vmcall, this.#take(assistantOffset.exited + exitKind.vmcall * 4));
    this.#count(exitReason.cpuid, this.#take(assistantOffset.exited + exitKind.cpuid * 4));
    const entries = this.#take(assistantOffset.entered);
    if (entries !== 0) {
      lp.clock.charge?.("vmEntry", entries);
    }
    const isGuest = (vmcs.u32[vmxOffset.mode >>> 2] ?? 0) & modeBit.nonRoot;
    if (isGuest !== 0) {
      this.#unit.enterGuest();
      this.#unit.usesEpt = this.#usesEpt;
    } else {
      this.#unit.leaveGuest();
    }
    lp.shadowIsNew = false;
    lp.resumeIsNew = false;
    lp.stepAfter = false;
    lp.nmiUnblockedByIret = false;
    const forgetsZero = state.read32(assistantOffset.forgetsZero) !== 0;
    lp.addressSpace.adopt(isGuest !== 0 ? this.#guestVm : 0, forgetsZero);
    return entries !== 0;
  }

  #take(offset: number): number {
    const { state } = this.#unit.lp;
    const count = state.read32(offset);
    state.write32(offset, 0);
    return count;
  }

  #count(reason: number, times: number): void {
    if (times !== 0) {
      this.#unit.countExitsOfCurrent(reason, times);
      this.#unit.lp.clock.charge?.("vmExit", times);
    }
  }
}
