import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { projectFile } from "../../src/machine/project-files.ts";
import {
  capitals,
  floodsSerial,
  hello,
  sleepsForEver,
  spins,
  tripleFault,
  writesNowhere,
} from "../machine/guests.ts";
import { multibootImage } from "../machine/images.ts";

const cli = projectFile("dist", "src", "cli", "main.js");

let folder: string;
const file = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-cli-"));
  const files = {
    capitals,
    hello: hello(1),
    floodsSerial,
    sleepsForEver,
    spins,
    tripleFault,
    writesNowhere,
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(file(name), bytes);
  writeFileSync(file("high"), multibootImage([0xf4], 0x1000_0000));
  writeFileSync(file("text"), "not an image");
  writeFileSync(file("empty"), "");
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

function vmxon(
  args: readonly string[],
  onOutput: (kill: () => void) => void = () => undefined,
  input = "",
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args], { cwd: folder });
    // Not at once: whoever reads it has to wait.
    setTimeout(() => child.stdin.end(input), input === "" ? 0 : 300);
    let out = "";
    let err = "";
    child.stdout.once("data", () => onOutput(() => child.kill("SIGINT")));
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    child.stderr.on("data", (chunk) => {
      err += chunk;
    });
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, out, err }));
  });
}

describe("vmxon", () => {
  it("says what it is", async () => {
    const { version } = JSON.parse(readFileSync(projectFile("package.json"), "utf8"));
    expect(await vmxon(["--version"])).toMatchObject({ status: 0, out: `${version}\n`, err: "" });
    const help = await vmxon(["run", "--help"]);
    expect(help).toMatchObject({ status: 0, err: "" });
    expect(help.out).toMatch(/--lps <n>[\s\S]*Examples:[\s\S]*Exit status:[\s\S]*124 +--timeout/);
  });

  it("passes the guest's output and exit status through", async () => {
    expect(await vmxon(["run", "hello"])).toMatchObject({ status: 3, out: "hello\n", err: "" });
  });

  it.each(["threads", "deterministic"])(
    "hands standard input to the guest under the %s driver",
    async (driver) => {
      const args = ["run", "capitals", "--driver", driver, "--input", "-"];
      const ended = await vmxon(args, undefined, "some words. More");
      expect(ended).toMatchObject({ status: 1, out: "SOME\0WORDS", err: "" });
    },
  );

  it("hands a file to the guest", async () => {
    writeFileSync(file("words"), "abc.");
    const ended = await vmxon(["run", "capitals", "--input", "words"]);
    expect(ended).toMatchObject({ status: 1, out: "ABC", err: "" });
  });
});

describe("bad input is one line and status 2:", () => {
  it.each([
    ["no such input", ["run", "hello", "--input", "nothing"], /^vmxon: nothing: no such file\n$/],
    ["no such image", ["run", "nothing"], /^vmxon: nothing: no such file\n$/],
    ["a folder", ["run", "."], /^vmxon: \.: is a folder, not a file\n$/],
    [
      "an empty image",
      ["run", "empty"],
      /^vmxon: empty: neither a Multiboot header .* --flat ADDRESS/,
    ],
    ["no image format", ["run", "text"], /^vmxon: text: neither a Multiboot header/],
    [
      "a segment outside RAM",
      ["run", "high", "--ram", "64M"],
      /^vmxon: high: the image: .* lies outside RAM \(64 MiB\)/,
    ],
    [
      "RAM out of range",
      ["run", "hello", "--ram", "5G"],
      /^vmxon: --ram: 5 GiB is out of range; give 1 MiB to 3 GiB\n$/,
    ],
    [
      "LPs out of range",
      ["run", "hello", "--lps", "65"],
      /^vmxon: --lps: 65 is out of range; give 1 to 64\n$/,
    ],
    ["an unknown option", ["run", "hello", "--lsp", "4"], /^vmxon: unknown option '--lsp'/],
    ["an unknown command", ["boot"], /^vmxon: unknown command 'boot'/],
    ["no command", [], /^vmxon: no command; see vmxon --help/],
    [
      "an unknown model",
      ["run", "hello", "--cpu", "z80"],
      /^vmxon: .*'z80' is invalid. the models are /,
    ],
    [
      "an unknown driver",
      ["run", "hello", "--driver", "x"],
      /^vmxon: --driver x: unknown; give one of threads, deterministic\n$/,
    ],
    ["an unknown log level", ["run", "hello", "--log-level", "x"], /^vmxon: .*Allowed choices are/],
    ["no module", ["run", "hello", "--module", "nothing a b"], /^vmxon: nothing: no such file\n$/],
    [
      "overlapping modules",
      ["run", "hello", "--module", "text@0x200000", "--module", "hello@0x200000"],
      /^vmxon: hello: module: .* overlaps text: module/,
    ],
    [
      "an unwritable trace",
      ["run", "hello", "--trace", "no/where"],
      /^vmxon: no\/where: cannot write the trace: no such file\n$/,
    ],
    [
      "an unwritable result",
      ["run", "hello", "--json", "."],
      /^vmxon: \.: cannot write the result: is a folder/,
    ],
  ])("%s", async (_, args, message) => {
    const { status, out, err } = await vmxon(args);
    expect(err).toMatch(message);
    expect(err.trimEnd().split("\n")).toHaveLength(1);
    expect({ status, out }).toEqual({ status: 2, out: "" });
  });
});

describe("a guest that goes wrong is reported:", () => {
  it("a triple fault, with the state", async () => {
    const { status, err } = await vmxon(["run", "tripleFault"]);
    expect(status).toBe(126);
    expect(err).toMatch(
      /^vmxon: LP 0 is in shutdown \(triple fault\)\n.*CS:RIP 0008:[\s\S]*RBX 0000000012345678/,
    );
  });

  it("spinning with interrupts off, by the timeout and the place", async () => {
    const { status, err } = await vmxon(["run", "spins", "--timeout", "1", "--lps", "2"]);
    expect(status).toBe(124);
    expect(err).toMatch(
      /LP 0: active, 32-bit code, CPL 0, CS:RIP 0008:0000000000100021\n.*LP 1: waitforsipi/,
    );
  });

  it("sleeping with interrupts off", async () => {
    const { status, err } = await vmxon(["run", "sleepsForEver", "--driver", "deterministic"]);
    expect(status).toBe(122);
    expect(err).toMatch(/^vmxon: every LP is halted and nothing can wake one\n/);
  });

  it("accesses that nobody answers", async () => {
    const { status, err } = await vmxon(["run", "writesNowhere"]);
    expect(status).toBe(127);
    expect(err).toBe("vmxon: no device answered 3 accesses: page D0000000H ×2, port 9999H ×1\n");
  });

  it("flooding a serial line whose reader has gone", async () => {
    const { status } = await new Promise<{ status: number | null }>((resolve) => {
      const child = spawn(process.execPath, [cli, "run", "floodsSerial", "--timeout", "60"], {
        cwd: folder,
      });
      child.stdout.once("data", () => child.stdout.destroy());
      child.on("close", (code) => resolve({ status: code }));
    });
    expect(status).toBe(74);
  });

  it("flooding a serial line that nobody reads from, by the timeout", async () => {
    const { status } = await new Promise<{ status: number | null }>((resolve) => {
      const child = spawn(process.execPath, [cli, "run", "floodsSerial", "--timeout", "2"], {
        cwd: folder,
      });
      child.stdout.pause();
      child.on("exit", (code) => {
        resolve({ status: code });
        child.stdout.destroy();
      });
    });
    expect(status).toBe(124);
  });

  it("Ctrl-C, with where each LP is", async () => {
    const ended = await vmxon(["run", "floodsSerial", "--lps", "2"], (interrupt) => interrupt());
    expect(ended.status).toBe(130);
    expect(ended.err).toMatch(
      /^vmxon: interrupted; the LPs are at\n {2}LP 0: active.*\n {2}LP 1: waitforsipi/,
    );
  });
});

describe("reports", () => {
  it("statistics as a table, and everything as JSON", async () => {
    const { err, status } = await vmxon([
      "run",
      "hello",
      "--stats",
      "--json",
      "result.json",
      "--lps",
      "2",
    ]);
    expect(status).toBe(3);
    expect(err).toMatch(/^LP +instructions +MIPS/);
    const result = JSON.parse(readFileSync(file("result.json"), "utf8"));
    expect(result).toMatchObject({
      status: 3,
      ending: { type: "exit", value: 1 },
      driver: "threads",
    });
    expect(result.lps).toHaveLength(2);
    expect(result.lps[0].state.control.cr0).toBe("0x11");
    expect(result.lps[0].statistics.instructions).toBeGreaterThan(10);
  });

  it("an event log, the same bytes for the same seed, and no part files left", async () => {
    const trace = async (name: string, seed: string): Promise<string> => {
      await vmxon([
        "run",
        "tripleFault",
        "--driver",
        "deterministic",
        "--seed",
        seed,
        "--trace",
        name,
      ]);
      return readFileSync(file(name), "utf8");
    };
    const first = await trace("one.jsonl", "5");
    expect(first.split("\n").map((line) => line && JSON.parse(line).event)).toContain("shutdown");
    expect(await trace("two.jsonl", "5")).toBe(first);
    await vmxon(["run", "tripleFault", "--trace", "three.jsonl"]);
    expect(readFileSync(file("three.jsonl"), "utf8")).toContain('"event":"shutdown"');
    expect(readdirSync(folder).filter((name) => name.startsWith("three"))).toEqual(["three.jsonl"]);
  });
});
