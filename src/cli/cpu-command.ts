import { Command } from "commander";
import { cpuModels } from "../cpu/models/models.ts";
import { UserError } from "../machine/user-error.ts";
import { describeCpu } from "./cpu-description.ts";
import { formatCpu, formatCpuList } from "./cpu-report.ts";
import { nearMatches } from "./near-matches.ts";

interface Options {
  readonly json?: boolean;
}

/** Describes `vmxon cpu`. @param print writes to standard output */
export function cpuCommand(print: (text: string) => Promise<void>): Command {
  const show = <T>(value: T, format: (value: T) => string, { json }: Options): Promise<void> =>
    print(json ? `${JSON.stringify(value, undefined, 2)}\n` : format(value));
  const list = new Command("list")
    .description("Lists the processor models.")
    .option("--json", "print JSON")
    .action((options: Options) => show(cpuModels.map(describeCpu), formatCpuList, options));
  const one = new Command("show")
    .description(
      "Shows a model: features, address widths, the settings of every VMX control, capability MSRs.",
    )
    .argument("<model>", "name of a model")
    .option("--json", "print JSON")
    .action((name: string, options: Options) =>
      show(describeCpu(modelCalled(name)), formatCpu, options),
    );
  return new Command("cpu")
    .summary("list and show the processor models")
    .description("The processor models that vmxon run --cpu chooses from.")
    .addCommand(list)
    .addCommand(one)
    .action(() => {
      throw new UserError("cpu: say what to do: list, or show and the name of a model");
    });
}

/** @throws {UserError} no model has that name */
function modelCalled(name: string): (typeof cpuModels)[number] {
  const model = cpuModels.find((candidate) => candidate.name === name);
  if (model !== undefined) return model;
  const names = cpuModels.map((candidate) => candidate.name);
  const near = nearMatches(name, names);
  const offer =
    near.length > 0 ? `near matches: ${near.join(", ")}` : `the models are: ${names.join(", ")}`;
  throw new UserError(`cpu show: no model is called "${name}"; ${offer}`);
}
