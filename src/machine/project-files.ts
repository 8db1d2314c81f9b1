import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = findRoot(dirname(fileURLToPath(import.meta.url)));
/** This module is itself a source and not its compiled form: what runs is a test. */
const fromSource = import.meta.url.endsWith(".ts");

/** The folder of package.json: the same for a source and for its compiled form. */
function findRoot(folder: string): string {
  const parent = dirname(folder);
  return existsSync(join(folder, "package.json")) || parent === folder ? folder : findRoot(parent);
}

/** A file of the project that is not compiled. */
export function projectFile(...path: readonly string[]): string {
  return join(root, ...path);
}

/** The compiled entry point of a worker. A worker cannot run TypeScript, so tests need a build too. */
export function workerFile(name: string): string {
  const file = join(root, "dist", "workers", `${name}.js`);
  if (fromSource && !existsSync(file)) {
    throw new Error(`${file} is missing: run "npm run build" first`);
  }
  return file;
}
