import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { ModuleKind, ScriptTarget, transpileModule } from "typescript";

const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Writes modules of this project, with those that they import, as JavaScript to a temporary folder, so that a plain worker thread can
 * load the source under test and not an older build.
 * @param paths source files, relative to the project
 * @returns the folder; the caller removes it
 */
export function compileForWorker(...paths: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), "vmxon-worker-"));
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const found = new Set(paths);
  for (const source of found) {
    const { outputText } = transpileModule(readFileSync(join(root, source), "utf8"), {
      compilerOptions: {
        module: ModuleKind.ESNext,
        target: ScriptTarget.ES2022,
        rewriteRelativeImportExtensions: true,
        verbatimModuleSyntax: true,
      },
    });
    const output = join(folder, source.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
    for (const [, imported = ""] of outputText.matchAll(/ from "(\.[^"]+)\.js"/g)) {
      found.add(`${posix.join(posix.dirname(source), imported)}.ts`);
    }
  }
  return folder;
}
