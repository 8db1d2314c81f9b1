import type { Violation } from "../vmx/checker/invariants.ts";
import type { CheckMode, DriverName } from "./configuration.ts";
import type { LpSnapshot } from "./lp-snapshot.ts";

/** How a run has ended. */
export type Ending =
  /** The guest wrote `value` to the debug-exit port. */
  | { readonly type: "exit"; readonly value: number }
  /** The guest switched the machine off. */
  | { readonly type: "power-off" }
  /** The guest asked for a reset; a machine runs once. */
  | { readonly type: "reset" }
  /** An LP went into shutdown: a fault while delivering a double fault. */
  | { readonly type: "shutdown"; readonly lp: number }
  /** Every LP is halted, or waits to be started, and nothing is left that could wake one. */
  | { readonly type: "dead" }
  | { readonly type: "timeout" }
  | { readonly type: "interrupted" }
  /** Nobody reads the serial output any more. */
  | { readonly type: "output-closed" }
  /** An invariant did not hold, and the run was to stop there. */
  | { readonly type: "violation"; readonly lp: number; readonly message: string }
  /** A bug of the simulator. `source`: the LP it showed on, -1 for the platform, undefined when neither. */
  | { readonly type: "bug"; readonly message: string; readonly source: number | undefined };

/**
 * What a process running a machine ends with. The guest's own statuses, (value << 1) | 1, are the odd ones; all of these are
 * even.
 */
export const exitStatus = {
  "power-off": 0,
  badInput: 2,
  bug: 70,
  violation: 72,
  "output-closed": 74,
  reset: 120,
  dead: 122,
  timeout: 124,
  shutdown: 126,
  interrupted: 130,
} as const;

export function statusOf(ending: Ending): number {
  return ending.type === "exit" ? ((ending.value << 1) | 1) & 0xff : exitStatus[ending.type];
}

/** Counts of one LP. Times are in seconds: of the wall clock under the threads driver, else virtual. */
export interface LpStatistics {
  readonly instructions: number;
  /** VM exits by name of the exit reason. */
  readonly exits: Readonly<Record<string, number>>;
  /** The same for each VMCS, by its physical address: a virtual processor may have run on several LPs. */
  readonly exitsByVmcs: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** VM exits and failed entries told apart by their qualification: "EPT violation: write, page not present" and so on. */
  readonly exitDetails: Readonly<Record<string, number>>;
  readonly entries: number;
  readonly interruptsSent: number;
  readonly interruptsReceived: number;
  readonly tlbMisses: number;
  /** Accesses to devices outside the LP. */
  readonly deviceAccesses: number;
  readonly secondsRoot: number;
  readonly secondsNonRoot: number;
  readonly secondsHalted: number;
  /** Instructions that exist in no part of the simulator, by mnemonic: each was an undefined opcode. */
  readonly unsupported: Readonly<Record<string, number>>;
}

export const noStatistics: LpStatistics = {
  instructions: 0,
  exits: {},
  exitsByVmcs: {},
  exitDetails: {},
  entries: 0,
  interruptsSent: 0,
  interruptsReceived: 0,
  tlbMisses: 0,
  deviceAccesses: 0,
  secondsRoot: 0,
  secondsNonRoot: 0,
  secondsHalted: 0,
  unsupported: {},
};

export interface LpReport {
  readonly state: LpSnapshot;
  readonly statistics: LpStatistics;
  /** What the checker has found on this LP, when it was asked for. */
  readonly violations: readonly Violation[];
}

export interface RunResult {
  readonly ending: Ending;
  readonly driver: DriverName;
  readonly seed: number;
  readonly check: CheckMode;
  readonly lps: readonly LpReport[];
  /** From the call to the first guest instruction, and from there to the end. */
  readonly startSeconds: number;
  readonly runSeconds: number;
  /** What the machine's own clock says at the end, in cycles. */
  readonly cycles: number;
  /** Accesses that no device answered, by port or page. */
  readonly unowned: Readonly<Record<string, number>>;
}
