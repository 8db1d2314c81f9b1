import { cpuModels } from "../cpu/models/models.ts";
import { isPostingBug, type PostingBug, postingBugs } from "../hypervisor/posting/faults.ts";
import { parseDriver, parseSeed } from "../machine/configuration.ts";
import { watchedInvariants } from "../machine/stress/invariants.ts";
import { UserError } from "../machine/user-error.ts";

/** The options of `vmxon stress posting` as the parser leaves them. */
export interface StressOptions {
  readonly lps: number;
  readonly vcpus: number;
  readonly devices: number;
  readonly vectors: number;
  readonly rate: number;
  readonly duration?: number;
  readonly posts?: number;
  readonly migrate: number;
  readonly halt: number;
  readonly preempt: number;
  readonly affinity: number;
  readonly lines: number;
  readonly blocked: number;
  readonly ipiVirt?: boolean;
  readonly urgent: number;
  readonly driver: ReturnType<typeof parseDriver>;
  readonly seed: ReturnType<typeof parseSeed>;
  readonly seeds: number;
  readonly check?: readonly number[];
  readonly bug?: PostingBug;
  readonly cpu?: string;
  readonly replay?: boolean;
  readonly json?: string;
  readonly report?: string;
}

/** What has to go on for a planted bug to do harm, beside what always does. */
const bugNeeds: Partial<
  Readonly<Record<PostingBug, readonly ("devices" | "affinity" | "halt" | "lines" | "blocked")[]>>
> = {
  "sn-clear-drops-on": ["devices"],
  "self-ipi-on-block": ["halt"],
  "assign-while-asleep": ["devices", "halt"],
  "posted-msi-affinity": ["devices", "affinity"],
  "torn-irte": ["devices", "affinity"],
  "stale-eoi-bitmap": ["lines", "affinity"],
  "queue-wrap": ["devices", "affinity"],
  "fault-order": ["devices", "blocked"],
};

const rateMax = 1e9;
const suffixes: Readonly<Record<string, number>> = { "": 1, k: 1e3, m: 1e6 };

/** A rate per second: `20000`, `20k`, `1.5M`, 0 for never. @throws {UserError} */
export function parseRate(option: string): (text: string) => number {
  return (text) => {
    const match = /^(\d+(?:\.\d+)?)([km]?)$/i.exec(text);
    const rate = Number(match?.[1]) * (suffixes[(match?.[2] ?? "").toLowerCase()] ?? 1);
    if (match !== null && rate <= rateMax) return rate;
    throw new UserError(
      `${option} ${text}: not a rate; give events per second from 0 to 1000M, for example 20k`,
    );
  };
}
/** The rate of posters, which may also be `max`. @throws {UserError} */
export function parsePostRate(text: string): number {
  if (text === "max") return Number.POSITIVE_INFINITY;
  const rate = parseRate("--rate")(text);
  if (rate > 0) return rate;
  throw new UserError("--rate 0: nobody would ever post; give more, or max");
}

/** A whole number within bounds, also as `10k` or `2M`. @throws {UserError} */
export function parseCount(option: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const match = /^(\d{1,15})([km]?)$/i.exec(text);
    const value = Number(match?.[1]) * (suffixes[(match?.[2] ?? "").toLowerCase()] ?? 1);
    if (match !== null && value >= least && value <= most) return value;
    throw new UserError(`${option} ${text}: give a whole number from ${least} to ${most}`);
  };
}

/** @throws {UserError} */
export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && seconds > 0 && seconds <= 86_400) return seconds;
  throw new UserError(`--duration ${text}: give seconds, more than 0 and at most 86400`);
}

/** @throws {UserError} */
export function parsePart(text: string): number {
  const part = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && part <= 1) return part;
  throw new UserError(`--urgent ${text}: give the part of device interrupts, from 0 to 1`);
}

/** `all`, or numbers of invariants apart by commas. @returns undefined for all. @throws {UserError} */
export function parseInvariants(text: string): readonly number[] | undefined {
  if (text === "all") return undefined;
  const known = Object.keys(watchedInvariants).map(Number);
  return text.split(",").map((word) => {
    if (/^\d{1,3}$/.test(word) && known.includes(Number(word))) return Number(word);
    throw new UserError(
      `--check ${word}: no invariant that is watched; give all or of ${known.join(",")}`,
    );
  });
}

/** @throws {UserError} */
export function parseBug(text: string): PostingBug {
  if (isPostingBug(text)) return text;
  throw new UserError(`--bug ${text}: unknown; give one of ${Object.keys(postingBugs).join(", ")}`);
}

/** A bug that can do no harm would pass for one that is not seen. @throws {UserError} */
export function checkBug(options: StressOptions): void {
  const { bug } = options;
  if (bug === undefined) return;
  for (const need of bugNeeds[bug] ?? []) {
    if (options[need] === 0) {
      throw new UserError(`--bug ${bug}: does nothing with --${need} 0; give more`);
    }
  }
  if (bug === "two-lps-active" && (options.lps === 1 || options.migrate === 0)) {
    throw new UserError(`--bug ${bug}: no vCPU moves; give --lps 2 or more, and --migrate`);
  }
}

/** @throws {UserError} */
export function parseCpu(text: string): string {
  const names = cpuModels.map(({ name }) => name);
  if (names.includes(text)) return text;
  throw new UserError(`--cpu ${text}: unknown; give one of ${names.join(", ")}`);
}

export { parseDriver, parseSeed };
