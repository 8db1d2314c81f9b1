import { setImmediate as eventLoopTurn } from "node:timers/promises";
import { assert, present } from "../../base/assert.ts";
import { Prng } from "../../base/prng.ts";
import type { CorePort } from "../../cpu/core-port.ts";
import type { InterruptFabric } from "../../cpu/ports.ts";
import { Pending } from "../../execution/lp-window.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { MailboxFabric } from "../../platform/interrupt-fabric.ts";
import type { RunCallbacks, StopRequest } from "../callbacks.ts";
import { ControlRegion } from "../control-region.ts";
import { LpHost } from "../lp-host.ts";
import { PlatformHost } from "../platform-host.ts";
import type { Ending, LpReport, RunResult } from "../run-result.ts";
import { createScripts } from "../scripted-software.ts";
import { platformSource } from "../trace-target.ts";
import type { LpActor, LpStop, PlatformActor } from "./actors.ts";
import { bugEnding } from "./bug.ts";
import { DirectCodePages } from "./code-page-ports.ts";
import { DirectBus } from "./direct-bus.ts";
import type { RunRequest } from "./driver.ts";
import { LineBuffer } from "./line-buffer.ts";
import { type MachineSchedule, Schedule } from "./schedule.ts";
import { StrictSchedule } from "./strict-schedule.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** Milliseconds of host time after which the event loop gets a turn: for output, timeouts, Ctrl-C. */
const eventLoopMs = 20;
/** Steps between two looks at the host's clock. */
const stepsPerLook = 64;
/** Serial bytes are handed on when there are this many. */
const serialPiece = 4096;
/** What the machine's real-time clock shows at reset, always: 2026-01-01. */
const epochSeconds = 1_767_225_600;

/** Runs a machine on this thread, in an order that is a function of the seed. */
export function runDeterministic(request: RunRequest): Promise<RunResult> {
  return new DeterministicMachine(request).run();
}

/** An LP whose VM exits and messages cost time too. */
class ChargedLp implements LpActor {
  readonly host: LpHost;
  readonly bus: DirectBus;
  readonly #clock: VirtualClock;
  readonly #control: ControlRegion;
  readonly #core: CorePort;
  /** Messages sent in the turn under way. */
  #sent = 0;

  constructor(host: LpHost, bus: DirectBus, clock: VirtualClock, control: ControlRegion) {
    this.host = host;
    this.bus = bus;
    this.#clock = clock;
    this.#control = control;
    this.#core = host.lp.core;
  }

  get retired(): number {
    return this.#core.retired;
  }
  get isCalled(): boolean {
    return this.host.isCalled;
  }
  get isDeaf(): boolean {
    return this.host.isDeaf;
  }
  wakeDeadline(): number | undefined {
    return this.host.wakeDeadline();
  }
  worked(cycles: number): void {
    this.host.account(cycles);
  }
  endTurn(): void {
    this.#control.mark(this.host.lp.index, Pending.Stop);
  }
  /** It has sent a message: its turn ends, or a sleeping target would wake only when the sender has had all of it. */
  sends(): void {
    this.#sent += 1;
    this.endTurn();
  }
  run(budget: number): LpStop {
    const { lp } = this.host;
    const stop = lp.run(budget);
    if (this.#sent > 0) {
      this.#clock.charge("interruptSent", this.#sent);
      this.#sent = 0;
    }
    this.#control.unmark(lp.index, Pending.Stop);
    return stop === "stop" ? "budget" : stop;
  }
}

/** The devices, whose next deadline is asked for at every step: it changes only when they are accessed or act. */
class RememberedPlatform implements PlatformActor {
  readonly #platform: PlatformActor;
  #deadline: number | undefined;
  #isKnown = false;

  constructor(platform: PlatformActor) {
    this.#platform = platform;
  }
  changed(): void {
    this.#isKnown = false;
  }
  nextDeadline(): number | undefined {
    if (!this.#isKnown) {
      this.#deadline = this.#platform.nextDeadline();
      this.#isKnown = true;
    }
    return this.#deadline;
  }
  advance(): void {
    this.#platform.advance();
    this.#isKnown = false;
  }
}

class DeterministicMachine {
  readonly #request: RunRequest;
  readonly #clock: VirtualClock;
  readonly #lps: ChargedLp[] = [];
  readonly #platform: PlatformHost;
  readonly #schedule: MachineSchedule;
  readonly #debug: LineBuffer;
  #serial: number[] = [];
  #ending: Ending | undefined;
  #hasEnded: () => void = () => undefined;
  readonly #ended = new Promise<void>((resolve) => {
    this.#hasEnded = resolve;
  });

  constructor(request: RunRequest) {
    this.#request = request;
    const { blueprint, callbacks, configuration } = request;
    const { memory, layout, apicIds } = blueprint;
    const clock = new VirtualClock(callbacks.costs);
    this.#clock = clock;
    const control = new ControlRegion(memory, layout);
    this.#debug = new LineBuffer((line) => callbacks.log?.("info", line));
    const whenFull = (lp: number): void => this.#lps[lp]?.host.takeMail();
    this.#platform = new PlatformHost({
      blueprint,
      control,
      clock,
      epochSeconds,
      serial: (byte) => this.#serial.push(byte),
      serialInput: inputOf(callbacks),
      debug: (byte) => this.#debug.add(byte),
      end: (ending) => this.#end(ending),
      whenFull,
      posted: (lp) => this.#schedule.call(lp),
      trace: callbacks.trace?.sink(platformSource, clock),
    });
    const windows = apicIds.map((_, lp) => windowBase(layout, lp));
    const mailboxes = new MailboxFabric({
      words: control.words,
      windows,
      whenFull,
      posted: (lp) => this.#schedule.call(lp),
    });
    const fabric: InterruptFabric = {
      send: (message) => {
        mailboxes.send(message);
        this.#lps[message.source]?.sends();
      },
    };
    const cores: LpHost["lp"]["core"][] = [];
    const { software } = request;
    const devices = new RememberedPlatform(this.#platform);
    // All LPs share the streams: what runs on one may go on on another.
    const scripts =
      software &&
      createScripts(
        software,
        blueprint,
        () => clock.now(),
        (spinning, storing) => {
          control.mark(spinning, Pending.Events);
          this.#schedule.call(spinning);
          // The turn of the one that stores ends, as that of a sender does.
          control.mark(storing, Pending.Stop);
        },
      );
    for (const index of apicIds.keys()) {
      const bus = new DirectBus(
        this.#platform.platform,
        clock,
        () => devices.changed(),
        () => this.#schedule.deviceTouched(),
      );
      const codePages = new DirectCodePages(control, index, cores);
      const trace = callbacks.trace?.sink(index, clock);
      const host = new LpHost({ blueprint, index, bus, fabric, clock, codePages, trace, scripts });
      cores.push(host.lp.core);
      this.#lps.push(new ChargedLp(host, bus, clock, control));
    }
    const Order = software === undefined ? Schedule : StrictSchedule;
    this.#schedule = new Order(this.#lps, devices, clock, new Prng(configuration.seed));
  }

  async run(): Promise<RunResult> {
    const { requestedAt, configuration, callbacks } = this.#request;
    const { signal } = callbacks;
    const startedAt = performance.now();
    const stop = (): void => this.#end({ type: signal?.reason as StopRequest });
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
    const { timeoutSeconds } = configuration;
    const timer =
      timeoutSeconds && setTimeout(() => this.#end({ type: "timeout" }), timeoutSeconds * 1000);
    try {
      await this.#untilEnd();
    } finally {
      clearTimeout(timer);
      this.#platform.close();
      signal?.removeEventListener("abort", stop);
    }
    return {
      ending: present(this.#ending, "the run has ended without an ending"),
      driver: "deterministic",
      seed: configuration.seed,
      check: configuration.check,
      lps: this.#lps.map((lp, index) => this.#report(lp, index)),
      startSeconds: (startedAt - requestedAt) / 1000,
      runSeconds: (performance.now() - startedAt) / 1000,
      cycles: this.#clock.now(),
      unowned: Object.fromEntries(this.#platform.platform.unowned.counts),
    };
  }

  async #untilEnd(): Promise<void> {
    let turnAt = performance.now() + eventLoopMs;
    while (this.#ending === undefined) {
      for (let n = 0; n < stepsPerLook && this.#ending === undefined; n++) this.#step();
      if (this.#serial.length >= serialPiece || performance.now() >= turnAt) {
        await Promise.race([this.#handOn(), this.#ended]);
        await eventLoopTurn();
        turnAt = performance.now() + eventLoopMs;
      }
    }
    void this.#handOn();
    this.#debug.flush();
  }

  #step(): void {
    try {
      const result = this.#schedule.step();
      if (result.type === "dead") this.#end({ type: "dead" });
      if (result.type !== "turn") return;
      this.#lps[result.lp]?.host.account(result.cycles);
      if (result.stop === "shutdown") this.#end({ type: "shutdown", lp: result.lp });
    } catch (error) {
      this.#end(bugEnding(error, this.#schedule.acting));
    }
  }

  /** The first end counts. Nothing is executed behind the operation that led to it. */
  #end(ending: Ending): void {
    this.#ending ??= ending;
    this.#lps[this.#schedule.acting]?.endTurn();
    this.#hasEnded();
  }

  async #handOn(): Promise<void> {
    const bytes = Uint8Array.from(this.#serial);
    this.#serial = [];
    if (bytes.length > 0) await this.#request.callbacks.serial?.(bytes);
  }

  #report({ host, bus }: ChargedLp, index: number): LpReport {
    return host.report(this.#schedule.haltedCycles(index), bus.accesses);
  }
}

/** The input of the serial line, a byte at a time. */
function inputOf({ serialInput }: RunCallbacks): (() => number | undefined) | undefined {
  if (serialInput === undefined) return undefined;
  assert(serialInput instanceof Uint8Array, "input that comes in the course of a run");
  let next = 0;
  return () => serialInput[next++];
}
