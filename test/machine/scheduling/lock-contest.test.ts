import { describe, expect, it } from "vitest";
import {
  type GuestKind,
  type LockKind,
  lockKinds,
  microsecond,
  millisecond,
  type Scenario,
} from "../../../src/hypervisor/scenario.ts";
import { measure } from "../../../src/machine/scheduling/metrics/summary.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { exitReasonTable } from "../../../src/vmx/exit-reasons.ts";
import { jobOf, scenarioNamed } from "../../hypervisor/reference/jobs.ts";

/** Alone they are steady from the start, and take the simulator longer; sharing LPs they get out of step in the first millisecond. */
const alone = { overcommit: 1, duration: millisecond, from: 0, seeds: [1] } as const;
const sharing = { overcommit: 2, duration: 3 * millisecond, from: millisecond, seeds: [1, 2] };
const slice = 50 * microsecond;

function contest(lock: LockKind, guest: GuestKind): Scenario {
  const scenario = scenarioNamed("lock-contest");
  return {
    ...scenario,
    vms: scenario.vms.map((vm) => ({
      ...vm,
      workloads: vm.workloads.map((one) =>
        // Waiters that halt do so soon, or in so short a run nobody would.
        one.type === "spinlock" ? { ...one, lock, guest, spins: 100 } : one,
      ),
    })),
  };
}

/** What the VMs did together in a second, mean over the seeds. */
interface Figures {
  readonly work: number;
  readonly pauseLoopExits: number;
  readonly halts: number;
}

async function run(
  lock: LockKind,
  guest: GuestKind,
  { overcommit, duration, from, seeds }: typeof alone | typeof sharing,
): Promise<Figures> {
  const figures = { work: 0, pauseLoopExits: 0, halts: 0 };
  for (const seed of seeds) {
    const record = await runSchedulingJob({
      ...jobOf(contest(lock, guest), "round-robin", { overcommit, lps: 4, duration, seed }),
      ...{ parameters: { slice }, check: false, keepRecord: false },
    });
    expect(record.ending).toEqual({ type: "completed" });
    const { vmSummaries, exits, wall, pauseLoopExits } = measure(record, { from });
    for (const { throughput } of vmSummaries) figures.work += throughput / seeds.length;
    figures.pauseLoopExits += pauseLoopExits / seeds.length;
    const halts = exits.find(({ reason }) => reason === exitReasonTable.hlt.number);
    figures.halts += ((halts?.durations.count ?? 0) * 1e9) / wall / seeds.length;
  }
  return figures;
}

/** The two agree to within this factor when they share LPs; by themselves they hardly differ. */
const likeness = 1.5;
const losses = new Map<string, number>();

describe("machine code and scripts that contend for a lock", () => {
  for (const lock of lockKinds) {
    it(`of kind ${lock} do alike`, { timeout: 120_000 }, async () => {
      // A lock that loses little keeps the simulator busy: shorter runs do for it.
      const shared = lock === "test-and-set" ? { ...sharing, seeds: [1] } : sharing;
      const script = [await run(lock, "script", alone), await run(lock, "script", shared)];
      const code = [
        await run(lock, "machine-code", alone),
        await run(lock, "machine-code", shared),
      ];
      expect((code[0]?.work ?? 0) / (script[0]?.work ?? 0)).toBeCloseTo(1, 1);
      const loss = [script, code].map(([one, both]) => (one?.work ?? 0) / (both?.work ?? 0));
      losses.set(`${lock} script`, loss[0] ?? 0).set(`${lock} machine-code`, loss[1] ?? 0);
      expect(Math.max(...loss) / Math.min(...loss)).toBeLessThan(likeness);
      for (const [one, both] of [script, code]) {
        expect(one?.halts).toBe(0);
        expect((both?.halts ?? 0) > 0).toBe(lock === "paravirtual");
        // Who wants a test-and-set lock may wait for long even when everybody runs.
        if (lock === "test-and-set") continue;
        expect(one?.pauseLoopExits).toBe(0);
        expect(both?.pauseLoopExits).toBeGreaterThan(50_000);
      }
    });
  }

  it.each(["script", "machine-code"])(
    "rank the locks alike: only one that is taken out of turn loses little (%s)",
    (guest) => {
      const of = (lock: LockKind): number => losses.get(`${lock} ${guest}`) ?? Number.NaN;
      expect(of("test-and-set")).toBeLessThan(1.4);
      for (const lock of ["ticket", "mcs", "paravirtual"] as const) {
        expect(of(lock), lock).toBeGreaterThan(1.8);
      }
    },
  );
});
