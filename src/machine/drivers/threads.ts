import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { present } from "../../base/assert.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { hasOwnThread } from "../../platform/devices/device-kinds.ts";
import { BytePipe, createBytePipeMemory } from "../../protocol/byte-pipe.ts";
import { createChannelMemory } from "../../protocol/device-channel.ts";
import type { StopRequest } from "../callbacks.ts";
import { clockFrequencyHz, hostNow, WallClock } from "../clock.ts";
import { ControlRegion } from "../control-region.ts";
import type { DeviceControl, DeviceWorkerData } from "../device-actors/device-service.ts";
import { takeSnapshot } from "../lp-snapshot.ts";
import { type Ending, type LpReport, noStatistics, type RunResult } from "../run-result.ts";
import { platformSource } from "../trace-target.ts";
import { bugEnding } from "./bug.ts";
import type { RunRequest } from "./driver.ts";
import type {
  LpControl,
  LpOutcome,
  LpWorkerData,
  PlatformControl,
  PlatformEvent,
  PlatformOutcome,
  PlatformWorkerData,
} from "./worker-messages.ts";
import { WorkerThread } from "./worker-thread.ts";

/** How long threads may take to leave their loops before they are killed. */
const graceMs = 3000;
/** How often to look whether the machine is dead; it is when two looks in a row say so. */
const deadLookMs = 100;
/** How soon to look again whether the guest has read of its input what there was room for. */
const inputLookMs = 2;

/** Runs a machine with a thread per LP, one per device that acts by itself, and one for the rest of the platform. */
export function runThreads(request: RunRequest): Promise<RunResult> {
  return new ThreadedMachine(request).run();
}

/** What the threads had to say; undefined for one that has died or did not leave its loop. */
interface Outcomes {
  readonly lps: readonly (LpOutcome | undefined)[];
  readonly platform: PlatformOutcome | undefined;
}

class ThreadedMachine {
  readonly #request: RunRequest;
  readonly #control: ControlRegion;
  readonly #clock: WallClock;
  readonly #lps: readonly WorkerThread<LpControl>[];
  readonly #platform: WorkerThread<PlatformControl>;
  /** Devices that have a thread of their own. */
  readonly #devices: readonly WorkerThread<DeviceControl>[];
  readonly #events: MessagePort;
  /** Input for the guest's serial line. */
  readonly #input: BytePipe | undefined;
  #ending: Ending | undefined;
  #hasEnded: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => {
    this.#hasEnded = resolve;
  });
  /** A trouble of the user's, to be thrown when everything has been put away. */
  #userError: unknown;
  /** From the call for the run to the start of the machine's clock. */
  readonly #beforeClockSeconds: number;

  constructor(request: RunRequest) {
    this.#request = request;
    const { blueprint, callbacks } = request;
    const start = hostNow();
    this.#beforeClockSeconds = (performance.now() - request.requestedAt) / 1000;
    this.#clock = new WallClock(start);
    this.#control = new ControlRegion(blueprint.memory, blueprint.layout);
    const { port1, port2 } = new MessageChannel();
    this.#events = port1;
    port1.on("message", (event: PlatformEvent) => this.#hear(event));
    const epochSeconds = Math.floor(Date.now() / 1000);
    const channels = blueprint.devices.map((device) => {
      return hasOwnThread(device) ? createChannelMemory() : undefined;
    });
    const machine = { blueprint, start };
    const input = callbacks.serialInput && createBytePipeMemory();
    const platformData: PlatformWorkerData = {
      ...machine,
      ...{ epochSeconds, channels, input, events: port2 },
    };
    this.#input = input && new BytePipe(input);
    this.#platform = new WorkerThread<PlatformControl>("platform-worker", platformData, [port2]);
    this.#devices = channels.flatMap((channel, index) =>
      channel === undefined ? [] : [startDevice(machine, channel, index)],
    );
    this.#lps = blueprint.apicIds.map((_, index) => {
      const traceFile = callbacks.trace?.partFile(index);
      const data: LpWorkerData = { blueprint, index, start, traceFile };
      return new WorkerThread<LpControl>("lp-worker", data);
    });
  }

  async run(): Promise<RunResult> {
    const release = this.#watch();
    try {
      const started = await this.#start();
      const outcomes = started ? await this.#untilEnd() : { lps: [], platform: undefined };
      this.#hearRest();
      if (this.#userError !== undefined) throw this.#userError;
      return this.#result(outcomes);
    } finally {
      release();
      await Promise.all(
        [...this.#lps, ...this.#devices, this.#platform].map((thread) => thread.terminate()),
      );
      this.#events.close();
    }
  }

  /** A stop request, and a machine that can do nothing more. @returns what undoes it */
  #watch(): () => void {
    const { signal } = this.#request.callbacks;
    const stop = (): void => this.#end({ type: signal?.reason as StopRequest });
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
    let wasDead = false;
    const looks = setInterval(() => {
      const isDead = this.#control.isDead;
      if (isDead && wasDead) this.#end({ type: "dead" });
      wasDead = isDead;
    }, deadLookMs);
    return () => {
      signal?.removeEventListener("abort", stop);
      clearInterval(looks);
    };
  }

  /** Waits until every LP can be sent messages. @returns false when the run has ended before it began */
  async #start(): Promise<boolean> {
    const threads = [
      this.#platform
        .call((control) => control.ready())
        .catch((error) => this.#fail(error, platformSource)),
      ...this.#devices.map((thread) =>
        thread
          .call((control) => control.ready())
          .catch((error) => this.#fail(error, platformSource)),
      ),
      ...this.#lps.map((thread, lp) =>
        thread.call((control) => control.ready()).catch((error) => this.#fail(error, lp)),
      ),
    ];
    await Promise.race([Promise.all(threads), this.#ended]);
    return this.#ending === undefined;
  }

  async #untilEnd(): Promise<Outcomes> {
    const platform = this.#platform
      .call((control) => control.run())
      .catch((error) => this.#fail(error, platformSource));
    const devices = this.#devices.map((thread) =>
      thread.call((control) => control.run()).catch((error) => this.#fail(error, platformSource)),
    );
    const lps = this.#lps.map((thread, lp) => this.#runLp(thread, lp));
    const { timeoutSeconds } = this.#request.configuration;
    const timeout =
      timeoutSeconds && setTimeout(() => this.#end({ type: "timeout" }), timeoutSeconds * 1000);
    this.#feed().catch((error) => this.#fail(error, platformSource));
    await this.#ended;
    clearTimeout(timeout);
    const stopped = await Promise.all(lps.map((outcome) => withGrace(outcome)));
    this.#control.finish();
    await Promise.all(devices.map((done) => withGrace(done)));
    return { lps: stopped, platform: await withGrace(platform) };
  }

  /** Hands on what is to come in by the serial line, as the guest reads it. */
  async #feed(): Promise<void> {
    const { serialInput } = this.#request.callbacks;
    const pipe = this.#input;
    if (serialInput === undefined || pipe === undefined) return;
    for await (const bytes of serialInput instanceof Uint8Array ? [serialInput] : serialInput) {
      for (let rest = bytes; rest.length > 0; ) {
        if (this.#ending !== undefined) return;
        rest = rest.subarray(pipe.put(rest));
        this.#control.platformDoorbell.ring();
        if (rest.length > 0) await sleep(inputLookMs);
      }
    }
  }

  async #runLp(thread: WorkerThread<LpControl>, lp: number): Promise<LpOutcome | undefined> {
    try {
      const outcome = await thread.call((control) => control.run());
      if (outcome.end === "shutdown") this.#end({ type: "shutdown", lp });
      return outcome;
    } catch (error) {
      this.#fail(error, lp);
      return undefined;
    }
  }

  #hear(event: PlatformEvent): void {
    const { callbacks } = this.#request;
    switch (event.type) {
      case "serial": {
        const taken = Promise.resolve(callbacks.serial?.(event.bytes));
        taken.finally(() => this.#control.addSerialBacklog(-event.bytes.length));
        break;
      }
      case "debug":
        callbacks.log?.("info", event.line);
        break;
      case "ending":
        this.#end(event.ending);
        break;
    }
  }

  /** Calls and events come by different ports: what the platform said before it ended may still be on its way. */
  #hearRest(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#events);
      if (received === undefined) return;
      this.#hear(received.message as PlatformEvent);
    }
  }

  #result({ lps, platform }: Outcomes): RunResult {
    const { configuration, blueprint } = this.#request;
    const firstRun = lps[0]?.startedAt ?? 0;
    const cycles = this.#clock.now();
    return {
      ending: present(this.#ending, "the run has ended without an ending"),
      driver: "threads",
      seed: configuration.seed,
      check: configuration.check,
      lps: blueprint.apicIds.map((_, lp) => lps[lp]?.report ?? this.#reportFromMemory(lp)),
      startSeconds: this.#beforeClockSeconds + firstRun / clockFrequencyHz,
      runSeconds: (cycles - firstRun) / clockFrequencyHz,
      cycles,
      unowned: platform?.unowned ?? {},
    };
  }

  /** All that is known of an LP whose thread cannot be asked any more. */
  #reportFromMemory(lp: number): LpReport {
    const { memory, layout } = this.#request.blueprint;
    return {
      state: takeSnapshot(memory, windowBase(layout, lp), lp),
      statistics: noStatistics,
      violations: [],
    };
  }

  #fail(error: unknown, source: number): undefined {
    try {
      this.#end(bugEnding(error, source));
    } catch (userError) {
      this.#userError = userError;
      this.#end({ type: "interrupted" });
    }
  }

  /** The first end counts. */
  #end(ending: Ending): void {
    this.#ending ??= ending;
    this.#control.stop();
    this.#hasEnded();
  }
}

function startDevice(
  { blueprint, start }: Pick<PlatformWorkerData, "blueprint" | "start">,
  channel: SharedArrayBuffer,
  index: number,
): WorkerThread<DeviceControl> {
  const { memory, layout, devices, iommu } = blueprint;
  const posting = iommu?.interruptPosting ?? false;
  const configuration = present(devices[index], "a device has a configuration");
  const data: DeviceWorkerData = { memory, layout, configuration, index, channel, posting, start };
  return new WorkerThread<DeviceControl>("device-worker", data);
}

/** The result, or undefined when it does not come in time. */
async function withGrace<T>(result: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const patience = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, graceMs, undefined);
  });
  try {
    return await Promise.race([result, patience]);
  } finally {
    clearTimeout(timer);
  }
}
