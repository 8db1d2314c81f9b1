import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stressCommand } from "../../src/cli/stress-command.ts";
import { stressPosting } from "../../src/cli/stress-posting.ts";
import { projectFile } from "../../src/machine/project-files.ts";

let folder: string;
const file = (name: string): string => join(folder, name);
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "vmxon-stress-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly status: number | undefined;
  readonly out: string;
  /** What was drawn on the terminal, by line. */
  readonly drawn: readonly string[];
}

/** Runs `vmxon stress posting`. @param interruptAt Ctrl-C when this is drawn, given the number of drawings so far */
async function stress(
  line: string,
  options: { isTTY?: boolean; interruptAt?: (drawn: string, count: number) => boolean } = {},
): Promise<Ended> {
  let out = "";
  let status: number | undefined;
  const drawn: string[] = [];
  let interrupt = (): void => undefined;
  const command = stressCommand((given) =>
    stressPosting(given, {
      print: async (text) => {
        out += text;
      },
      terminal: {
        isTTY: options.isTTY ?? false,
        columns: 80,
        write: (text) => {
          drawn.push(text);
          if (options.interruptAt?.(text, drawn.length)) interrupt();
        },
      },
      now: () => 0,
      onInterrupt: (stop) => {
        interrupt = stop;
        return () => undefined;
      },
      setStatus: (value) => {
        status = value;
      },
    }),
  );
  for (const each of [command, ...command.commands]) {
    each.exitOverride().configureOutput({ writeErr: () => undefined });
  }
  await command.parseAsync(["posting", ...line.split(" ").filter(Boolean)], { from: "user" });
  return { status, out, drawn };
}

const posts = (out: string): number =>
  Number(/^posts +([\d,]+)/m.exec(out)?.[1]?.replaceAll(",", ""));
const eraseLine = "\r\u001b[2K";
/** Posts that a progress line tells of; undefined: it is none. */
function postsDrawn(text: string): number | undefined {
  const line = text.startsWith(eraseLine) ? text.slice(eraseLine.length) : "";
  const match = /^([\d,]+) posts, [\d,]+ posts\/s, [\d,]+ deliveries\/s, lost = 0$/.exec(line);
  return match === null ? undefined : Number(match[1]?.replaceAll(",", ""));
}

describe("exit status of vmxon stress posting", () => {
  it("0: nothing was found", async () => {
    const { status, out } = await stress("--posts 500");
    expect(status).toBe(0);
    expect(posts(out)).toBeGreaterThanOrEqual(500);
    expect(out).toMatch(/^lost +0$/m);
    expect(out).toMatch(/^findings +0$/m);
  });
  it("3: a finding, told with its steps and how to repeat it", async () => {
    const given = "--posts 2000 --bug two-lps-active --seed 2";
    const { status, out } = await stress(`${given} --json ${file("found.json")}`);
    expect(status).toBe(3);
    expect(out).toMatch(/^finding: invariant 1, a VMCS is active on at most one LP$/m);
    expect(out).toMatch(/repeat it with --replay --seed 2 and the same options/);
    const json = JSON.parse(readFileSync(file("found.json"), "utf8"));
    expect(json.findings).toBeGreaterThan(0);
    expect(json.seeds[0].findings[0]).toMatchObject({ seed: 2, invariant: "1" });
    const again = await stress(`${given} --replay`);
    expect(again.out).toContain(out.split("\n").find((text) => text.startsWith("LP ")) ?? "LP");
  });
  it.each([
    ["--json /nowhere/at/all.json", /^--json .*cannot be written/],
    ["--replay --seeds 2", /^--replay: repeats one seed/],
    ["--driver threads --bug torn-irte", /^--driver threads: .*planted bugs/],
    ["--driver threads --replay", /^--replay/],
    ["--ipi-virt --cpu skylake-server", /^--ipi-virt: .*has no IPI virtualization/],
    ["--bug torn-irte --affinity 0", /^--bug torn-irte: does nothing with --affinity 0/],
    ["--bug two-lps-active --lps 1", /^--bug two-lps-active: no vCPU moves; give --lps 2/],
    ["--seed 4294967295 --seeds 2", /^--seeds 2: seeds end at/],
  ])("refuses %s with one line", async (line, message) => {
    const refused = await stress(line).catch((error: unknown) =>
      error instanceof Error ? error.message : String(error),
    );
    expect(refused).toMatch(message);
    expect(String(refused).trim()).not.toContain("\n");
  });
});

describe("the progress line", () => {
  it.each(["deterministic", "threads"])("is drawn while the %s driver runs", async (driver) => {
    const line = `--driver ${driver} --posts 1000M --rate max --halt 0`;
    const interruptAt = (text: string): boolean => (postsDrawn(text) ?? 0) > 1000;
    const { drawn, status } = await stress(line, { isTTY: true, interruptAt });
    expect(status).toBe(130);
    const shown = drawn.slice(0, -1).map(postsDrawn);
    expect(shown).not.toContain(undefined);
    expect(shown.at(-1)).toBeGreaterThan(1000);
    for (const text of drawn) expect(text.length - eraseLine.length).toBeLessThan(80);
    // In the end it is taken away.
    expect(drawn.at(-1)).toBe(eraseLine);
  });
  it("is not drawn where nobody would see it", async () => {
    const { drawn } = await stress("--posts 20k");
    expect(drawn).toEqual([]);
  });
  it("of several seeds is a bar", async () => {
    const { drawn, status } = await stress("--posts 200 --seeds 3", { isTTY: true });
    expect(status).toBe(0);
    expect(drawn.some((text) => text.includes("3/3"))).toBe(true);
  });
});

describe("Ctrl-C", () => {
  it("ends a run that nobody posts in", async () => {
    const line = "--devices 0 --lines 0 --rate 0.001 --migrate 0 --preempt 0";
    const { status, out } = await stress(line, {
      isTTY: true,
      interruptAt: (_, count) => count === 2,
    });
    expect(status).toBe(130);
    expect(posts(out)).toBeLessThan(100);
  });
  it("ends a sweep; what has ended counts", async () => {
    const interruptAt = (_: string, count: number): boolean => count === 3;
    const line = "--posts 500 --seeds 2000";
    const { status, out } = await stress(line, { isTTY: true, interruptAt });
    expect(status).toBe(130);
    expect(posts(out)).toBeLessThan(1_000_000);
  });
  it("ends the process with status 130 and the sums so far", async () => {
    const output = file("interrupted.json");
    const cli = projectFile("dist", "src", "cli", "main.js");
    const args = ["stress", "posting", "--duration", "3600", "--json", output];
    const child = spawn(process.execPath, [cli, ...args]);
    let out = "";
    child.stdout.on("data", (chunk) => {
      out += chunk;
    });
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    while (!existsSync(output) && child.exitCode === null) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // The file is made right before Ctrl-C is listened to.
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(out).toMatch(/^posts +[\d,]+$/m);
    expect(JSON.parse(readFileSync(output, "utf8")).lost).toBe(0);
  });
});
