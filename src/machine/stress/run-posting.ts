import { place } from "../../hypervisor/posting/posting-memory.ts";
import { describeViolation } from "../../vmx/checker/invariants.ts";
import { configure } from "../configuration.ts";
import { runMachine } from "../run-machine.ts";
import type { RunResult } from "../run-result.ts";
import type { PostingOptions } from "./posting-options.ts";
import { PostingOracle } from "./posting-oracle.ts";
import type { PostingRun } from "./posting-result.ts";
import { postingSoftware } from "./posting-software.ts";
import { spacing } from "./rates.ts";
import { stormDevice } from "./storm-device.ts";
import { randomVector } from "./stress-vectors.ts";

const cyclesPerSecond = 1e9;
const guestWork = 1000;
/** Chances per round of a guest's loop that nobody sets. */
const habits = {
  masks: 0.05,
  priorities: 0.05,
  windows: 0.02,
  calls: 0.02,
  lateEnds: 0.1,
} as const;
const byRequest = 0.2;
const perturbation = { part: 0.02, cyclesMax: 1500 } as const;
/** A run that takes longer has gone astray. */
const secondsMax = 600;

/** Longest wait for rest at the end, in cycles. */
const restCyclesMax = 50_000_000;
/** As fast as a device can, in messages per second. */
const deviceRateMax = 2_000_000;
/** Blocked messages between two looks at them, on the average: near the number of the unit's records. */
const blockedPerLook = 4;
const perRound = (rate: number): number => Math.min(0.5, (rate * guestWork) / cyclesPerSecond);

/** How far a run has come; seconds are the host's. */
export interface PostingProgress {
  readonly posts: number;
  readonly deliveries: number;
  readonly lost: number;
  readonly seconds: number;
}
export interface PostingCallbacks {
  /** Called a few times a second. */
  readonly onProgress?: (progress: PostingProgress) => void;
  /** Ends the run; what has been posted until then counts. */
  readonly signal?: AbortSignal;
}
const progressMs = 200;

/** Runs the stress once under the deterministic driver. */
export async function runPosting(
  options: PostingOptions,
  seed: number,
  { onProgress, signal }: PostingCallbacks = {},
): Promise<PostingRun> {
  const startedAt = performance.now();
  const lpCount = options.lps + 1;
  const apicIds = Array.from({ length: lpCount }, (_, lp) => lp);
  const { lps, vcpus, check, bug, ipiVirtualization } = options;
  const oracle = new PostingOracle({ seed, vcpus, lps, apicIds, check });
  const vector = randomVector(options.vectors);
  const software = postingSoftware({
    setup: { lps, vcpus, ipiVirtualization, bug, observer: oracle },
    guest: {
      vcpus,
      vector,
      work: guestWork,
      halts: perRound(options.halt),
      ...habits,
      ipis: options.guestPosts ? perRound(options.rate) : 0,
      ipiVirtualization,
      lateLetters: bug === "icr-overtakes-store",
      seed,
      observer: oracle,
    },
    manager: {
      post: options.hypervisorPosts ? spacing(options.rate) : Number.POSITIVE_INFINITY,
      byRequest,
      preempt: spacing(options.preempt),
      migrate: lps > 1 ? spacing(options.migrate) : Number.POSITIVE_INFINITY,
      reroute: options.devices > 0 ? spacing(options.affinity) : Number.POSITIVE_INFINITY,
      raise: spacing(options.lines),
      routeLine: options.lines > 0 ? spacing(options.affinity) : Number.POSITIVE_INFINITY,
      readFaults:
        options.devices > 0 ? spacing(options.blocked / blockedPerLook) : Number.POSITIVE_INFINITY,
      devices: {
        devices: options.devices,
        interval: spacing(Math.min(options.rate, deviceRateMax)),
        urgent: options.urgent,
        blocked: spacing(options.blocked),
        vector,
        records: undefined,
      },
      vector,
      seed,
      rests: true,
      account: undefined,
      patience: restCyclesMax,
      enough: () =>
        signal?.aborted === true ||
        oracle.posts >= options.posts ||
        oracle.now() >= options.seconds * cyclesPerSecond,
      quiet: (asleep) => oracle.quiet(asleep),
      tick: () => oracle.tick(),
    },
    perturbation,
    seed,
    apicIds,
    onLoad: (memory) => oracle.attach(memory),
    onStart: (environment) => {
      oracle.now = environment.now;
    },
  });
  const configuration = configure({
    cpuModel: options.cpuModel,
    ramBytes: place.ramBytes,
    lpCount,
    iommu: options.devices > 0,
    devices: Array.from({ length: options.devices }, () => stormDevice),
    driver: "deterministic",
    seed,
    check: "report",
    timeoutSeconds: secondsMax,
  });
  const trace = {
    sink: (source: number) => (kind: string, detail: Readonly<Record<string, unknown>>) =>
      oracle.hear(source, kind, detail),
    partFile: () => "",
  };
  const progress = setInterval(() => {
    const { posts, deliveries, lost } = oracle;
    onProgress?.({ posts, deliveries, lost, seconds: (performance.now() - startedAt) / 1000 });
  }, progressMs);
  const result = await runMachine(configuration, { software, trace }).finally(() =>
    clearInterval(progress),
  );
  addMachineFindings(oracle, options, result);
  return {
    seed,
    ...oracle.counts(),
    exits: result.lps.reduce((sum, { statistics }) => sum + total(statistics.exits), 0),
    seconds: result.cycles / cyclesPerSecond,
    hostSeconds: (performance.now() - startedAt) / 1000,
    findings: oracle.findings,
    perLp: oracle.perLp,
    latency: oracle.latency.data(),
    timeline: oracle.timeline.samples,
    bySource: oracle.bySource,
    disturbances: {
      ...oracle.disturbances,
      "blocked message": oracle.unit.faults,
      "fault overflow": oracle.unit.overflows,
      "level-triggered interrupt": oracle.lines.ends,
    },
  };
}

const total = (counts: Readonly<Record<string, number>>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

/** What the processors' own checker has found, and runs that did not end as they should. */
function addMachineFindings(
  oracle: PostingOracle,
  { check }: PostingOptions,
  result: RunResult,
): void {
  for (const violation of result.lps.flatMap((lp) => lp.violations)) {
    if (check !== undefined && !check.includes(violation.invariant)) continue;
    oracle.add(String(violation.invariant), describeViolation(violation));
  }
  const { ending } = result;
  if (ending.type === "exit" && ending.value === 0) return;
  const message = ending.type === "bug" ? ending.message : `the run has ended by ${ending.type}`;
  oracle.add("failed", message);
}
