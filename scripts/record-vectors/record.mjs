// Records the instruction vectors in test/vectors on the processor of this machine (x86-64 Linux, gcc):
//
//   node scripts/record-vectors/record.mjs [integer-64 | integer-32 | sse-64 | float-64]
//
// The same processor and the same sources give the same files, byte for byte.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "../..");
const work = join(root, "node_modules/.cache/record-vectors");
const runner = join(work, "run-cases");
const run = (program, parameters) =>
  execFileSync(program, parameters, { cwd: root, stdio: "inherit" });

if (process.platform !== "linux" || process.arch !== "x64") {
  console.error("record-vectors: vectors can only be recorded on x86-64 Linux");
  process.exit(1);
}
mkdirSync(work, { recursive: true });
run("gcc", [
  "-std=c11",
  "-O1",
  "-Wall",
  "-Wextra",
  "-fno-stack-protector",
  "-o",
  runner,
  join(here, "run-cases.c"),
]);
run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", here]);
run(process.execPath, [
  join(work, "js/scripts/record-vectors/main.js"),
  runner,
  join(root, "test/vectors"),
  ...process.argv.slice(2),
]);
