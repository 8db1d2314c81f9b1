import { existsSync, readFileSync } from "node:fs";
import { lpWindowBytes } from "../src/execution/lp-window.ts";
import { layOutMemory } from "../src/memory/physical-memory.ts";
import { runProgram } from "./engine.ts";
import { cliFile } from "./engines/vmxon.ts";

const mebibyte = 2 ** 20;
const ramMebibytes = 128;
/** When the guest has been at work for long enough to have grown. */
const lookAfterMs = 6000;

/** In MiB, guest RAM not counted: what each LP costs, and what the process costs that no LP is to blame for. */
export interface Footprint {
  readonly perLp: number;
  readonly fixed: number;
}

const few = 2;
const many = 6;

/**
 * Compares machines of few and of many LPs. Counted is what is resident outside the mapping that holds RAM, and the LPs'
 * windows, which lie in that mapping, at their full size. Linux only: undefined elsewhere.
 */
export async function measureFootprint(image: string): Promise<Footprint | undefined> {
  if (process.platform !== "linux") return undefined;
  const small = await aboveRam(image, few);
  const large = await aboveRam(image, many);
  if (small === undefined || large === undefined) return undefined;
  const perLp = (large - small) / (many - few);
  return { perLp, fixed: small - few * perLp };
}

async function aboveRam(image: string, lps: number): Promise<number | undefined> {
  const { totalBytes } = layOutMemory(ramMebibytes * mebibyte, lps, lpWindowBytes);
  const args = [cliFile, "run", image, "--lps", String(lps), "--ram", `${ramMebibytes}M`];
  let outside: number | undefined;
  await runProgram(process.execPath, [...args, "--timeout", "8"], (pid) => {
    setTimeout(() => {
      outside = residentOutside(pid, totalBytes);
    }, lookAfterMs);
  });
  return outside === undefined ? undefined : (outside + lps * lpWindowBytes) / mebibyte;
}

/** Resident bytes of a process without its largest mapping of at least `bytes` bytes; undefined when there is none. */
function residentOutside(pid: number, bytes: number): number | undefined {
  const file = `/proc/${pid}/smaps`;
  // The run may have ended early.
  if (!existsSync(file)) return undefined;
  const mappings = readMappings(readFileSync(file, "utf8"));
  const shared = mappings
    .filter(({ size }) => size >= bytes)
    .sort((a, b) => b.resident - a.resident)[0];
  if (shared === undefined) return undefined;
  return mappings.reduce((sum, { resident }) => sum + resident, 0) - shared.resident;
}

/** Sizes and resident parts in bytes, from the text of a smaps file. */
export function readMappings(
  text: string,
): readonly { readonly size: number; readonly resident: number }[] {
  const kilobytes = (name: string): readonly number[] =>
    [...text.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB$`, "gm"))].map(
      (match) => Number(match[1]) * 1024,
    );
  const resident = kilobytes("Rss");
  return kilobytes("Size").map((size, index) => ({ size, resident: resident[index] ?? 0 }));
}
