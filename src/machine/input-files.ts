import { readFileSync } from "node:fs";
import type { InputFile } from "./configuration.ts";
import { UserError } from "./user-error.ts";

const reasons: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "is a folder, not a file",
  ENOTDIR: "no such file",
  EACCES: "may not be read",
  ERR_FS_FILE_TOO_LARGE: "is too large",
};

/** What went wrong with a file, in words, from the error of a file-system call. */
export function fileTrouble(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return reasons[code] ?? (error instanceof Error ? error.message : String(error));
}

/**
 * Reads an image or a module.
 * @throws {UserError} it cannot be read
 */
export function readInputFile(path: string): InputFile {
  try {
    return { name: path, bytes: readFileSync(path) };
  } catch (error) {
    throw new UserError(`${path}: ${fileTrouble(error)}`);
  }
}
