/** Why an LP has given control back to its driver. */
export type LpStop = "budget" | "idle" | "busy" | "shutdown" | "stop";

/** A logical processor as a driver sees it. */
export interface LpActor {
  /** Instructions retired since reset; exact at any time, also in the middle of `run`. */
  readonly retired: number;
  /** Executes at most `budget` instructions, taking in what has arrived. */
  run(budget: number): LpStop;
  /** Clock value at which an idle LP has something to do; undefined: nothing but a message can wake it. */
  wakeDeadline(): number | undefined;
  /** A message or another event waits to be looked at. */
  readonly isCalled: boolean;
  /** It was at work (`busy`) for so long. */
  worked?(cycles: number): void;
  /** Comes back from `run` as soon as it can. */
  endTurn?(): void;
  /** Idle in a way that no device's interrupt can end: halted with interrupts off, waiting for a SIPI. */
  readonly isDeaf: boolean;
}

/** The devices as a driver sees them. */
export interface PlatformActor {
  /** Clock value at which a device has something to do. */
  nextDeadline(): number | undefined;
  /** Does what is due by now. */
  advance(): void;
}
