import { Command, Option } from "commander";
import { lpsMax } from "../hypervisor/scenario.ts";
import { seedMax } from "../machine/configuration.ts";
import { UserError } from "../machine/user-error.ts";
import type { BenchPorts } from "./sched-bench.ts";
import {
  parseDuration,
  parseOvercommits,
  parseRows,
  type SchedOptions,
  type ShapeOptions,
  wholeNumber,
} from "./sched-option-values.ts";

const defaultScenario = "mixed";

const examples = `
Examples:
  vmxon sched bench --policy credit,eevdf --scenario spinlock-ticket --overcommit 1,2,3,4
  vmxon sched bench --policy ./mine.ts --scenario mixed --report mine.html
  vmxon sched bench --policy credit:rateLimit=0 --scenario my.yaml --seeds 10 --csv results.csv

Exit status: 0 all runs are whole, 1 some are not, 2 bad input, 70 a bug, 130 Ctrl-C.
`;

/** What the commands need of the process. `setStatus` takes the exit status. */
export interface SchedPorts extends BenchPorts {
  readonly setStatus: (status: number) => void;
}

/** Describes `vmxon sched`. What it takes to run it is loaded only then: the other commands need none of it. */
export function schedCommand(ports: SchedPorts): Command {
  return new Command("sched")
    .summary("compare vCPU schedulers")
    .description("Benchmarks schedulers of vCPUs in a reference hypervisor on simulated VMX.")
    .addCommand(benchCommand(ports))
    .addCommand(listCommand(ports))
    .addCommand(shapesCommand(ports))
    .action(() => {
      throw new UserError("sched: say what to do: bench, list or shapes");
    });
}

/** An option whose text is parsed by a function that throws `UserError`. */
function option<T>(flags: string, description: string, parse: (text: string) => T): Option {
  return new Option(flags, description).argParser(parse);
}

/** Options that benches and experiments share. */
const shared = {
  seeds: () =>
    option("--seeds <n>", "runs of each combination", wholeNumber("--seeds", 1, 10_000)).default(3),
  seed: () => option("--seed <n>", "the first seed", wholeNumber("--seed", 0, seedMax)).default(1),
  cost: () =>
    new Option("--cost <profile>", "a built-in cost profile or a JSON file").default("skylake-kvm"),
  threads: () =>
    option(
      "--threads <n>",
      "runs side by side; else one per processor",
      wholeNumber("--threads", 1, 1024),
    ),
};

function benchCommand(ports: SchedPorts): Command {
  return new Command("bench")
    .summary("run policies in scenarios and compare them")
    .description(
      "Runs every policy in every scenario at every overcommit, and prints a table for each scenario.",
    )
    .option(
      "--policy <names>",
      "policies apart by commas, NAME[:parameter=value...] or a module's file",
      undefined,
    )
    .addOption(
      new Option("--scenario <name>", "a built-in scenario or a YAML file; may be repeated")
        .argParser((text: string, all: readonly string[] | undefined) =>
          all === undefined || all === defaultScenarios ? [text] : [...all, text],
        )
        .default(defaultScenarios, defaultScenario),
    )
    .addOption(
      option("--overcommit <n,...>", "copies of the VMs that scale", parseOvercommits).default(
        [1, 2],
        "1,2",
      ),
    )
    .addOption(
      option(
        "--lps <n>",
        `logical processors, 1 to ${lpsMax}; else as the scenario has it`,
        wholeNumber("--lps", 1, lpsMax),
      ),
    )
    .addOption(
      option(
        "--duration <ms>",
        "simulated milliseconds of a run; else as the scenario has it",
        parseDuration,
      ),
    )
    .addOption(shared.seeds())
    .addOption(shared.seed())
    .addOption(shared.cost())
    .option("--sensitivity", "run again with all estimated costs halved and doubled")
    .option("--check", "watch the VMCSs; a violation fails the run")
    .addOption(shared.threads())
    .option("--json <file>", "write everything that was measured as JSON")
    .option("--csv <file>", "write the tables as CSV")
    .option("--report <file>", "write a report with pictures as HTML")
    .option("--trace <file>", "write Perfetto traces of the first seed's runs")
    .addHelpText("after", examples)
    .action(async (options: SchedOptions) => {
      const { benchRequest } = await import("./sched-options.ts");
      const { runBench } = await import("./sched-bench.ts");
      const { planBench } = await import("../machine/scheduling/bench-plan.ts");
      const plan = planBench(benchRequest(options));
      const { threads, json, csv, report, trace } = options;
      const files = { json, csv, report, trace };
      const sweep = { ...ports.sweep, ...(threads === undefined ? {} : { threads }) };
      ports.setStatus(await runBench(plan, files, { ...ports, sweep }));
    });
}

const defaultScenarios: readonly string[] = [defaultScenario];

function listCommand({ print }: SchedPorts): Command {
  return new Command("list")
    .summary("policies, scenarios and cost profiles")
    .description("Lists the policies with their parameters, the scenarios and the cost profiles.")
    .option("--json", "print JSON")
    .action(async ({ json }: { json?: boolean }) => {
      const { formatSchedList, schedListJson } = await import("./sched-list.ts");
      await print(json ? schedListJson() : formatSchedList());
    });
}

function shapesCommand(ports: SchedPorts): Command {
  return new Command("shapes")
    .summary("try published experiments")
    .description(
      "Runs published experiments on vCPU scheduling and compares the shape of the results: direction, order, rough ratio.",
    )
    .addOption(option("--row <n,...>", "only these experiments", parseRows))
    .addOption(shared.seeds())
    .addOption(shared.seed())
    .addOption(shared.cost())
    .option("--no-sensitivity", "do not run again with estimated costs halved and doubled")
    .addOption(shared.threads())
    .option("--json <file>", "write the results as JSON")
    .action(async (options: ShapeOptions) => {
      const { runShapes } = await import("./sched-shapes.ts");
      ports.setStatus(await runShapes(options, ports));
    });
}
