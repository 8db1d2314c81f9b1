import { Worker } from "node:worker_threads";
import { describe, expect, test } from "vitest";
import { lpOffset } from "../../src/execution/lp-window.ts";
import { CoreHarness, compileInterpreter, RecordedFault } from "./core-harness.ts";
import { load } from "./program.ts";

const module = compileInterpreter();
const rcx = 1;
const rsi = 6;

/** lock add qword [rsi], 1; sub rcx, 1; jnz back */
const countingLoop = "f0 48 83 06 01  48 83 e9 01  75 f5";

/** Runs generated code on another thread, which may not call its host. */
const runnerCode = `
const { workerData, parentPort } = require("node:worker_threads");
const { module, memory, window, busLock, budget } = workerData;
const refuse = (name) => () => { throw new Error("unexpected call of " + name); };
const names = ["system", "fetch", "miss", "access", "commit", "store", "raise"];
const host = { memory, window, busLock, ...Object.fromEntries(names.map((name) => [name, refuse(name)])) };
const { run } = new WebAssembly.Instance(module, { host }).exports;
parentPort.once("message", () => process.exit(run(budget)));
parentPort.postMessage("ready");
`;

async function runTogether(harnesses: readonly CoreHarness[], budget: number): Promise<void> {
  const workers = harnesses.map(({ memory, window, layout }) => {
    const workerData = { module, memory, window, busLock: layout.busLock, budget };
    return new Worker(runnerCode, { eval: true, workerData });
  });
  const event = (worker: Worker, name: string): Promise<unknown> =>
    new Promise((resolve, reject) => worker.once(name, resolve).once("error", reject));
  await Promise.all(workers.map((worker) => event(worker, "message")));
  const ended = workers.map((worker) => event(worker, "exit"));
  for (const worker of workers) {
    worker.postMessage("go");
  }
  await Promise.all(ended);
}

describe("locked operations of two logical processors", () => {
  test.each([
    ["an aligned operand", 0x2000],
    ["a misaligned operand", 0x2003],
    ["an operand across two cache lines", 0x203d],
  ])("on %s lose no update", async (_, address) => {
    const iterations = 300_000;
    const first = new CoreHarness({ module });
    const harnesses = [first, new CoreHarness({ module, beside: first })];
    const warmUp = 10;
    for (const harness of harnesses) {
      load(harness, countingLoop);
      harness.setGpr(rsi, BigInt(address));
      harness.setGpr(rcx, BigInt(iterations));
      expect(harness.run(warmUp * 3)).toBeUndefined();
    }
    // The last turn falls through into code that is yet to be decoded, which takes the host.
    await runTogether(harnesses, (iterations - warmUp - 1) * 3);
    for (const harness of harnesses) {
      expect(harness.run(3)).toBeUndefined();
    }
    const value = new DataView(first.memory.buffer).getBigUint64(address, true);
    expect(harnesses.map((harness) => harness.gpr(rcx))).toEqual([0n, 0n]);
    expect(value).toBe(BigInt(harnesses.length * iterations));
  });
});

describe("a locked operation across two pages", () => {
  class Watched extends CoreHarness {
    readonly owners: number[] = [];
    failing = false;

    get owner(): number {
      return this.u32[this.layout.busLock >>> 2] ?? 0;
    }
    override access(size: number, kind: number): number {
      this.owners.push(this.owner);
      return super.access(size, kind);
    }
    override commit(): void {
      this.owners.push(this.owner);
      if (this.failing) {
        throw new RecordedFault(1);
      }
      super.commit();
    }
  }
  function watched(): Watched {
    const harness = new Watched({ module });
    load(harness, countingLoop);
    harness.setGpr(rsi, 0x2ffcn);
    return harness;
  }

  test("holds the bus while it reads, changes and writes", () => {
    const harness = watched();
    expect(harness.run(1)).toBeUndefined();
    expect(harness.read(0x2ffcn, 8)).toEqual(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(harness.owners).toEqual([0, harness.window, harness.window]);
    expect(harness.owner).toBe(0);
  });

  test("gives the bus back when a device refuses the write", () => {
    const harness = watched();
    harness.failing = true;
    expect(harness.run(1)).toBeInstanceOf(RecordedFault);
    expect(harness.owner).toBe(0);
    expect(harness.get64(lpOffset.rip)).toBe(0x10_0000n);
  });
});
