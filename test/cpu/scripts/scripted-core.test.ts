import { describe, expect, it } from "vitest";
import {
  bitTestAndSet,
  compareExchange,
  compute,
  cpuid,
  exchangeAdd,
  hlt,
  load,
  type Program,
  pause,
  portOut,
  rdmsr,
  readControl,
  type ScriptEnvironment,
  type ScriptedSoftware,
  type Steps,
  sti,
  store,
  wrmsr,
} from "../../../src/isa/operations.ts";
import { runScripts } from "./run-scripts.ts";

const debugExit = 0xf4;
const msr = { apicBase: 0x1b, spurious: 0x80f, eoi: 0x80b, command: 0x830 } as const;
const flagsAt = 0x20_0000n;

const end = (value = 0n) => portOut(debugExit, 1, value);

function* enableApic(): Steps<void> {
  const base = yield rdmsr(msr.apicBase);
  yield wrmsr(msr.apicBase, base | 0xc00n);
  yield wrmsr(msr.spurious, 0x1ffn);
}

const oneLp = (main: Program, others: Record<string, Program> = {}): ScriptedSoftware => ({
  programs: { main, ...others },
});

describe("a scripted LP", () => {
  it("loads, stores and exchanges through its page tables", async () => {
    const seen: bigint[] = [];
    const { ending } = await runScripts(
      oneLp(function* () {
        yield store(flagsAt, 8, 0x1122_3344_5566_7788n);
        seen.push(yield load(flagsAt, 8), yield load(flagsAt + 1n, 2), yield load(flagsAt, 4));
        seen.push(yield exchangeAdd(flagsAt, 4, 1n), yield load(flagsAt, 4));
        seen.push(yield compareExchange(flagsAt, 8, 5n, 6n));
        seen.push(yield bitTestAndSet(flagsAt + 8n, 70), yield bitTestAndSet(flagsAt + 8n, 70));
        seen.push(yield load(flagsAt + 16n, 8));
        yield end();
      }),
    );
    expect(ending).toEqual({ type: "exit", value: 0 });
    expect(seen).toEqual([
      0x1122_3344_5566_7788n,
      0x6677n,
      0x5566_7788n,
      0x5566_7788n,
      0x5566_7789n,
      0x1122_3344_5566_7789n,
      0n,
      1n,
      64n,
    ]);
  });

  it("is told what the processor is", async () => {
    const into = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    const seen: bigint[] = [];
    await runScripts(
      oneLp(function* () {
        seen.push(yield cpuid(0, 0, into), yield readControl(3), yield rdmsr(0xc000_0080));
        yield end();
      }),
    );
    const vendor = [into.ebx, into.edx, into.ecx].map((word) =>
      String.fromCharCode(word & 0xff, (word >> 8) & 0xff, (word >> 16) & 0xff, word >>> 24),
    );
    expect(vendor.join("")).toBe("GenuineIntel");
    expect(seen[1]).toBe(0x9_0000n);
    expect(seen[2]).toBe(0x500n);
  });

  it("takes interrupts in the middle of work, and ends the work on time", async () => {
    const log: [string, number][] = [];
    const { ending } = await runScripts(
      {
        programs: {
          *main(environment: ScriptEnvironment) {
            yield* enableApic();
            if (environment.lp === 0) {
              yield store(flagsAt, 4, 1n);
              yield sti();
              const before = environment.now();
              yield compute(1_000_000);
              log.push(["work", environment.now() - before]);
              yield end();
            }
            while ((yield load(flagsAt, 4)) === 0n) yield pause();
            yield compute(300_000);
            yield wrmsr(msr.command, 0x41n);
            log.push(["sent", environment.now()]);
            yield hlt();
          },
          *interrupt(environment: ScriptEnvironment, vector: number) {
            log.push([`vector ${vector}`, environment.now()]);
            yield compute(50_000);
            yield wrmsr(msr.eoi, 0n);
          },
        },
      },
      { lpCount: 2 },
    );
    expect(ending).toEqual({ type: "exit", value: 0 });
    const [sent, handled, work] = log;
    expect(sent?.[0]).toBe("sent");
    expect(handled?.[0]).toBe("vector 65");
    expect((handled?.[1] ?? 0) - (sent?.[1] ?? 0)).toBeLessThan(3000);
    expect(work?.[0]).toBe("work");
    expect(work?.[1]).toBeGreaterThanOrEqual(1_050_000);
    expect(work?.[1]).toBeLessThan(1_053_000);
  });

  it("goes on after HLT when an interrupt has come, with the result of the operation interrupted", async () => {
    const log: string[] = [];
    const { ending } = await runScripts(
      {
        programs: {
          *main(environment: ScriptEnvironment) {
            yield* enableApic();
            if (environment.lp === 1) {
              yield compute(10_000);
              yield wrmsr(msr.command, 0x50n);
              yield hlt();
            }
            yield sti();
            yield hlt();
            log.push("awake");
            yield end(3n);
          },
          *interrupt(_: ScriptEnvironment, vector: number) {
            yield store(flagsAt, 8, 9n);
            log.push(`vector ${vector}`);
            yield wrmsr(msr.eoi, 0n);
          },
        },
      },
      { lpCount: 2 },
    );
    expect(ending).toEqual({ type: "exit", value: 3 });
    expect(log).toEqual(["vector 80", "awake"]);
  });

  it("delivers its faults through its IDT, with an error code where there is one", async () => {
    const seen: bigint[] = [];
    let faults = 0;
    const { ending } = await runScripts({
      programs: {
        *main() {
          yield store(0x1_0000_0000n, 8, 1n);
          yield end();
        },
        *interrupt(environment: ScriptEnvironment, vector: number) {
          faults += 1;
          seen.push(BigInt(vector), yield load(environment.frame, 8), yield readControl(2));
          // Behind the operation: RIP is above the error code.
          const rip = yield load(environment.frame + 8n, 8);
          yield store(environment.frame + 8n, 8, rip + 4n);
        },
      },
    });
    expect(ending).toEqual({ type: "exit", value: 0 });
    expect(faults).toBe(1);
    expect(seen).toEqual([14n, 2n, 0x1_0000_0000n]);
  });

  it("goes round its addresses, also when a hypervisor or a handler moves RIP", async () => {
    const operationsToTheEnd = 0x8_0000 / 4;
    const around = 20;
    let faults = 0;
    const { ending } = await runScripts({
      programs: {
        *main() {
          for (let n = around; n < operationsToTheEnd; n++) yield store(flagsAt, 8, 1n);
          for (let n = 0; n < 2 * around; n++) yield store(0x1_0000_0000n, 8, 1n);
          yield end();
        },
        *interrupt({ frame }: ScriptEnvironment) {
          faults += 1;
          yield store(frame + 8n, 8, (yield load(frame + 8n)) + 4n);
        },
      },
    });
    expect(ending).toEqual({ type: "exit", value: 0 });
    expect(faults).toBe(2 * around);
  });

  it("gives the same run for the same seed", async () => {
    const software = (): ScriptedSoftware => ({
      programs: {
        *main(environment: ScriptEnvironment) {
          for (let n = 0; n < 200; n++) {
            yield compute(environment.random.below(5000));
            yield exchangeAdd(flagsAt, 8, 1n);
          }
          if ((yield exchangeAdd(flagsAt + 64n, 8, 1n)) === 2n) yield end();
          yield hlt();
        },
      },
    });
    const run = async (seed: number) => (await runScripts(software(), { lpCount: 3, seed })).cycles;
    expect(await run(7)).toBe(await run(7));
    expect(await run(7)).not.toBe(await run(8));
  });
});
