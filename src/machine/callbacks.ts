import type { ScriptedSoftware } from "../isa/operations.ts";
import type { CycleCosts } from "./cycle-costs.ts";
import type { TraceTarget } from "./trace-target.ts";

export type LogLevel = "error" | "warn" | "info" | "debug";

/** Why a run is to be stopped from outside. */
export type StopRequest = "interrupted" | "output-closed";

/** What the caller of a run hears and says. */
export interface RunCallbacks {
  /**
   * Bytes the guest has written to its serial line. A promise holds the guest back until the bytes are where they should be
   * once more than a bounded number of them wait.
   */
  readonly serial?: (bytes: Uint8Array) => void | Promise<void>;
  /**
   * What the guest receives on its serial line, once it says that it is ready (DTR). Deterministic driver: everything at once, or the
   * run would depend on when it comes.
   */
  readonly serialInput?: Uint8Array | AsyncIterable<Uint8Array>;
  readonly log?: (
    level: LogLevel,
    message: string,
    details?: Readonly<Record<string, unknown>>,
  ) => void;
  readonly trace?: TraceTarget;
  /** Deterministic driver: scripts that the caller shares objects with, in place of the configuration's. */
  readonly software?: ScriptedSoftware;
  /** Deterministic driver: what operations cost. */
  readonly costs?: CycleCosts;
  /** Aborted with a `StopRequest` as its reason to stop the run. */
  readonly signal?: AbortSignal;
}
