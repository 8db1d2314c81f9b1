import type { MessagePort } from "node:worker_threads";
import type { HostMoment } from "../clock.ts";
import type { LpSnapshot } from "../lp-snapshot.ts";
import type { MachineBlueprint } from "../machine.ts";
import type { Ending, LpReport } from "../run-result.ts";
import type { LpEnd } from "./lp-runner.ts";

/** What an LP's worker is started with. */
export interface LpWorkerData {
  readonly blueprint: MachineBlueprint;
  readonly index: number;
  readonly start: HostMoment;
  /** Where to write the LP's events. */
  readonly traceFile: string | undefined;
}

/** What an LP's worker has to say when its LP has left the guest. */
export interface LpOutcome {
  readonly end: LpEnd;
  readonly report: LpReport;
  /** Clock value of its first run. */
  readonly startedAt: number;
}

/** An LP's worker, as the main thread calls it. */
export interface LpControl {
  /** Resolves once the LP is in its power-up state and can be sent messages. */
  ready(): void;
  /** Runs until the machine stops. The worker answers nothing else meanwhile. */
  run(): LpOutcome;
  /** The LP's registers; before or after a run. */
  inspect(): LpSnapshot;
}

/** What the platform's worker is started with. */
export interface PlatformWorkerData {
  readonly blueprint: MachineBlueprint;
  readonly start: HostMoment;
  readonly epochSeconds: number;
  /** Channels of the devices that have threads of their own, by their number. */
  readonly channels: readonly (SharedArrayBuffer | undefined)[];
  /** Input for the serial line: a `BytePipe`'s memory. Undefined: there is none. */
  readonly input: SharedArrayBuffer | undefined;
  /** Takes `PlatformEvent`s: unlike a call, a message leaves a thread that is busy. */
  readonly events: MessagePort;
}

export type PlatformEvent =
  | { readonly type: "serial"; readonly bytes: Uint8Array }
  | { readonly type: "debug"; readonly line: string }
  | { readonly type: "ending"; readonly ending: Ending };

export interface PlatformOutcome {
  readonly unowned: Readonly<Record<string, number>>;
}

/** The platform's worker, as the main thread calls it. */
export interface PlatformControl {
  ready(): void;
  /** Serves devices until the machine is finished. */
  run(): PlatformOutcome;
}
