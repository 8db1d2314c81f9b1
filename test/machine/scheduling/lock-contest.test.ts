import { describe, expect, it } from "vitest";
import {
  type GuestKind,
  type LockKind,
  lockKinds,
  microsecond,
  millisecond,
  type Scenario,
} from "../../../src/hypervisor/scenario.ts";
import type { RunSummary } from "../../../src/machine/scheduling/metrics/summary.ts";
import { measure } from "../../../src/machine/scheduling/metrics/summary.ts";
import { runSchedulingJob } from "../../../src/machine/scheduling/run-scheduling-job.ts";
import { exitReasonTable } from "../../../src/vmx/exit-reasons.ts";
import { jobOf, scenarioNamed } from "../../hypervisor/reference/jobs.ts";

/** Alone they are steady from the start, and take the simulator longer. */
const durationAlone = millisecond;
const durationShared = 2 * millisecond;
const slice = 200 * microsecond;

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

async function run(lock: LockKind, guest: GuestKind, overcommit: number): Promise<RunSummary> {
  const duration = overcommit === 1 ? durationAlone : durationShared;
  const record = await runSchedulingJob({
    ...jobOf(contest(lock, guest), "round-robin", { overcommit, lps: 4, duration }),
    ...{ parameters: { slice }, check: false, keepRecord: false },
  });
  expect(record.ending).toEqual({ type: "completed" });
  return measure(record);
}

/** Rounds per second, all VMs. */
const work = ({ vmSummaries }: RunSummary): number =>
  vmSummaries.reduce((sum, { throughput }) => sum + throughput, 0);

const count = ({ exits }: RunSummary, reason: keyof typeof exitReasonTable): number =>
  exits.find((row) => row.reason === exitReasonTable[reason].number)?.durations.count ?? 0;

/** The two agree to within this factor, overcommitted; by themselves they hardly differ. */
const likeness = 1.5;
const collapses = new Map<string, number>();

describe("machine code and scripts that contend for a lock", () => {
  for (const lock of lockKinds) {
    it(`of kind ${lock} do alike`, { timeout: 120_000 }, async () => {
      const [script, scriptShared] = [await run(lock, "script", 1), await run(lock, "script", 2)];
      const [code, codeShared] = [
        await run(lock, "machine-code", 1),
        await run(lock, "machine-code", 2),
      ];
      expect(Math.abs(work(code) / work(script) - 1)).toBeLessThan(0.05);
      const collapse = [work(script) / work(scriptShared), work(code) / work(codeShared)] as const;
      expect(Math.max(...collapse) / Math.min(...collapse)).toBeLessThan(likeness);
      for (const [alone, shared] of [
        [script, scriptShared],
        [code, codeShared],
      ] as const) {
        expect(count(shared, "pause")).toBeGreaterThan(50);
        // A test-and-set lock is not fair: now and then somebody waits long.
        expect(count(alone, "pause")).toBeLessThanOrEqual(lock === "test-and-set" ? 25 : 0);
        expect(count(shared, "hlt") > 0).toBe(lock === "paravirtual");
        expect(count(alone, "hlt")).toBe(0);
      }
      for (const [n, guest] of ["script", "machine-code"].entries()) {
        collapses.set(`${lock} ${guest}`, collapse[n] ?? 0);
      }
    });
  }

  it.each(["script", "machine-code"])(
    "rank the locks alike: only whoever takes a lock out of turn does not lose much (%s)",
    (guest) => {
      const of = (lock: LockKind): number => collapses.get(`${lock} ${guest}`) ?? Number.NaN;
      expect(of("test-and-set")).toBeLessThan(1.25);
      for (const lock of ["ticket", "mcs", "paravirtual"] as const) {
        expect(of(lock), lock).toBeGreaterThan(1.7);
      }
    },
  );
});
