import { Prng } from "../../../src/base/prng.ts";
import {
  BlockCause,
  DescheduleReason,
  noLp,
  RequestKind,
  type RunRecord,
  RunRecorder,
} from "../../../src/hypervisor/run-record.ts";
import { placeVms, topologyWith } from "../../../src/hypervisor/scenario.ts";
import type { SchedulingJob } from "../../../src/machine/scheduling/job.ts";

/**
 * A stand-in for the reference hypervisor: each LP goes round its share of the vCPUs in slices of 2 ms (policy "null": of 5 ms), and some vCPUs
 * halt, lock and answer requests by chance. Good for nothing but records of the right form.
 */
export function toySimulation(job: SchedulingJob): RunRecord {
  const { scenario, lps, overcommit, duration, seed, costs } = job;
  const vms = placeVms(scenario, lps, overcommit);
  const entries = Object.values(costs.costs);
  const published = entries.filter(({ tag }) => tag === "published").length;
  const recorder = new RunRecorder({
    policy: job.policy.name,
    parameters: job.parameters,
    scenario: scenario.name,
    overcommit,
    seed,
    lps,
    topology: topologyWith(scenario.topology, lps),
    vms: vms.map(({ name, weight, cap }) => ({ name, weight, cap })),
    vcpus: vms.flatMap(({ vcpus }, vm) =>
      vcpus.map(({ affinity }, index) => ({ vm, index, affinity })),
    ),
    counters: ["credits"],
    costs: { profile: costs.name, published, estimate: entries.length - published },
  });
  const vcpus = recorder.header.vcpus.length;
  for (let vcpu = 0; vcpu < vcpus; vcpu++) recorder.wake(0, noLp, vcpu);
  const random = new Prng(seed);
  const slice = job.policy.name === "null" ? 5_000_000 : 2_000_000;
  for (let lp = 0; lp < lps; lp++) {
    const mine = Array.from({ length: vcpus }, (_, n) => n).filter((n) => n % lps === lp);
    if (mine.length > 0) runLp(recorder, random, lp, mine, slice, duration);
  }
  return recorder.finish(duration, { type: "completed" });
}

function runLp(
  r: RunRecorder,
  random: Prng,
  lp: number,
  mine: readonly number[],
  slice: number,
  duration: number,
): void {
  let now = 0;
  let id = lp * 1_000_000;
  for (let turn = 0; now < duration; turn++) {
    const vcpu = mine[turn % mine.length] ?? 0;
    const length = Math.min(slice, slice / 2 + random.below(slice), duration - now);
    const end = now + length;
    const cost = Math.min(3000, length);
    r.dispatch(now, lp, vcpu, cost);
    if (length < 200_000) {
      r.deschedule(end, lp, vcpu, DescheduleReason.Slice);
      return;
    }
    id++;
    r.ipiSend(now + 5000, lp, vcpu, id, mine[(turn + 1) % mine.length] ?? 0);
    r.ipiAcknowledge(
      now + 9000 + random.below(100_000),
      lp,
      mine[(turn + 1) % mine.length] ?? 0,
      id,
      vcpu,
    );
    r.requestStart(now + 10_000, lp, vcpu, id, RequestKind.Io);
    r.requestComplete(now + 40_000, lp, vcpu, id, RequestKind.Io);
    const preempted = random.below(3) === 0;
    r.lockWait(end - 100_000, lp, vcpu, vcpu);
    r.lockAcquire(end - 100_000 + random.below(20_000), lp, vcpu, vcpu);
    if (!preempted) r.lockRelease(end - 50_000, lp, vcpu, vcpu);
    r.work(end - 40_000, lp, vcpu, Math.round(length / 100_000));
    r.exit(end - 30_000, lp, vcpu, 10_000, 40);
    r.exit(end - 5000, lp, vcpu, 5000, 52);
    r.deschedule(end, lp, vcpu, DescheduleReason.Slice, BlockCause.Idle);
    if (preempted) r.lockRelease(end, lp, vcpu, vcpu);
    now = end;
  }
}
