import { describe, expect, it } from "vitest";
import { formatEnding, formatUnowned } from "../../src/cli/ending-report.ts";
import { resultJson } from "../../src/cli/result-json.ts";
import { formatExits, formatStatistics } from "../../src/cli/statistics-report.ts";
import { takeSnapshot } from "../../src/machine/lp-snapshot.ts";
import {
  type Ending,
  exitStatus,
  type LpStatistics,
  noStatistics,
  type RunResult,
  statusOf,
} from "../../src/machine/run-result.ts";

const memory = new WebAssembly.Memory({ initial: 128, maximum: 128, shared: true });

function result(ending: Ending, statistics: readonly Partial<LpStatistics>[] = [{}]): RunResult {
  return {
    ending,
    driver: "threads",
    seed: 1,
    check: "off",
    lps: statistics.map((some, index) => ({
      state: takeSnapshot(memory, 0, index),
      statistics: { ...noStatistics, ...some },
      violations: [],
    })),
    startSeconds: 0.25,
    runSeconds: 2,
    cycles: 2_000_000_000,
    unowned: {},
  };
}

describe("how a run has ended", () => {
  it("is said in one line and places, or not at all", () => {
    expect(formatEnding(result({ type: "exit", value: 0 }))).toBe("");
    expect(formatEnding(result({ type: "power-off" }))).toBe("");
    expect(formatEnding(result({ type: "timeout" }, [{}, {}]))).toBe(
      "vmxon: --timeout has run out; the LPs are at\n" +
        "  LP 0: active, 16-bit code, CPL 0, CS:RIP 0000:0000000000000000\n" +
        "  LP 1: active, 16-bit code, CPL 0, CS:RIP 0000:0000000000000000\n",
    );
    const bug = formatEnding(result({ type: "bug", message: "Error: x", source: 0 }));
    expect(bug).toMatch(
      /^vmxon: LP 0: Error: x\n {2}LP 0: active[\s\S]*RFLAGS[\s\S]*please report it/,
    );
    expect(formatEnding(result({ type: "bug", message: "x", source: -1 }))).toMatch(
      /^vmxon: platform: x\n/,
    );
  });

  it("is a status: odd for the guest's own, even and different for every other", () => {
    expect([0, 1, 21, 127, 128].map((value) => statusOf({ type: "exit", value }))).toEqual([
      1, 3, 43, 255, 1,
    ]);
    const statuses = Object.values(exitStatus);
    expect(statuses.filter((status) => status % 2 !== 0)).toEqual([]);
    expect(new Set(statuses).size).toBe(statuses.length);
  });

  it("includes accesses that nobody answered, the first places by name", () => {
    const unowned = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [`port ${n}H`, n + 1]));
    expect(formatUnowned({ ...result({ type: "reset" }), unowned })).toBe(
      "vmxon: no device answered 55 accesses: port 0H ×1, port 1H ×2, port 2H ×3, port 3H ×4, port 4H ×5, port 5H ×6, port 6H ×7, port 7H ×8, …\n",
    );
    expect(formatUnowned(result({ type: "reset" }))).toBe("");
  });
});

describe("statistics", () => {
  const run = result({ type: "exit", value: 0 }, [
    {
      instructions: 3_000_000,
      secondsRoot: 0.5,
      secondsNonRoot: 0.5,
      exits: { CPUID: 1, VMCALL: 5 },
      exitsByVmcs: { "0x2000": { VMCALL: 5 }, "0x1000": { CPUID: 1 } },
      unsupported: { Aesenc: 2 },
    },
    { exits: { VMCALL: 2 }, exitsByVmcs: { "0x1000": { VMCALL: 2 } } },
  ]);

  it("list exits by reason, most frequent first, per LP and per VMCS", () => {
    expect(formatExits(run.lps)).toBe(
      "VM exits by reason  LP 0  LP 1  all\n" +
        "VMCALL                 5     2    7\n" +
        "CPUID                  1     0    1\n" +
        "\n" +
        "VM exits by reason  VMCS 0x1000  VMCS 0x2000  all\n" +
        "VMCALL                        2            5    7\n" +
        "CPUID                         1            0    1\n",
    );
    expect(formatExits([])).toBe("");
  });

  it("rate an LP by the time it was not halted, or by the run when its time is virtual", () => {
    const rate = (driver: RunResult["driver"]): string | undefined =>
      /^0 +3,000,000 +(\S+)/m.exec(formatStatistics({ ...run, driver }))?.[1];
    expect(rate("threads")).toBe("3.0");
    expect(rate("deterministic")).toBe("1.5");
  });

  it("name what was tried and is not simulated", () => {
    expect(formatStatistics(run)).toContain("LP 0: Aesenc is not simulated, 2 × #UD\n");
  });

  it("are all in the JSON, registers as hexadecimal strings", () => {
    const json = JSON.parse(resultJson(run, 0.125));
    expect(json).toMatchObject({ status: 1, processSeconds: 0.125, startSeconds: 0.25 });
    expect(json.lps[0].statistics.exitsByVmcs).toEqual({
      "0x2000": { VMCALL: 5 },
      "0x1000": { CPUID: 1 },
    });
    expect(json.lps[0].state.registers.RAX).toBe("0x0");
  });
});
