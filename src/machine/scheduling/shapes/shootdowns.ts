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
    criterion: "the gain is largest at 2:1 or above, and at least 20 % there",
    variants: each(
      overcommits.flatMap((n) => [`preempted ${n}`, `preempted-or-ipi-receiver ${n}`]),
      (name) => name,
      (name) => {
        const [rule = "", overcommit] = name.split(" ");
        return {
          policy: "eevdf",
          parameters: { directedYield: rule },
          // Memory is mapped under a lock whose waiters sleep: IPIs find vCPUs that rest.
          scenario: builtIn("locks-and-shootdowns"),
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
    criterion:
      "at 2:1 paravirtual shootdown does at least twice the work; at 1:1 the difference is below 25 %",
    variants: each(
      [1, 2].flatMap((n) => [`shootdown ${n}`, `shootdown-paravirtual ${n}`]),
      (name) => name,
      (name) => {
        const [scenario = "", overcommit] = name.split(" ");
        return {
          policy: "eevdf",
          // What helps otherwise is left out, as for locks.
          scenario: builtIn(scenario, { pauseWindow: 0, directedYield: "none" }),
          overcommit: Number(overcommit),
          lps,
        };
      },
    ),
    judge(results) {
      const ratio = (n: number): number =>
        results.throughput(`shootdown-paravirtual ${n}`) / results.throughput(`shootdown ${n}`);
      const [alone, shared] = [ratio(1), ratio(2)];
      return {
        simulated: `paravirtual against IPI: ${times(alone)} at 1:1, ${times(shared)} at 2:1`,
        holds: shared >= 2 && Math.abs(alone - 1) < 0.25,
      };
    },
  },
];
