import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { printedWords } from "./peer-guest.ts";

const qemu = "qemu-system-x86_64";
export const hasQemu = spawnSync(qemu, ["--version"]).status === 0;
/** No run takes longer. */
export const minute = 60_000;

/** What a guest of steps prints on QEMU. @param machine its options: the machine, its memory, its devices */
export async function runOnQemu(image: Uint8Array, machine: readonly string[]): Promise<number[]> {
  const folder = mkdtempSync(join(tmpdir(), "vmxon-peer-"));
  try {
    const file = join(folder, "guest.mb");
    writeFileSync(file, image);
    return printedWords(
      await output(qemu, [
        ...["-accel", "tcg", "-nodefaults", "-display", "none", "-vga", "none"],
        ...["-serial", "stdio", "-no-reboot", ...machine],
        ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", file],
      ]),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function output(command: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"], timeout: minute });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    child.on("error", reject).on("close", () => resolve(text));
  });
}
