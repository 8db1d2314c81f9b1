import { readFileSync } from "node:fs";
import { lpWindowBytes } from "../src/execution/lp-window.ts";
import { layOutMemory } from "../src/memory/physical-memory.ts";
import { runProgram } from "./engine.ts";
import { cliFile } from "./engines/vmxon.ts";

const mebibyte = 2 ** 20;
const ramMebibytes = 128;
/** When the guest has been at work for long enough to have grown. */
const lookAfterMs = 6000;

/**
 * Memory of the process above guest RAM, in MiB per LP: what is resident outside the mapping that holds RAM, and the LPs'
 * windows, which lie in that mapping, at their full size. Linux only: undefined elsewhere.
 */
export async function memoryPerLp(image: string, lps: number): Promise<number | undefined> {
  if (process.platform !== "linux") return undefined;
  const { totalBytes } = layOutMemory(ramMebibytes * mebibyte, lps, lpWindowBytes);
  const args = [cliFile, "run", image, "--lps", String(lps), "--ram", `${ramMebibytes}M`];
  let outside: number | undefined;
  await runProgram(process.execPath, [...args, "--timeout", "8"], (pid) => {
    setTimeout(() => {
      outside = residentOutside(pid, totalBytes);
    }, lookAfterMs);
  });
  if (outside === undefined) return undefined;
  return outside / mebibyte / lps + lpWindowBytes / mebibyte;
}

/** Resident bytes of a process without its largest mapping of at least `bytes` bytes; undefined when there is none. */
function residentOutside(pid: number, bytes: number): number | undefined {
  const mappings = readMappings(readFileSync(`/proc/${pid}/smaps`, "utf8"));
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
