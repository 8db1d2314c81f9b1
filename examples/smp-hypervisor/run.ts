import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { Assembly } from "../../src/isa/assembler-layout.ts";
import { assembleImage } from "./image.ts";
import { pageSize } from "./memory.ts";

/**
 * Boots the image as a user would: `vmxon run` on a file, with 4 processors, statistics and a trace. What follows on
 * the command line is handed on and wins: `npm start -- --driver deterministic --seed 7`.
 */

const processors = 4;
/** The image ends with a debug exit of 0, and that is exit status (0 << 1) | 1 by QEMU's convention. */
const goodStatus = 1;
const badInputStatus = 2;

const folder = dirname(fileURLToPath(import.meta.url));
const commandLine = fileURLToPath(new URL("../../src/cli/main.js", import.meta.url));
const fromHere = (path: string): string => relative(process.cwd(), path) || path;

/** The exit tables name a vCPU by the address of its VMCS. */
function vmcsPlaces({ symbols }: Assembly): string {
  const first = symbols.get("vmcs_regions") ?? 0n;
  return `vCPU n has its VMCS at 0x${first.toString(16)} + n * 0x${pageSize.toString(16)}`;
}

function main(handedOn: readonly string[]): void {
  const image = join(folder, "smp-hypervisor.mb");
  const trace = join(folder, "trace.jsonl");
  const assembly = assembleImage();
  try {
    writeFileSync(image, assembly.bytes);
  } catch (error) {
    process.stderr.write(`vmxon: ${image}: cannot be written: ${String(error)}\n`);
    process.exitCode = badInputStatus;
    return;
  }
  const options = ["--lps", String(processors), "--ram", "64M", "--stats", "--trace", trace];
  const parameters = ["run", image, ...options, ...handedOn];
  process.stderr.write(`vmxon ${parameters.map(fromHereIfPath).join(" ")}\n\n`);
  const child = spawn(process.execPath, [commandLine, ...parameters], { stdio: "inherit" });
  // Ctrl-C reaches the child too; it says where the processors are, and this process waits for it.
  process.on("SIGINT", () => {});
  child.on("exit", (status) => {
    if (status === goodStatus) {
      process.stderr.write(`\n${vmcsPlaces(assembly)}\n`);
      if (!handedOn.includes("--trace")) {
        process.stderr.write(`The trace, one event per line, is in ${fromHere(trace)}\n`);
      }
    }
    process.exitCode = status === goodStatus ? 0 : (status ?? badInputStatus);
  });
}

function fromHereIfPath(parameter: string): string {
  return parameter.startsWith(folder) ? fromHere(parameter) : parameter;
}

main(process.argv.slice(2));
