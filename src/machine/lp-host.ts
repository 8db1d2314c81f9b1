import { present } from "../base/assert.ts";
import type { CorePort } from "../cpu/core-port.ts";
import { lpMailbox } from "../cpu/local-apic/lp-mailbox.ts";
import type { LogicalProcessorOptions } from "../cpu/logical-processor.ts";
import { offeredInstructions } from "../cpu/models/offered-instructions.ts";
import type { Bus, Clock, InterruptFabric, TraceSink } from "../cpu/ports.ts";
import { Processor } from "../cpu/processor.ts";
import { flagBit } from "../cpu/register-bits.ts";
import type { ScriptStreams } from "../cpu/scripts/script-streams.ts";
import { ScriptedCore } from "../cpu/scripts/scripted-core.ts";
import type { CodePagePort } from "../execution/code-pages.ts";
import { ExecutionCore } from "../execution/core.ts";
import type { CoreHost } from "../execution/core-host.ts";
import { Activity, lpOffset } from "../execution/lp-window.ts";
import { windowBase } from "../memory/physical-memory.ts";
import { DeliveryMode, type InterruptMessage } from "../protocol/interrupt-message.ts";
import type { Mailbox } from "../protocol/mailbox.ts";
import { letAssistantsSend, sentByAssistants } from "../vmx/assistants/sending.ts";
import { attachVmx } from "../vmx/attach.ts";
import { VmcsChecker } from "../vmx/checker/vmcs-checker.ts";
import { exitReasonTitle } from "../vmx/exit-reasons.ts";
import { readExitCounts, type VmxUnit, vmxOffset } from "../vmx/vmx-unit.ts";
import { applyBootState } from "./boot-state.ts";
import type { LpActor, LpStop } from "./drivers/actors.ts";
import { takeSnapshot } from "./lp-snapshot.ts";
import { findCpuModel, type MachineBlueprint } from "./machine.ts";
import { hexadecimal } from "./quantities.ts";
import type { LpReport } from "./run-result.ts";
import { applyScriptedState } from "./script-area.ts";

export interface LpHostOptions {
  readonly blueprint: MachineBlueprint;
  readonly index: number;
  readonly bus: Bus;
  readonly fabric: InterruptFabric;
  readonly clock: Clock;
  readonly codePages: CodePagePort;
  readonly trace: TraceSink | undefined;
  /** The scripts of the machine's software, if that is what it runs. */
  readonly scripts: ScriptStreams | undefined;
  /** All that `fabric` does is to put messages into mailboxes: the LP's assistants may do the same. */
  readonly sendsByMailbox?: boolean;
}

/** One LP put together from its rooms, ready to be run by either driver. */
export class LpHost implements LpActor {
  readonly lp: Processor;
  readonly #options: LpHostOptions;
  readonly #fabric: CountingFabric;
  readonly #mailbox: Mailbox;
  readonly #pendingWord: number;
  readonly #vmx: VmxUnit | undefined;
  readonly #checker: VmcsChecker | undefined;
  #rootCycles = 0;
  #nonRootCycles = 0;

  constructor(options: LpHostOptions) {
    const { blueprint, index } = options;
    const { memory, layout, module, apicIds, seed } = blueprint;
    this.#options = options;
    this.#checker = createChecker(options);
    const trace = both(options.trace, this.#checker?.hear);
    this.#fabric = new CountingFabric(options.fabric, trace);
    const processorOptions: LogicalProcessorOptions = {
      memory,
      layout,
      index,
      module,
      bus: options.bus,
      fabric: this.#fabric,
      clock: options.clock,
      codePages: options.codePages,
      model: findCpuModel(blueprint.cpuModel),
      lpCount: apicIds.length,
      apicIds,
      randomSeed: seed,
      ...(trace === undefined ? {} : { trace }),
    };
    const pauses = (): Processor["intercepts"] => this.lp.intercepts;
    this.lp = new Processor(processorOptions, scriptedCore(options, processorOptions, pauses));
    this.#vmx = attachVmx(this.lp, layout.ramBytes)?.unit;
    if (this.#vmx !== undefined) this.#checker?.attach(this.#vmx);
    if (options.sendsByMailbox === true && trace === undefined) letAssistantsSend(this.lp);
    this.lp.reset();
    this.lp.state.set("tscOffset", BigInt.asUintN(64, BigInt(blueprint.tscSkew[index] ?? 0)));
    const { scripts } = options;
    if (scripts !== undefined) applyScriptedState(this.lp, scripts);
    else if (index === 0) applyBootState(this.lp, present(blueprint.boot, "nothing to boot"));
    const base = windowBase(layout, index);
    this.#mailbox = lpMailbox(this.lp.state.i32, base);
    this.#pendingWord = (base + lpOffset.pending) >>> 2;
  }

  get retired(): number {
    return this.lp.core.retired;
  }
  get isCalled(): boolean {
    return Atomics.load(this.lp.state.i32, this.#pendingWord) !== 0;
  }
  get isDeaf(): boolean {
    const { state, intercepts } = this.lp;
    if (state.activity === Activity.WaitForSipi) return true;
    const masked = (state.read32(lpOffset.systemFlags) & flagBit.IF) === 0;
    return state.activity === Activity.Halted && masked && !intercepts.nonRoot;
  }
  run(budget: number): LpStop {
    return this.lp.run(budget);
  }
  wakeDeadline(): number | undefined {
    return this.lp.wakeDeadline();
  }
  /** Empties the LP's mailbox, so that a sender need not wait. */
  takeMail(): void {
    this.lp.takeMail();
  }

  /** VM entries that reached the guest, and interrupt messages sent. */
  get vmEntries(): number {
    return this.lp.state.read32(vmxOffset.entries);
  }
  get interruptsSent(): number {
    return this.#fabric.sent + sentByAssistants(this.lp);
  }

  /** A run has taken so long. It is put down to the mode it has ended in: with many short runs the sums come out right. */
  account(cycles: number): void {
    if (this.lp.intercepts.nonRoot) this.#nonRootCycles += cycles;
    else this.#rootCycles += cycles;
  }

  #exitsByVmcs(): LpReport["statistics"]["exitsByVmcs"] {
    const byVmcs = this.#vmx?.exitsByVmcs ?? new Map<number, Uint32Array>();
    return Object.fromEntries(
      [...byVmcs].map(([pointer, counts]) => [hexadecimal(pointer), exitsByName(counts)]),
    );
  }

  #exitDetails(): LpReport["statistics"]["exitDetails"] {
    const entries = [...(this.#vmx?.exitClasses.entries() ?? [])];
    return Object.fromEntries(
      entries.map(([reason, text, count]) => [`${exitReasonTitle(reason)}: ${text}`, count]),
    );
  }

  /** What is known of the LP when it has stopped. */
  report(haltedCycles: number, deviceAccesses: number): LpReport {
    const { blueprint, index, clock } = this.#options;
    const { lp } = this;
    const base = windowBase(blueprint.layout, index);
    const inSeconds = (cycles: number): number => cycles / clock.frequencyHz;
    return {
      state: takeSnapshot(blueprint.memory, base, index),
      statistics: {
        instructions: lp.core.retired,
        exits: exitsByName(readExitCounts(lp.state.u32, base)),
        exitsByVmcs: this.#exitsByVmcs(),
        exitDetails: this.#exitDetails(),
        entries: this.vmEntries,
        interruptsSent: this.interruptsSent,
        interruptsReceived: this.#mailbox.taken,
        tlbMisses: lp.core.tlb.misses,
        deviceAccesses,
        secondsRoot: inSeconds(this.#rootCycles),
        secondsNonRoot: inSeconds(this.#nonRootCycles),
        secondsHalted: inSeconds(haltedCycles),
        unsupported: Object.fromEntries(lp.unsupported),
      },
      violations: this.#checker?.violations ?? [],
    };
  }
}

/** What makes the instruction source of a scripted LP; undefined for machine code alone. */
function scriptedCore(
  { scripts }: LpHostOptions,
  { memory, layout, index, module, codePages, clock, trace, model }: LogicalProcessorOptions,
  pauses: () => Processor["intercepts"],
): ((host: CoreHost) => CorePort) | undefined {
  if (scripts === undefined) return undefined;
  const base = windowBase(layout, index);
  const offers = offeredInstructions(model);
  return (host) =>
    new ScriptedCore({
      ...{ memory, index, host, clock, trace, pauses },
      windowBase: base,
      streams: scripts,
      createMachineCode: (codeHost) =>
        new ExecutionCore({
          ...{ memory, layout, module, codePages, offers },
          windowBase: base,
          host: codeHost,
        }),
    });
}

/** The checker of VMX invariants, when the run is to have one; a violation is an event of the trace too. */
function createChecker(options: LpHostOptions): VmcsChecker | undefined {
  const { blueprint, index, clock, trace } = options;
  const { memory, layout, apicIds, check } = blueprint;
  if (check === "off") return undefined;
  return new VmcsChecker({
    words: new Int32Array(memory.buffer),
    windows: apicIds.map((_, lp) => windowBase(layout, lp)),
    index,
    clock,
    stops: check === "stop",
    onViolation: ({ invariant, vmcs, instruction, rip, text }) =>
      trace?.("violation", { lp: index, invariant, vmcs, instruction, rip, text }),
  });
}

function both(first: TraceSink | undefined, second: TraceSink | undefined): TraceSink | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return (kind, detail) => {
    first(kind, detail);
    second(kind, detail);
  };
}

/** VM exits by title of the basic reason; reasons that did not occur are left out. */
function exitsByName(counts: Uint32Array): Record<string, number> {
  const named: Record<string, number> = {};
  for (const [reason, count] of counts.entries()) {
    if (count > 0) named[exitReasonTitle(reason) ?? `exit reason ${reason}`] = count;
  }
  return named;
}

const deliveryModeNames = new Map<number, string>(
  Object.entries(DeliveryMode).map(([name, mode]) => [mode, name]),
);

/** The interrupt bus as one LP sends to it. */
class CountingFabric implements InterruptFabric {
  readonly #fabric: InterruptFabric;
  readonly #trace: TraceSink | undefined;
  sent = 0;

  constructor(fabric: InterruptFabric, trace: TraceSink | undefined) {
    this.#fabric = fabric;
    this.#trace = trace;
  }
  send(message: InterruptMessage): void {
    this.sent += 1;
    this.#trace?.("ipi", {
      vector: message.vector,
      mode: deliveryModeNames.get(message.deliveryMode) ?? message.deliveryMode,
      destination: message.destination,
      logical: message.logical,
      shorthand: message.shorthand,
    });
    this.#fabric.send(message);
  }
}
