import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { UserError } from "../user-error.ts";

type Exports = Readonly<Record<string, unknown>>;

/**
 * Imports a module of a user's, JavaScript or TypeScript. Where Node does not take types out itself, the typescript package does; such a
 * module imports nothing by a relative path but types.
 * @throws {UserError} there is no such package; else what importing throws
 */
export async function importUserModule(path: string): Promise<Exports> {
  try {
    return (await import(pathToFileURL(path).href)) as Exports;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ERR_UNKNOWN_FILE_EXTENSION" || !/\.[cm]?ts$/.test(path)) throw error;
    return importWithoutTypes(path);
  }
}

/** The same for TypeScript, by way of the typescript package. */
export async function importWithoutTypes(path: string): Promise<Exports> {
  const { default: typescript } = await import("typescript").catch(() => {
    throw new UserError(
      "Node takes types out of TypeScript from version 22.18 on, and the typescript package is not installed; give JavaScript",
    );
  });
  const { outputText } = typescript.transpileModule(readFileSync(path, "utf8"), {
    fileName: path,
    compilerOptions: {
      module: typescript.ModuleKind.ESNext,
      target: typescript.ScriptTarget.ES2022,
    },
  });
  return (await import(`data:text/javascript,${encodeURIComponent(outputText)}`)) as Exports;
}
