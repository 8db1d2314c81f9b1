import { describe, expect, it } from "vitest";
import { driverNames } from "../../src/machine/configuration.ts";
import { statusOf } from "../../src/machine/run-result.ts";
import { hello } from "./guests.ts";
import { runGuest } from "./run-guest.ts";
import { migratesLaunched } from "./vmcs-guests.ts";

describe.each(driverNames)("the checker under the %s driver", (driver) => {
  const options = { driver, lpCount: 2 };

  it("finds nothing when a VMCS migrates by VMCLEAR", async () => {
    const { result } = await runGuest(migratesLaunched(true), { ...options, check: "report" });
    expect(result.ending).toEqual({ type: "exit", value: 1 });
    expect(result.lps.flatMap(({ violations }) => violations)).toEqual([]);
    expect(result.lps.map(({ statistics }) => statistics.entries)).toEqual([1, 1]);
  });

  it("reports a launched VMCS that is loaded and launched elsewhere without VMCLEAR, and goes on", async () => {
    const { result } = await runGuest(migratesLaunched(false), { ...options, check: "report" });
    expect(result.ending).toEqual({ type: "exit", value: 1 });
    const [first, other] = result.lps.map(({ violations }) => violations);
    expect(first).toEqual([]);
    const found = other?.map(({ invariant, instruction, lp }) => [invariant, instruction, lp]);
    expect(found).toEqual([
      [1, "VMPTRLD", 1],
      [3, "VMLAUNCH", 1],
      [7, "VMCLEAR", 1],
    ]);
    expect(other?.every(({ vmcs, rip }) => vmcs === 0x42_0000 && rip > 0x10_0000n)).toBe(true);
  });

  it("stops the machine at the first violation when asked to", async () => {
    const { result } = await runGuest(migratesLaunched(false), { ...options, check: "stop" });
    expect(result.ending).toMatchObject({ type: "violation", lp: 1 });
    expect(statusOf(result.ending)).toBe(72);
    expect(result.ending).toMatchObject({
      message: expect.stringMatching(/^invariant 1 .*LP 1, VMCS 0x420000, VMPTRLD at rip 0x/),
    });
  });

  it("is not there when it is not asked for", async () => {
    const { result } = await runGuest(migratesLaunched(false), options);
    expect(result.check).toBe("off");
    expect(result.lps.flatMap(({ violations }) => violations)).toEqual([]);
  });
});

describe("violations in the event log", () => {
  it("are events of their own, behind the event that shows them", async () => {
    const kinds: string[] = [];
    await runGuest(
      migratesLaunched(false),
      { driver: "deterministic", lpCount: 2, check: "report" },
      {
        trace: {
          sink: (source) => (kind) => kinds.push(`${source} ${kind}`),
          partFile: () => "",
        },
      },
    );
    const at = kinds.indexOf("1 violation");
    expect(kinds[at - 1]).toBe("1 vmptrld");
  });

  it("are none in a guest without VMX", async () => {
    const { result } = await runGuest(hello(1), { check: "report" });
    expect(result.lps[0]?.violations).toEqual([]);
  });
});
