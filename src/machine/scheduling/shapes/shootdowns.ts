import { type Experiment, gain, times } from "./experiment.ts";
import { builtIn, each } from "./scenarios.ts";

const lps = 8;
const overcommits = [1, 2, 3] as const;

/** IPIs whose receivers do not run. */
export const shootdownExperiments: readonly Experiment[] = [
  {
    row: 3,
    phenomenon: "running the receiver of an IPI first",
    published: "ebizzy in an 80-vCPU VM at 1x, 2x, 3x: +9 %, +180 %, +72 %",
    setUp:
      "memory-mappers under eevdf, VMs of 8 vCPUs for 80: half of them map memory under a lock whose waiters sleep, half shoot down TLBs, so that IPIs find vCPUs that rest; yielding postpones, as the Linux of the publication took nothing for it",
    criterion: "the gain is largest at 2:1 or above, and at least 20 % there",
    variants: each(
      overcommits.flatMap((n) => [`preempted ${n}`, `preempted-or-ipi-receiver ${n}`]),
      (name) => name,
      (name) => {
        const [rule = "", overcommit] = name.split(" ");
        return {
          policy: "eevdf",
          parameters: { directedYield: rule, yielding: "postpone" },
          scenario: builtIn("memory-mappers"),
          overcommit: Number(overcommit),
          lps,
        };
      },
    ),
    judge(results) {
      const gains = overcommits.map(
        (n) =>
          results.throughput(`preempted-or-ipi-receiver ${n}`) /
          results.throughput(`preempted ${n}`),
      );
      const [alone = 0, ...others] = gains;
      const most = Math.max(...others);
      return { simulated: gains.map(gain).join(", "), holds: most > alone && most >= 1.2 };
    },
  },
  {
    row: 8,
    phenomenon: "TLB shootdown by IPI",
    published:
      "PARSEC: up to 64 % of processor time; paravirtual shootdown takes 85 % off the run time",
    setUp:
      "shootdown against shootdown-paravirtual under eevdf without PAUSE-loop exiting; shown beside it with PAUSE-loop exits and directed yield, which help the targets as well. What the publication had of these is not known",
    criterion:
      "at 2:1 paravirtual shootdown does at least twice the work; at 1:1 the difference is below 25 %",
    variants: each(
      ["1", "2", "2 helped"].flatMap((n) => [`shootdown ${n}`, `shootdown-paravirtual ${n}`]),
      (name) => name,
      (name) => {
        const [scenario = "", overcommit, helped] = name.split(" ");
        return {
          policy: "eevdf",
          scenario: builtIn(
            scenario,
            helped === undefined ? { pauseWindow: 0, directedYield: "none" } : {},
          ),
          overcommit: Number(overcommit),
          lps,
        };
      },
    ),
    judge(results) {
      const ratio = (n: string): number =>
        results.throughput(`shootdown-paravirtual ${n}`) / results.throughput(`shootdown ${n}`);
      const [alone, shared, helped] = [ratio("1"), ratio("2"), ratio("2 helped")];
      return {
        simulated: `paravirtual against IPI: ${times(alone)} at 1:1, ${times(shared)} at 2:1; with directed yield ${times(helped)} at 2:1`,
        holds: shared >= 2 && Math.abs(alone - 1) < 0.25,
      };
    },
  },
];
