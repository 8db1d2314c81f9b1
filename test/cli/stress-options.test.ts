import { describe, expect, it } from "vitest";
import { stressCommand } from "../../src/cli/stress-command.ts";
import type { StressOptions } from "../../src/cli/stress-options.ts";

/** What a command line means, or the message it is refused with. */
async function parse(line: string): Promise<StressOptions | string> {
  let parsed: StressOptions | undefined;
  const command = stressCommand(async (options) => {
    parsed = options;
  });
  for (const each of [command, ...command.commands]) {
    each.exitOverride().configureOutput({ writeErr: () => undefined });
  }
  try {
    await command.parseAsync(line.split(" ").filter(Boolean), { from: "user" });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return parsed ?? "nothing was done";
}

describe("vmxon stress posting", () => {
  it("takes rates and counts with units", async () => {
    const options = await parse(
      "posting --rate 20k --posts 2M --halt 1.5k --migrate 0 --urgent 0.25",
    );
    expect(options).toMatchObject({ rate: 20_000, posts: 2_000_000, halt: 1500, migrate: 0 });
    expect(options).toMatchObject({ urgent: 0.25, driver: "deterministic", seeds: 1 });
  });
  it("takes max, all, and lists of invariants", async () => {
    expect(await parse("posting --rate max --check all")).toMatchObject({
      rate: Number.POSITIVE_INFINITY,
    });
    expect(await parse("posting --check 11,13")).toMatchObject({ check: [11, 13] });
  });
  it.each([
    ["--rate 2G", /--rate/],
    ["--rate 0", /nobody would ever post/],
    ["--rate -1", /--rate/],
    ["--migrate 1e9", /--migrate/],
    ["--lines fast", /--lines fast: not a rate/],
    ["--blocked 1001M", /--blocked 1001M: not a rate/],
    ["--migrate 2000M", /0 to 1000M/],
    ["--lps 0", /--lps 0: give a whole number from 1 to/],
    ["--lps 99", /--lps 99/],
    ["--vcpus 33", /--vcpus 33/],
    ["--devices 9", /--devices 9/],
    ["--vectors 500", /--vectors 500/],
    ["--posts 0", /--posts 0/],
    ["--posts 99999999999", /--posts/],
    ["--duration 0", /--duration 0/],
    ["--duration 1 --posts 1", /cannot be used with/],
    ["--urgent 2", /--urgent 2/],
    ["--seeds 0", /--seeds 0/],
    ["--check 99", /--check 99/],
    ["--bug none", /--bug none: unknown/],
    ["--cpu 8086", /--cpu 8086: unknown/],
    ["--driver fast", /--driver fast/],
  ])("refuses %s with one line", async (line, message) => {
    const refusal = await parse(`posting ${line}`);
    expect(refusal).toMatch(message);
    expect(String(refusal).trim()).not.toContain("\n");
  });
});
