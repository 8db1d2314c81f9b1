import { alone } from "../bench-plan.ts";
import { type Experiment, gain, times } from "./experiment.ts";
import { builtIn, each } from "./scenarios.ts";

const unlimited = { ratelimit: 0 } as const;

/** Requests from outside, and what stands between them and their answer. */
export const inputOutputExperiments: readonly Experiment[] = [
  {
    row: 9,
    phenomenon: "boost that also falls to vCPUs that only migrate",
    published: "I/O VM alone 807 Mb/s, beside a CPU hog 167, with the boost mended 732",
    setUp:
      "io-beside-hog, both on one LP of two, under credit without its limit of preemptions: the publication measured a stream, whose sender does not wait for the 1 ms that the limit takes; this I/O waits for each answer",
    criterion:
      "mended, I/O has at least 80 % of its throughput alone; unmended it has clearly less",
    variants: {
      alone: {
        policy: "credit",
        parameters: unlimited,
        scenario: alone(builtIn("io-beside-hog"), 0),
        overcommit: 1,
        lps: 2,
      },
      ...each(["unmended", "mended"], String, (name) => ({
        policy: "credit",
        parameters: { ...unlimited, boostMigrating: name === "unmended" },
        scenario: builtIn("io-beside-hog"),
        overcommit: 1,
        lps: 2,
      })),
    },
    judge(results) {
      const figures = ["alone", "unmended", "mended"].map((name) => results.throughput(name, "io"));
      const [all = 0, unmended = 0, mended = 0] = figures;
      return {
        simulated: `${figures.map((value) => value.toFixed(0)).join(", ")} requests/s`,
        holds: mended >= 0.8 * all && unmended < 0.9 * mended,
      };
    },
  },
  {
    row: 16,
    phenomenon: "halt polling",
    published: "TCP_RR 34 us without, 27 us with; what it burns when idle: 1.1 % to 1.2 %",
    setUp: "io-alone, and ticks for the idle VM, under eevdf, halt polling off and up to 200 us",
    criterion:
      "requests are answered at least 5 % sooner, and a VM of timer ticks polls less than 2 %",
    variants: {
      ...each(
        [0, 200_000],
        (most) => `requests ${most}`,
        (haltPollMax) => ({
          policy: "eevdf",
          scenario: builtIn("io-alone", { haltPollMax }),
          overcommit: 1,
          lps: 2,
        }),
      ),
      idle: {
        policy: "eevdf",
        scenario: builtIn("ticks", { haltPollMax: 200_000 }),
        overcommit: 1,
        lps: 2,
      },
    },
    judge(results) {
      const latency = [0, 200_000].map((most) =>
        results.mean(`requests ${most}`, ({ latencies }) => latencies.request.mean / 1000),
      );
      const [without = 0, polling = 0] = latency;
      const idle = results.mean("idle", ({ times, wall }) => {
        const polled = times.reduce((sum, { haltPoll }) => sum + haltPoll, 0);
        return polled / (wall * times.length);
      });
      return {
        simulated: `${without.toFixed(1)} us without, ${polling.toFixed(1)} us with; idle ${(idle * 100).toFixed(1)} %`,
        holds: polling < 0.95 * without && idle < 0.02,
      };
    },
  },
  {
    row: 24,
    phenomenon: "interrupts without VM exits",
    published: "ELI and DID: exits by a factor of 100 fewer, latency of interrupts 80 % lower",
    setUp:
      "io-busy-posted, one vCPU that has its LP and the registers of its device to itself, interrupts injected and posted; latency is from the device's message to the handler",
    criterion:
      "posting takes the exits per request down by 10x or more, and the latency of an interrupt by half",
    variants: {
      injected: {
        policy: "null",
        scenario: builtIn("io-busy-posted", { posting: false }),
        overcommit: 1,
        lps: 2,
      },
      posted: { policy: "null", scenario: builtIn("io-busy-posted"), overcommit: 1, lps: 2 },
    },
    judge(results) {
      const perRequest = (variant: string): number =>
        results.mean(variant, ({ exitsPerSecond }) => exitsPerSecond) / results.throughput(variant);
      const latency = (variant: string): number =>
        results.mean(variant, ({ latencies }) => latencies.post.p50);
      const exits = perRequest("injected") / Math.max(perRequest("posted"), 1e-3);
      const ratio = latency("posted") / latency("injected");
      return {
        simulated: `exits ${times(exits)} fewer, latency ${gain(ratio)}`,
        holds: exits >= 10 && ratio <= 0.5,
      };
    },
  },
];
