import type { Scenario } from "../../../hypervisor/scenario.ts";
import type { RunSummary } from "../metrics/summary.ts";

/** One of the runs that an experiment compares. */
export interface Variant {
  readonly policy: string;
  readonly parameters?: Readonly<Record<string, number | string | boolean>>;
  readonly scenario: Scenario;
  readonly overcommit: number;
  readonly lps: number;
}

/** What an experiment came to. */
export interface Judgement {
  /** The simulated counterpart of what was published, in the same order. */
  readonly simulated: string;
  readonly holds: boolean;
}

/**
 * A published result whose shape the simulation ought to have: its direction, order and rough ratio. Workloads are the built-in scenarios;
 * only what the publication varies is varied.
 */
export interface Experiment {
  /** Number by which `vmxon sched shapes --row` asks for it. */
  readonly row: number;
  readonly phenomenon: string;
  /** Figures as published, and what on. */
  readonly published: string;
  /** What is run in its place, and where that departs from what is known of the publication. */
  readonly setUp: string;
  /** What must be so for the shape to hold. */
  readonly criterion: string;
  readonly variants: Readonly<Record<string, Variant>>;
  readonly judge: (results: ShapeResults) => Judgement;
}

/** The runs of an experiment, by variant; some seeds of each. */
export class ShapeResults {
  readonly #runs: ReadonlyMap<string, readonly RunSummary[]>;

  constructor(runs: ReadonlyMap<string, readonly RunSummary[]>) {
    this.#runs = runs;
  }

  /** Mean of a figure over the seeds. */
  mean(variant: string, figure: (summary: RunSummary) => number): number {
    const values = (this.#runs.get(variant) ?? []).map(figure);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  }

  /** Units of work per second of a VM, mean over the VMs whose name begins so. */
  throughput(variant: string, vm = ""): number {
    return this.mean(variant, ({ vmSummaries }) => {
      const all = vmSummaries.filter(({ name }) => name.startsWith(vm));
      return all.reduce((sum, { throughput }) => sum + throughput, 0) / all.length;
    });
  }

  /** Part of the processor time handed out that went to VMs whose name begins so. */
  share(variant: string, vm: string): number {
    return this.mean(variant, ({ vmSummaries }) => {
      const run = (prefix: string): number =>
        vmSummaries
          .filter(({ name }) => name.startsWith(prefix))
          .reduce((sum, one) => sum + one.run, 0);
      return run(vm) / run("");
    });
  }
}

/** `2.3 x`, for judgements. */
export const times = (value: number): string => `${value.toPrecision(2)}x`;

/** `+12 %`, of a ratio. */
export function gain(ratio: number): string {
  const percent = (ratio - 1) * 100;
  return `${percent >= 0 ? "+" : ""}${percent.toFixed(Math.abs(percent) < 10 ? 1 : 0)} %`;
}
