import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collectLines, type Engine, type EngineRun } from "../engine.ts";
import type { Line } from "../phases.ts";
import { missingPrograms } from "./programs.ts";

const firmware = "/usr/share/bochs/BIOS-bochs-latest";
const videoFirmware = "/usr/share/bochs/VGABIOS-lgpl-latest";
const runMs = 600_000;

/**
 * Bochs, the interpreter that has VMX. It boots no Multiboot image by itself: GRUB does, from a CD image made for the run.
 * Its serial line comes to us by a socket, since only that brings each line when it is printed.
 */
export const bochs: Engine = {
  name: "bochs",
  missing: () =>
    missingPrograms(["bochs", "grub-mkrescue", "xorriso", "mformat"]) ??
    [firmware, videoFirmware]
      .filter((file) => !existsSync(file))
      .map((file) => `missing: ${file}`)[0],
  run: async (run) => {
    const folder = mkdtempSync(join(tmpdir(), "vmxon-bochs-"));
    try {
      makeDisc(folder, run.image);
      return await boot(folder, run);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

function makeDisc(folder: string, image: string): void {
  const grub = join(folder, "disc", "boot", "grub");
  mkdirSync(grub, { recursive: true });
  copyFileSync(image, join(folder, "disc", "image"));
  writeFileSync(join(grub, "grub.cfg"), "set timeout=0\nmultiboot /image\nboot\n");
  const modules = "multiboot normal iso9660 biosdisk part_msdos";
  const { status, stderr } = spawnSync(
    "grub-mkrescue",
    [
      ...["-o", join(folder, "disc.iso"), join(folder, "disc")],
      ...["--locales=", "--fonts=", "--themes=", `--install-modules=${modules}`],
    ],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`grub-mkrescue failed: ${stderr}`);
}

function boot(folder: string, { cpus }: EngineRun): Promise<readonly Line[]> {
  return new Promise((resolve, reject) => {
    const lines: Line[] = [];
    let pid: number | undefined;
    const server = createServer((socket) => {
      socket.setNoDelay();
      collectLines(socket, lines, () => pid);
      // Bochs resets the connection when it ends.
      socket.on("error", () => undefined);
    });
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      writeFileSync(join(folder, "bochsrc"), configuration(folder, cpus, port));
      // Debian's Bochs has its debugger built in, which waits for a command first.
      writeFileSync(join(folder, "commands"), "continue\n");
      const args = ["-q", "-f", join(folder, "bochsrc"), "-rc", join(folder, "commands")];
      const child = spawn("bochs", args, { stdio: "ignore", cwd: folder });
      pid = child.pid;
      const timer = setTimeout(() => child.kill("SIGKILL"), runMs);
      child.on("error", reject);
      child.on("exit", () => {
        clearTimeout(timer);
        server.close(() => resolve(lines));
      });
    });
  });
}

function configuration(folder: string, cpus: number, port: number): string {
  return [
    "config_interface: textconfig",
    'display_library: rfb, options="timeout=0"',
    "megs: 128",
    `cpu: model=corei7_skylake_x, count=${cpus}, ips=100000000, reset_on_triple_fault=0`,
    "clock: sync=none",
    `romimage: file=${firmware}`,
    `vgaromimage: file=${videoFirmware}`,
    `ata0-master: type=cdrom, path=${join(folder, "disc.iso")}, status=inserted`,
    "boot: cdrom",
    `com1: enabled=1, mode=socket-client, dev=localhost:${port}`,
    "speaker: enabled=0, mode=system",
    "sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy",
    `log: ${join(folder, "bochs.log")}`,
    "panic: action=fatal",
    "error: action=ignore",
    "",
  ].join("\n");
}
