import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { VectorHeader } from "../../test/vectors/vector-format.ts";
import { formsByFile } from "./forms.ts";
import { makeCase, type RecordableCase } from "./make-case.ts";
import { runCases } from "./run-cases.ts";
import { checkOutcome, vectorFile } from "./write-vectors.ts";

/** Which processor this is, from the kernel's description of the first one. */
function processor(): VectorHeader["recordedOn"] {
  const text = readFileSync("/proc/cpuinfo", "utf8");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "";
  return {
    vendor: field("vendor_id"),
    brand: field("model name"),
    family: Number(field("cpu family")),
    model: Number(field("model")),
    stepping: Number(field("stepping")),
  };
}

function record(fileName: keyof typeof formsByFile, program: string, directory: string): void {
  const cases: RecordableCase[] = [];
  const forms = formsByFile[fileName]();
  for (const form of forms) {
    for (let i = 0; i < form.recipe.cases; i++) cases.push(makeCase(form, cases.length));
  }
  const outcomes = runCases(program, cases);
  const recorded = outcomes.map((outcome, i) => {
    const item = cases[i];
    if (item === undefined) throw new Error("more outcomes than cases");
    const one = { item, outcome };
    checkOutcome(one);
    return one;
  });
  const bytes = vectorFile(processor(), recorded);
  writeFileSync(join(directory, `${fileName}.bin`), bytes);
  console.log(`${fileName}: ${forms.length} forms, ${cases.length} cases, ${bytes.length} bytes`);
}

const [program, directory, only] = process.argv.slice(2);
if (program === undefined || directory === undefined) {
  throw new Error("usage: main <native runner> <directory for the vector files> [<file name>]");
}
for (const fileName of Object.keys(formsByFile) as (keyof typeof formsByFile)[]) {
  if (only === undefined || only === fileName) record(fileName, program, directory);
}
