import type { Clock, TraceSink } from "../../cpu/ports.ts";
import { secondary } from "../controls.ts";
import { slot } from "../vmcs-fields.ts";
import type { VmxUnit } from "../vmx-unit.ts";
import {
  describeViolation,
  type InvariantNumber,
  InvariantViolated,
  type Violation,
} from "./invariants.ts";
import { ResidencyList, residencyFlag } from "./residency-board.ts";

export interface CheckerOptions {
  /** 32-bit view of the machine's memory, and where the windows of all LPs begin. */
  readonly words: Int32Array;
  readonly windows: readonly number[];
  readonly index: number;
  readonly clock: Clock;
  /** Throws `InvariantViolated` at the first violation. */
  readonly stops: boolean;
  /** Hears of each violation when it is found first. */
  readonly onViolation?: (violation: Violation) => void;
}

type Detail = Parameters<TraceSink>[1];
type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** Violations kept; those beyond are only counted. */
const violationsMax = 100;
/** Offset of VIRR in the virtual-APIC page. */
const virrOffset = 0x200;
const noVmcs = -1;
/** Refused VM entries that break an invariant, by the rule that refuses them. */
const refusals: ReadonlyMap<string, readonly [InvariantNumber, string]> = new Map([
  ["PRE-04", [2, "no VMCS is current"]],
  ["PRE-07", [3, "it is launched already"]],
  ["PRE-08", [3, "it is not launched"]],
]);

/**
 * Watches how one LP's software treats its VMCSs ("Using VMX: life of a VMCS"). It hears the LP's trace events, and knows
 * of the other LPs by their lists; a machine without it pays nothing.
 */
export class VmcsChecker {
  readonly #options: CheckerOptions;
  readonly #lists: readonly ResidencyList[];
  readonly #own: ResidencyList;
  readonly #found = new Map<string, Mutable<Violation>>();
  #unit: VmxUnit | undefined;
  #events = 0;
  #instruction = "";
  #rip = 0n;
  /** Violations that `violations` has no room for. */
  left = 0;

  constructor(options: CheckerOptions) {
    this.#options = options;
    this.#lists = options.windows.map((base) => new ResidencyList(options.words, base));
    this.#own = this.#lists[options.index] ?? new ResidencyList(options.words, 0);
  }

  /** Each kind of violation of each VMCS once, in the order they were found. */
  get violations(): readonly Violation[] {
    return [...this.#found.values()];
  }

  /** To be called when the LP has its VMX. */
  attach(unit: VmxUnit): void {
    this.#unit = unit;
  }

  /** A trace event of this LP. */
  readonly hear: TraceSink = (kind, detail) => {
    this.#events += 1;
    this.#rip = this.#unit?.lp.state.rip ?? 0n;
    const vmcs = typeof detail["vmcs"] === "number" ? detail["vmcs"] : noVmcs;
    switch (kind) {
      case "vmptrld":
        this.#instruction = "VMPTRLD";
        return this.#load(vmcs);
      case "vmclear":
        this.#instruction = "VMCLEAR";
        return this.#clear(vmcs);
      case "vmxoff":
        this.#instruction = "VMXOFF";
        return this.#leave();
      case "vm-entry":
        return this.#enter(vmcs, detail);
      case "vm-entry-rejected":
        return this.#rejected(vmcs, detail);
      case "vm-entry-refused":
        return this.#refused(vmcs, detail);
      case "vm-exit":
        this.#instruction = "VM exit";
        return this.#exit(vmcs);
      case "no-current-vmcs":
        this.#instruction = String(detail["instruction"]);
        return this.#violated(4, noVmcs, "no VMCS is current");
      case "interrupt-status-written":
        return this.#statusWritten(vmcs, Number(detail["status"]));
      default:
    }
  };

  // ——— residency

  #load(vmcs: number): void {
    const own = this.#own;
    for (const at of own.entries()) {
      own.set(at, residencyFlag.current, false);
    }
    const at = this.#activate(vmcs);
    if (at >= 0) {
      own.set(at, residencyFlag.current);
    }
  }

  /** The VMCS becomes active here. @returns its entry, -1 when there is no room to watch it */
  #activate(vmcs: number): number {
    const at = this.#own.add(vmcs);
    if (at >= 0) {
      this.#own.set(at, residencyFlag.left, false);
    }
    this.#others(vmcs, (lp, list, entry) => {
      if (list.has(entry, residencyFlag.left)) {
        this.#violated(5, vmcs, `LP ${lp} has left VMX operation without VMCLEAR of it`);
      } else {
        this.#violated(1, vmcs, `it is active on LP ${lp} too, where VMCLEAR was not executed`);
      }
    });
    return at;
  }

  #clear(vmcs: number): void {
    const at = this.#own.find(vmcs);
    if (at >= 0) {
      this.#own.remove(at);
    }
    this.#others(vmcs, (lp) => this.#violated(7, vmcs, `it is active on LP ${lp}, not here`));
  }

  #leave(): void {
    const own = this.#own;
    for (const at of own.entries()) {
      if (!own.has(at, residencyFlag.left)) {
        own.set(at, residencyFlag.left);
        own.set(at, residencyFlag.current, false);
        this.#violated(6, own.vmcsAt(at), "it is still active");
      }
    }
  }

  /** The other LPs on which a VMCS is active. */
  #others(vmcs: number, visit: (lp: number, list: ResidencyList, entry: number) => void): void {
    for (const [lp, list] of this.#lists.entries()) {
      const entry = lp === this.#options.index ? -1 : list.find(vmcs);
      if (entry >= 0) {
        visit(lp, list, entry);
      }
    }
  }

  // ——— entries

  #enter(vmcs: number, detail: Detail): void {
    const isLaunch = detail["launch"] === true;
    this.#instruction = isLaunch ? "VMLAUNCH" : "VMRESUME";
    this.#rip = typeof detail["from"] === "bigint" ? detail["from"] : this.#rip;
    const own = this.#own;
    const at = own.find(vmcs);
    if (at < 0 && this.#own.isFull) {
      return;
    }
    if (at < 0 || !own.has(at, residencyFlag.current)) {
      this.#violated(2, vmcs, "it is entered without being current here");
      return;
    }
    this.#others(vmcs, (lp, list, entry) => {
      if (!list.has(entry, residencyFlag.left)) {
        this.#violated(1, vmcs, `it is entered while it is active on LP ${lp} too`);
      }
    });
    this.#checkLaunchState(vmcs, at, isLaunch);
    own.set(at, residencyFlag.launched);
    this.#enterShadow();
    this.#checkInterruptStatus(vmcs, at, true);
  }

  /** The launch state as it would be if the caches of the LPs were one. */
  #checkLaunchState(vmcs: number, at: number, isLaunch: boolean): void {
    let launchedOn = this.#own.has(at, residencyFlag.launched) ? this.#options.index : undefined;
    this.#others(vmcs, (lp, list, entry) => {
      if (list.has(entry, residencyFlag.launched)) {
        launchedOn ??= lp;
      }
    });
    if (isLaunch && launchedOn !== undefined) {
      this.#violated(3, vmcs, `it was launched on LP ${launchedOn} and not cleared since`);
    } else if (!isLaunch && launchedOn === undefined) {
      this.#violated(3, vmcs, "it was cleared after its launch");
    }
  }

  /** A shadow VMCS becomes active with the entry that links to it. */
  #enterShadow(): void {
    const unit = this.#unit;
    if (unit === undefined || (unit.controls.secondary & secondary.vmcsShadowing) === 0) {
      return;
    }
    if (unit.vmcs.high(slot.vmcsLinkPointer) !== 0xffff_ffff) {
      this.#activate(unit.vmcs.address(slot.vmcsLinkPointer));
    }
  }

  /** The contents were refused: they may be old ones, if the VMCS came from another LP. */
  #rejected(vmcs: number, detail: Detail): void {
    const isLaunch = detail["launch"] === true;
    const at = this.#own.find(vmcs);
    this.#instruction = isLaunch ? "VMLAUNCH" : "VMRESUME";
    if (at >= 0) {
      this.#checkLaunchState(vmcs, at, isLaunch);
    }
  }

  #refused(vmcs: number, detail: Detail): void {
    this.#instruction = detail["launch"] === true ? "VMLAUNCH" : "VMRESUME";
    const found = refusals.get(String(detail["rule"]));
    if (found !== undefined) {
      this.#violated(found[0], vmcs, found[1]);
    }
  }

  // ——— guest interrupt status

  #exit(vmcs: number): void {
    const at = this.#own.find(vmcs);
    if (at >= 0) {
      this.#checkInterruptStatus(vmcs, at, false);
    }
  }

  #statusWritten(vmcs: number, status: number): void {
    const at = this.#own.find(vmcs);
    if (at >= 0) {
      this.#own.setStatus(at, status);
    }
  }

  #checkInterruptStatus(vmcs: number, at: number, isEntry: boolean): void {
    const unit = this.#unit;
    const delivers = secondary.virtualInterruptDelivery;
    if (unit === undefined || (unit.controls.secondary & delivers) === 0) {
      return;
    }
    const status = unit.vmcs.low(slot.guestInterruptStatus);
    const known = this.#own.status(at);
    if (isEntry && known !== undefined && known !== status) {
      const hex = (value: number): string => `0x${value.toString(16)}`;
      this.#violated(19, vmcs, `its interrupt status was ${hex(known)} and is ${hex(status)}`);
    }
    this.#own.setStatus(at, status);
    const rvi = status & 0xff;
    const virr = unit.vmcs.address(slot.virtualApicAddress) + virrOffset + (rvi >>> 5) * 16;
    if (rvi !== 0 && ((unit.lp.physical.read32(virr) >>> (rvi & 31)) & 1) === 0) {
      this.#violated(19, vmcs, `RVI is ${rvi}, and VIRR has no such bit`);
    }
  }

  // ——— findings

  #violated(invariant: InvariantNumber, vmcs: number, text: string): void {
    const key = `${invariant} ${vmcs} ${text}`;
    const known = this.#found.get(key);
    if (known !== undefined) {
      known.times += 1;
      return;
    }
    if (this.#found.size >= violationsMax) {
      this.left += 1;
      return;
    }
    const violation: Mutable<Violation> = {
      invariant,
      text,
      lp: this.#options.index,
      vmcs,
      instruction: this.#instruction,
      rip: this.#rip,
      time: this.#options.clock.now(),
      event: this.#events,
      times: 1,
    };
    this.#found.set(key, violation);
    // The violation is an event of the trace itself.
    this.#events += 1;
    this.#options.onViolation?.(violation);
    if (this.#options.stops) {
      throw new InvariantViolated(describeViolation(violation));
    }
  }
}
