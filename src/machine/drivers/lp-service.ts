import { parentPort, workerData } from "node:worker_threads";
import { expose } from "comlink";
import { present } from "../../base/assert.ts";
import type { ScriptedSoftware } from "../../isa/operations.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { MailboxFabric } from "../../platform/interrupt-fabric.ts";
import { ControlRegion } from "../control-region.ts";
import { LpHost } from "../lp-host.ts";
import { type LpSnapshot, takeSnapshot } from "../lp-snapshot.ts";
import { createScripts } from "../scripted-software.ts";
import { loadSoftware } from "../software-source.ts";
import type { OpenTracePart, TracePart } from "../trace-target.ts";
import { ThreadCodePages } from "./code-page-ports.ts";
import { comlinkEndpoint } from "./comlink-endpoint.ts";
import { LpClock } from "./lp-clock.ts";
import { LpRunner } from "./lp-runner.ts";
import { machineGone, RemoteBus } from "./remote-bus.ts";
import type { LpControl, LpOutcome, LpWorkerData } from "./worker-messages.ts";

/** How long to wait for another LP to take mail out of its full mailbox before looking again. */
const fullMailboxMs = 1;

/** One LP on its worker's thread. */
class LpService implements LpControl {
  readonly #data: LpWorkerData;
  readonly #bus: RemoteBus;
  readonly #host: LpHost;
  readonly #runner: LpRunner;
  readonly #trace: TracePart | undefined;

  constructor(
    data: LpWorkerData,
    openTrace: OpenTracePart,
    software: ScriptedSoftware | undefined,
  ) {
    this.#data = data;
    const { blueprint, index, start, traceFile } = data;
    const { memory, layout, apicIds } = blueprint;
    const control = new ControlRegion(memory, layout);
    const clock = new LpClock(start, control, index);
    const codePages = new ThreadCodePages(control, index);
    this.#trace = traceFile === undefined ? undefined : openTrace(traceFile);
    this.#bus = new RemoteBus(control, index);
    const fabric = new MailboxFabric({
      words: control.words,
      windows: apicIds.map((_, lp) => windowBase(layout, lp)),
      whenFull: (target) => {
        if (control.isStopping) throw machineGone;
        control.requestSlot(target).stir();
        this.#host.takeMail();
        codePages.answerClaims();
        control.awaitPending(index, fullMailboxMs);
      },
    });
    const trace = this.#trace?.sink(index, clock);
    const scripts = software && createScripts(software, blueprint, () => clock.now());
    const parts = { bus: this.#bus, fabric, clock, codePages, trace, scripts };
    this.#host = new LpHost({ blueprint, index, ...parts, sendsByMailbox: true });
    this.#bus.whileWaiting = () => this.#host.takeMail();
    codePages.tlb = this.#host.lp.core.tlb;
    this.#runner = new LpRunner({ control, clock, lp: this.#host, index }, (cycles) =>
      this.#host.account(cycles),
    );
  }

  ready(): void {
    // Being asked and answering is all.
  }

  run(): LpOutcome {
    try {
      const end = this.#runner.run();
      const { startedAt, haltedCycles } = this.#runner;
      return { end, startedAt, report: this.#host.report(haltedCycles, this.#bus.accesses) };
    } finally {
      this.#trace?.close();
    }
  }

  inspect(): LpSnapshot {
    const { blueprint, index } = this.#data;
    return takeSnapshot(blueprint.memory, windowBase(blueprint.layout, index), index);
  }
}

/** The whole of an LP's worker. */
export async function startLpService(openTrace: OpenTracePart): Promise<void> {
  const port = present(parentPort, "an LP service runs in a worker");
  const data = workerData as LpWorkerData;
  const source = data.blueprint.softwareSource;
  const software = source && (await loadSoftware(source));
  expose(new LpService(data, openTrace, software), comlinkEndpoint(port));
}
