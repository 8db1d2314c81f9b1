import { describe, expect, it } from "vitest";
import { EventKind, type RunRecord } from "../../../src/hypervisor/run-record.ts";
import { millisecond } from "../../../src/hypervisor/scenario.ts";
import { settled } from "../../../src/hypervisor/settled-events.ts";
import { measure } from "../../../src/machine/scheduling/metrics/summary.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { jobOf, scenarioNamed } from "../reference/jobs.ts";

async function run(scenario: string, policy: string, overcommit = 2): Promise<RunRecord> {
  const other = { duration: 30 * millisecond, overcommit, check: false };
  const record = await runSchedulingJob(jobOf(scenarioNamed(scenario), policy, other));
  expect(record.ending).toEqual({ type: "completed" });
  return record;
}

/** Basic exit reason of PAUSE. */
const pauseExit = 40;
const exitsFor = (record: RunRecord, reason: number): number =>
  [...those(record, EventKind.Exit)].filter(({ b }) => b === reason).length;

interface Happened {
  readonly kind: number;
  readonly vcpu: number;
  readonly a: number;
  readonly b: number;
}

/** Events of some kinds, in the order in which they were appended. */
function* those({ events }: RunRecord, ...kinds: readonly EventKind[]): Generator<Happened> {
  for (const [n, kind] of events.kind.entries()) {
    if (!kinds.some((one) => one === kind)) continue;
    yield { kind, vcpu: events.vcpu[n] ?? 0, a: events.a[n] ?? 0, b: events.b[n] ?? 0 };
  }
}

describe("a lock", () => {
  for (const kind of ["test-and-set", "ticket", "mcs", "paravirtual"]) {
    it(`of kind ${kind} is held by one vCPU at a time, overcommitted too`, async () => {
      const record = await run(`spinlock-${kind}`, "eevdf");
      const holders = new Map<number, number>();
      let taken = 0;
      for (const event of those(record, EventKind.LockAcquire, EventKind.LockRelease)) {
        const holder = holders.get(event.a);
        if (event.kind === EventKind.LockAcquire) {
          expect(holder).toBeUndefined();
          holders.set(event.a, event.vcpu);
          taken += 1;
        } else {
          expect(holder).toBe(event.vcpu);
          holders.delete(event.a);
        }
      }
      expect(taken).toBeGreaterThan(100);
    });
  }
});

describe("a barrier", () => {
  it("without sleep is an application's: its loops of PAUSE cause no VM exits", async () => {
    const record = await run("barrier", "eevdf", 2);
    expect(exitsFor(record, pauseExit)).toBe(0);
    expect(exitsFor(await run("spinlock-ticket", "eevdf", 2), pauseExit)).toBeGreaterThan(0);
  });

  it("lets nobody a phase ahead", async () => {
    const record = await run("barrier", "eevdf", 1);
    const phases = new Map<number, number>();
    for (const { kind, vcpu } of those(record, EventKind.LockWait, EventKind.LockAcquire)) {
      if (kind === EventKind.LockWait) phases.set(vcpu, (phases.get(vcpu) ?? 0) + 1);
      else {
        // Who leaves it has seen all the others arrive.
        const own = phases.get(vcpu) ?? 0;
        for (const other of phases.values()) expect(other).toBeGreaterThanOrEqual(own);
      }
    }
    expect(phases.get(0)).toBeGreaterThan(10);
  });
});

describe("a shootdown", () => {
  it("by IPI ends when every sibling has answered", async () => {
    const record = await run("shootdown", "round-robin", 1);
    let sent = 0;
    let answered = 0;
    for (const { kind } of those(record, EventKind.IpiSend, EventKind.IpiAcknowledge)) {
      if (kind === EventKind.IpiSend) sent += 1;
      else answered += 1;
    }
    expect(answered).toBeGreaterThan(50);
    expect(sent - answered).toBeLessThanOrEqual(2);
    for (const { b } of those(record, EventKind.ShootdownBegin)) expect(b).toBe(1);
  });
  it("of a paravirtual guest leaves out siblings that do not run", async () => {
    const record = await run("shootdown-paravirtual", "round-robin", 2);
    const targets = [...those(record, EventKind.ShootdownBegin)].map(({ b }) => b);
    expect(targets).toContain(0);
  });
});

describe("requests from outside", () => {
  it("cost fewer VM exits when interrupts are posted", async () => {
    const exits = async (scenario: string): Promise<number> => {
      const { exitsPerSecond, vmSummaries } = measure(await run(scenario, "null", 1));
      return exitsPerSecond / (vmSummaries[0]?.throughput ?? 0);
    };
    expect(await exits("io-busy-posted")).toBeLessThan((await exits("io-busy-emulated")) / 10);
  });
});

describe("a periodic timer", () => {
  it("is noticed in time by a vCPU that has an LP to itself", async () => {
    const record = await run("ticks", "null", 1);
    const events = settled(record.events);
    const late = [...events.kind.entries()].flatMap(([n, kind]) =>
      kind === EventKind.Tick ? (events.a[n] ?? 0) : [],
    );
    expect(late.length).toBeGreaterThan(10);
    // An LP that has rested for long comes out of a deep state of rest.
    for (const ns of late) expect(ns).toBeLessThan(200_000);
  });
});
