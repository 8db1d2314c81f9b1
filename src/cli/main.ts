#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { projectFile } from "../machine/project-files.ts";
import { exitStatus } from "../machine/run-result.ts";
import { UserError } from "../machine/user-error.ts";
import { cpuCommand } from "./cpu-command.ts";
import { explainCommand } from "./explain-command.ts";
import { runImage } from "./run-image.ts";
import { runCommand } from "./run-options.ts";
import { schedCommand } from "./sched-command.ts";
import { OutputPort } from "./standard-output.ts";
import { stressCommand } from "./stress-command.ts";

const { version } = JSON.parse(readFileSync(projectFile("package.json"), "utf8")) as {
  version: string;
};

/** Messages of the option parser, made one line. */
const oneLine = (text: string): string =>
  `vmxon: ${text
    .trim()
    .replace(/^error: /, "")
    .replaceAll(/\s*\n\s*/g, " ")}\n`;

const run = runCommand(async (image, options) => {
  process.exitCode = await runImage(image, options);
});
const print = (text: string): Promise<void> =>
  new OutputPort().write(new TextEncoder().encode(text));
const ports = {
  print,
  terminal: process.stderr,
  now: () => performance.now(),
  onInterrupt(stop: () => void) {
    // The second Ctrl-C finds no handler and ends the process.
    process.once("SIGINT", stop);
    return () => process.off("SIGINT", stop);
  },
  setStatus(status: number) {
    process.exitCode = status;
  },
};
const stress = stressCommand(async (options) => {
  await (await import("./stress-posting.ts")).stressPosting(options, ports);
});
const program = new Command("vmxon")
  .description("Multiprocessor simulator of Intel VT-x that boots real x86-64 images.")
  .version(version)
  .addCommand(run)
  .addCommand(cpuCommand(print))
  .addCommand(explainCommand(print))
  .addCommand(schedCommand(ports))
  .addCommand(stress)
  .addHelpText("after", "\nSee vmxon run --help for options, examples and exit statuses.");
const descendants = (command: Command): readonly Command[] => [
  command,
  ...command.commands.flatMap(descendants),
];
for (const command of descendants(program)) {
  command
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(oneLine(text)) });
}

try {
  if (process.argv.length <= 2) throw new UserError("no command; see vmxon --help");
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitStatus.badInput;
  if (error instanceof CommanderError) {
    // Help and version end the same way as errors; only those have said something worth a status.
    process.exitCode = error.exitCode === 0 ? 0 : exitStatus.badInput;
  } else if (error instanceof UserError) {
    process.stderr.write(oneLine(error.message));
  } else {
    throw error;
  }
}
// Workers are gone by now; a descriptor whose reader has stopped reading must not keep the process.
process.exit();
