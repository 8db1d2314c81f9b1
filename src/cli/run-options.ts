import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { Command, InvalidArgumentError, Option } from "commander";
import { cpuModels, defaultCpuModel } from "../cpu/models/models.ts";
import {
  type CheckMode,
  configure,
  type DriverName,
  driverNames,
  type FlatPlacement,
  type MachineConfiguration,
  type ModuleArgument,
  parseCheck,
  parseDevice,
  parseDriver,
  parseFlat,
  parseLpCount,
  parseModule,
  parseRamSize,
  parseSeed,
  parseTimeout,
  parseTscSkew,
} from "../machine/configuration.ts";
import { readInputFile } from "../machine/input-files.ts";
import type { SoftwareSource } from "../machine/software-source.ts";
import { UserError } from "../machine/user-error.ts";
import { type DeviceConfiguration, deviceKinds } from "../platform/devices/device-kinds.ts";
import { exitStatusTable } from "./exit-statuses.ts";
import { formatTable } from "./table.ts";

const logLevels = ["silent", "error", "warn", "info", "debug"] as const;
export type LogLevelOption = (typeof logLevels)[number];

/** The options of `vmxon run`, parsed. */
export interface RunOptions {
  readonly lps: number;
  readonly ram: number;
  readonly append: string;
  readonly module: readonly ModuleArgument[];
  readonly flat?: FlatPlacement;
  readonly driver: DriverName;
  readonly seed: number;
  readonly cpu: string;
  readonly tscSkew?: readonly number[];
  readonly timeout?: number;
  readonly stats?: boolean;
  readonly json?: string;
  readonly input?: string;
  readonly logLevel: LogLevelOption;
  readonly trace?: string;
  readonly check?: CheckMode;
  readonly iommu?: boolean;
  readonly device: readonly DeviceConfiguration[];
}

const examples = `
Examples:
  vmxon run kernel.elf --lps 4 --ram 256M --append "console=serial"
  vmxon run guest.flat --module "initrd.img quiet" --stats
  vmxon run kernel.elf --driver deterministic --seed 7 --trace events.jsonl
  vmxon run boot.bin --flat 0x7c00:16 --timeout 10
  vmxon run shell.elf --input -                         (Ctrl-A x ends the run)
  vmxon run study.js --lps 4 --driver deterministic     (scripts: see docs/scripts.md)
`;

/** Describes the command. \`action\` gets the image and the parsed options. */
export function runCommand(action: (image: string, options: RunOptions) => Promise<void>): Command {
  const modelNames = cpuModels.map((model) => model.name);
  return new Command("run")
    .summary("boot an image")
    .description(
      "Boots a Multiboot or ELF image (or raw code, with --flat) on a simulated multiprocessor with VT-x.\n" +
        "The guest's serial line COM1 goes to standard output, everything else to standard error.",
    )
    .argument("<image>", "file to boot, or a module of scripts (.js)")
    .addOption(option("--lps <n>", "logical processors, 1 to 64", parseLpCount).default(1))
    .addOption(
      option("--ram <size>", "RAM, 1M to 3G; a bare number counts MiB", parseRamSize).default(
        128 * 1024 ** 2,
        "128M",
      ),
    )
    .option("--append <text>", "command line for the image", "")
    .addOption(
      new Option(
        "--module <file-and-words>",
        'module for the image, "FILE[@ADDRESS] words"; may be repeated',
      )
        .argParser((text, previous: readonly ModuleArgument[]) => [...previous, parseModule(text)])
        .default([], "none"),
    )
    .addOption(
      option(
        "--flat <address[:mode]>",
        "load raw code at an address and enter it in 16-, 32- or 64-bit mode",
        parseFlat,
      ),
    )
    .addOption(
      option("--driver <name>", `how LPs run: ${driverNames.join(" or ")}`, parseDriver).default(
        "threads",
      ),
    )
    .addOption(
      option(
        "--seed <n>",
        "seed of everything random, the deterministic schedule included",
        parseSeed,
      ).default(1),
    )
    .addOption(
      option("--cpu <model>", `processor model: ${modelNames.join(" or ")}`, parseModel).default(
        defaultCpuModel.name,
      ),
    )
    .addOption(
      option(
        "--tsc-skew <cycles,...>",
        "how far the time-stamp counter of each LP, LP 0 first, is ahead of the clock",
        parseTscSkew,
      ),
    )
    .addOption(option("--timeout <seconds>", "stop after so much wall-clock time", parseTimeout))
    .option(
      "--input <file>",
      "what the guest receives on its serial line COM1; - for standard input, key by key at a terminal",
    )
    .option("--stats", "print statistics to standard error at the end")
    .option("--json <file>", "write the result and the statistics to a file as JSON")
    .addOption(
      new Option("--log-level <level>", "what to log to standard error")
        .choices(logLevels)
        .default("warn"),
    )
    .option("--trace <file>", "write an event log, one JSON object per line")
    .addOption(
      new Option(
        "--check [mode]",
        "watch how guests treat their VMCSs and report violations at the end, or stop at the first (--check=stop)",
      )
        .preset("report")
        .argParser(parseCheck),
    )
    .option("--iommu", "put a VT-d unit between the devices and the rest of the machine")
    .addOption(
      new Option(
        "--device <kind-and-parameters>",
        `a device for the PCI bus, "KIND[,name=value]..."; may be repeated. Kinds: ${deviceKinds.map(({ name }) => name).join(", ")}`,
      )
        .argParser((text, previous: readonly DeviceConfiguration[]) => [
          ...previous,
          parseDevice(text),
        ])
        .default([], "none"),
    )
    .addHelpText(
      "after",
      `${examples}\nExit status:\n${indent(formatTable(exitStatusTable.map(([a, b]) => [`${a}  ${b}`])))}`,
    )
    .action(action);
}

/** An option whose text is parsed by a function that throws `UserError`. */
function option<T>(flags: string, description: string, parse: (text: string) => T): Option {
  return new Option(flags, description).argParser(parse);
}

function parseModel(text: string): string {
  const names = cpuModels.map((model) => model.name);
  if (!names.includes(text)) {
    throw new InvalidArgumentError(`the models are ${names.join(", ")}.`);
  }
  return text;
}

/** A module of scripts in place of an image. */
function scriptsIn(file: string, commandLine: string): SoftwareSource {
  // Whether it can be read is known before a machine is built.
  readInputFile(file);
  return { module: pathToFileURL(resolve(file)).href, parameters: { commandLine } };
}

const indent = (text: string): string => text.replaceAll(/^(?=.)/gm, "  ");

/**
 * Reads the files and puts the machine's configuration together.
 * @throws {UserError} a file cannot be read, or values do not fit each other
 */
export function configurationOf(image: string, options: RunOptions): MachineConfiguration {
  if (options.append.includes("\0")) {
    throw new UserError("--append: a NUL character ends the command line; leave it out");
  }
  const isScript = /\.[cm]?[jt]s$/.test(image);
  return configure({
    ...(isScript
      ? { software: scriptsIn(image, options.append) }
      : { image: readInputFile(image) }),
    flat: options.flat,
    commandLine: options.append,
    modules: options.module.map(({ file, address, text }) => ({
      ...readInputFile(file),
      address,
      text,
    })),
    ramBytes: options.ram,
    lpCount: options.lps,
    driver: options.driver,
    seed: options.seed,
    cpuModel: options.cpu,
    tscSkew: options.tscSkew ?? [],
    timeoutSeconds: options.timeout,
    check: options.check ?? "off",
    iommu: options.iommu ?? false,
    devices: options.device,
  });
}
