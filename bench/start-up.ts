import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "./engine.ts";
import { cliFile } from "./engines/vmxon.ts";

/**
 * Seconds from the start of the process to the first guest instruction, and from the start of the run alone.
 * @param image any that starts; it is stopped soon after
 */
export async function measureStart(
  image: string,
  lps: number,
): Promise<{ process: number; run: number }> {
  const folder = mkdtempSync(join(tmpdir(), "vmxon-start-"));
  try {
    const json = join(folder, "result.json");
    const args = [cliFile, "run", image, "--lps", String(lps), "--ram", "128M", "--timeout", "3"];
    await runProgram(process.execPath, [...args, "--json", json]);
    const result = JSON.parse(readFileSync(json, "utf8")) as {
      startSeconds: number;
      processSeconds: number;
    };
    return { process: result.processSeconds + result.startSeconds, run: result.startSeconds };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
