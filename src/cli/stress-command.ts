import { Command, Option } from "commander";
import { postingBugs } from "../hypervisor/posting/faults.ts";
import { postingLpsMax, vcpusMax } from "../hypervisor/posting/posting-memory.ts";
import { driverNames } from "../machine/configuration.ts";
import { postingDefaults } from "../machine/stress/posting-options.ts";
import { stressVectorsMax } from "../machine/stress/stress-vectors.ts";
import { UserError } from "../machine/user-error.ts";
import {
  parseBug,
  parseCount,
  parseCpu,
  parseDriver,
  parseInvariants,
  parsePart,
  parsePostRate,
  parseRate,
  parseSeconds,
  parseSeed,
  type StressOptions,
} from "./stress-options.ts";

const examples = `
Examples:
  vmxon stress posting --lps 4 --vcpus 6 --posts 100k
  vmxon stress posting --seeds 1000 --json results.json --report results.html
  vmxon stress posting --bug sn-clear-drops-on --seeds 20
  vmxon stress posting --driver threads --duration 10

Rates are per second of the machine's time, a cycle being a nanosecond. One more LP than --lps posts for the hypervisor and disturbs.

Exit status: 0 clean, 2 bad usage, 3 a finding, 130 Ctrl-C.
`;

const devicesMax = 8;
const seedsMax = 1_000_000;
const postsMax = 1e9;

/** Describes `vmxon stress`. @param posting what `vmxon stress posting` does */
export function stressCommand(posting: (options: StressOptions) => Promise<void>): Command {
  return new Command("stress")
    .summary("stress interrupt posting, and account for every post")
    .description(
      "Drives interrupt posting from many sides at once and proves what became of every post.",
    )
    .addCommand(postingCommand(posting))
    .action(() => {
      throw new UserError("stress: say what: posting");
    });
}

function postingCommand(action: (options: StressOptions) => Promise<void>): Command {
  const defaults = postingDefaults;
  const count = (flags: string, text: string, least: number, most: number): Option =>
    option(
      flags,
      `${text}, ${least} to ${most}`,
      parseCount(flags.split(" ")[0] ?? "", least, most),
    );
  const rate = (flags: string, text: string): Option =>
    option(flags, `${text}, per second, 0 for none`, parseRate(flags.split(" ")[0] ?? ""));
  return new Command("posting")
    .summary("post interrupts from all sides")
    .description(
      "Posts interrupts to vCPUs by the hypervisor, by IPIs and by devices, while vCPUs halt, are preempted and move; says of every post whether it was delivered, coalesced, is pending or was lost.",
    )
    .addOption(count("--lps <n>", "LPs that run vCPUs", 1, postingLpsMax - 1).default(defaults.lps))
    .addOption(count("--vcpus <n>", "vCPUs of the guest", 1, vcpusMax).default(defaults.vcpus))
    .addOption(count("--devices <n>", "devices", 0, devicesMax).default(defaults.devices))
    .addOption(
      count("--vectors <n>", "vectors in use", 1, stressVectorsMax).default(defaults.vectors),
    )
    .addOption(
      option("--rate <rate>", "posts per second of each poster, or max", parsePostRate).default(
        defaults.rate,
      ),
    )
    .addOption(
      option("--duration <seconds>", "length of a run in the machine's time", parseSeconds),
    )
    .addOption(count("--posts <n>", "length of a run in posts", 1, postsMax).conflicts("duration"))
    .addOption(rate("--migrate <rate>", "moves of vCPUs").default(defaults.migrate))
    .addOption(rate("--halt <rate>", "halts of each vCPU").default(defaults.halt))
    .addOption(rate("--preempt <rate>", "preemptions").default(defaults.preempt))
    .addOption(
      rate("--affinity <rate>", "changes of a device interrupt's target").default(
        defaults.affinity,
      ),
    )
    .addOption(
      rate("--lines <rate>", "emulated interrupt lines that rise (deterministic driver)").default(
        defaults.lines,
      ),
    )
    .addOption(
      rate(
        "--blocked <rate>",
        "device messages that the VT-d unit must block (deterministic driver)",
      ).default(defaults.blocked),
    )
    .option("--ipi-virt", "the processor posts the guest's IPIs (IPI virtualization)")
    .addOption(
      option(
        "--urgent <part>",
        "part of device interrupts that are urgent, 0 to 1",
        parsePart,
      ).default(defaults.urgent),
    )
    .addOption(
      option("--driver <name>", `how LPs run: ${driverNames.join(" or ")}`, parseDriver).default(
        defaults.driver,
      ),
    )
    .addOption(
      option("--seed <n>", "seed of everything random; of several, the first", parseSeed).default(
        1,
      ),
    )
    .addOption(count("--seeds <n>", "runs with seeds in a row", 1, seedsMax).default(1))
    .addOption(
      option(
        "--check <list>",
        "invariants to watch: all, or numbers apart by commas",
        parseInvariants,
      ),
    )
    .addOption(
      option(
        "--bug <name>",
        `plant a bug in the hypervisor: ${Object.keys(postingBugs).join(", ")}`,
        parseBug,
      ),
    )
    .addOption(option("--cpu <model>", "processor model", parseCpu))
    .option(
      "--replay",
      "one seed under the deterministic driver, with all that is known of its findings",
    )
    .option("--json <file>", "write the sums, and a record for each seed, as JSON")
    .option("--report <file>", "write a report with pictures as HTML")
    .addHelpText("after", examples)
    .action(action);
}

function option<T>(flags: string, description: string, parse: (text: string) => T): Option {
  return new Option(flags, description).argParser(parse);
}
