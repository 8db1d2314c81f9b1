import { type Experiment, gain, times } from "./experiment.ts";
import { builtIn, each } from "./scenarios.ts";

const percent = (value: number): string => `${(value * 100).toFixed(0)} %`;

/** Who gets how much, how often it changes, and how long one waits. */
export const shareExperiments: readonly Experiment[] = [
  {
    row: 10,
    phenomenon: "rate limit of preemptions",
    published: "SPECvirt with 1 ms: +11 %, 30 % fewer context switches; 10 ms does no better",
    setUp:
      "producer-consumer at 2:1 on 4 LPs under credit: vCPUs that wake each other, as the processes of web and mail servers do",
    criterion:
      "1 ms has at least 15 % fewer switches without losing work; 10 ms does at most 5 % more work than 1 ms",
    variants: each([0, 1, 10], String, (milliseconds) => ({
      policy: "credit",
      parameters: { ratelimit: milliseconds * 1_000_000 },
      scenario: builtIn("producer-consumer"),
      overcommit: 2,
      lps: 4,
    })),
    judge(results) {
      const work = (variant: string): number =>
        results.throughput(variant) / results.throughput("0");
      const switches =
        results.mean("1", (run) => run.switchesPerSecond) /
        results.mean("0", (run) => run.switchesPerSecond);
      const [short, long] = [work("1"), work("10")];
      return {
        simulated: `1 ms: work ${gain(short)}, switches ${gain(switches)}; 10 ms: work ${gain(long)}`,
        holds: switches <= 0.85 && short >= 0.98 && long <= short * 1.05,
      };
    },
  },
  {
    row: 13,
    phenomenon: "theft of processor time from sampled accounting",
    published: "a vCPU that yields just before the tick takes 95 %",
    setUp:
      "thief, which runs for 9.5 of 10 ms beside a hog, on one LP under credit. The limit of preemptions is off: it is younger than the publication",
    criterion: "the thief has 85 % or more under sampled, and 60 % or less under exact accounting",
    variants: each(["sampled", "exact"], String, (accounting) => ({
      policy: "credit",
      parameters: { accounting, ratelimit: 0 },
      scenario: builtIn("thief"),
      overcommit: 1,
      lps: 1,
    })),
    judge(results) {
      const [sampled, exact] = [results.share("sampled", "thief"), results.share("exact", "thief")];
      return {
        simulated: `sampled ${percent(sampled)}, exact ${percent(exact)}`,
        holds: sampled >= 0.85 && exact <= 0.6,
      };
    },
  },
  {
    row: 14,
    phenomenon: "how many LPs share a run queue",
    published: "credit2 by core, by socket: with noise 36.8 s, 29.1 s; without 18.0 s, 18.5 s",
    setUp:
      "builds on four cores of two threads, one VM and two of them, under credit2. What the noise was is not known; as it doubled the times, it is a second VM like the first",
    criterion:
      "with noise a queue per socket does more work; without it the difference is below 10 %",
    variants: each(
      ["noise core", "noise socket", "quiet core", "quiet socket"],
      (name) => name,
      (name) => {
        const [noise = "", scope = ""] = name.split(" ");
        return {
          policy: "credit2",
          parameters: { scope },
          scenario: builtIn("builds"),
          overcommit: noise === "noise" ? 2 : 1,
          lps: 8,
        };
      },
    ),
    judge(results) {
      const noisy = results.throughput("noise socket") / results.throughput("noise core");
      const quiet = results.throughput("quiet socket") / results.throughput("quiet core");
      return {
        simulated: `by socket against by core: with noise ${gain(noisy)}, without ${gain(quiet)}`,
        holds: noisy > 1.02 && Math.abs(quiet - 1) < 0.1,
      };
    },
  },
  {
    row: 21,
    phenomenon: "tail of the wake-up latency",
    published: "on 16 cores, a table-driven scheduler has a greatest ping 17x below credit's",
    setUp:
      "latency-probe at 2:1 on 8 LPs; rtds, whose vCPUs have reserved time too, stands for the table-driven scheduler, and the 99.9th percentile for the greatest",
    criterion: "reserved time (rtds) has a p99.9 of at most a third of credit's",
    variants: each(["credit", "rtds"], String, (policy) => ({
      policy,
      scenario: builtIn("latency-probe"),
      overcommit: 2,
      lps: 8,
    })),
    judge(results) {
      const tail = (policy: string): number =>
        results.mean(policy, ({ latencies }) => latencies.tick.p999 / 1000);
      const [credit, rtds] = [tail("credit"), tail("rtds")];
      return {
        simulated: `p99.9 credit ${credit.toFixed(0)} us, rtds ${rtds.toFixed(0)} us: ${times(credit / rtds)}`,
        holds: rtds * 3 <= credit,
      };
    },
  },
];
