import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, it } from "vitest";
import { Activity, lpOffset, Pending } from "../../../src/execution/lp-window.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { mem64, r8, rax, rbx } from "../../../src/isa/assembler-operands.ts";
import {
  clearOutstanding,
  requestGroups,
  takeRequests,
} from "../../../src/protocol/posted-interrupt-descriptor.ts";
import { compileForWorker } from "../../protocol/worker-modules.ts";
import { ApicMachine, apicPlace, notification, writeMsr } from "./apic-machine.ts";

/** What is enough, and how long to wait for it on a busy computer. */
const enough = { rounds: 20_000, milliseconds: 4000 } as const;

/**
 * Posters on threads of their own against one receiver. Every post of a vector leaves a number behind before it sets the
 * request, so that a lost post shows: the receiver has not seen the last number of that vector.
 */
const folder = compileForWorker(
  "src/protocol/mailbox.ts",
  "src/protocol/posted-interrupt-descriptor.ts",
);
afterAll(() => rmSync(folder, { recursive: true }));

const posterCode = `
const { workerData } = require("node:worker_threads");
Promise.all([import(workerData.descriptor), import(workerData.mailbox)]).then(([pid, { Mailbox }]) => {
  const { words, at, stop, first, step, numbers, fresh, notices, doorbell, seed } = workerData;
  const box = doorbell === undefined ? undefined : new Mailbox({ words, ...doorbell });
  let state = seed;
  while (Atomics.load(words, stop) === 0) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    const vector = first + ((state >>> 16) % step);
    Atomics.add(words, numbers + vector * 2, 1);
    if (pid.postRequest(words, at, vector)) Atomics.add(words, fresh + vector, 1);
    if (pid.claimNotification(words, at)) {
      Atomics.add(words, notices, 1);
      while (box !== undefined && !box.post(workerData.entry)) Atomics.wait(words, at, 0, 1);
    }
  }
});
`;

interface Poster {
  readonly words: Int32Array;
  readonly at: number;
  /** Word that ends the posting. */
  readonly stop: number;
  readonly first: number;
  readonly step: number;
  readonly numbers: number;
  readonly fresh: number;
  readonly notices: number;
  readonly seed: number;
  readonly entry?: number;
  readonly doorbell?: object;
}

function startPoster(data: Poster): Promise<unknown> {
  const url = (path: string) => pathToFileURL(join(folder, path)).href;
  const workerData = {
    ...data,
    descriptor: url("src/protocol/posted-interrupt-descriptor.js"),
    mailbox: url("src/protocol/mailbox.js"),
  };
  const worker = new Worker(posterCode, { eval: true, workerData });
  return new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject));
}
const tick = () => new Promise((resolve) => setImmediate(resolve));

describe("a descriptor under two posters", () => {
  it("gives each fresh request to the receiver once, and a notification for whatever is posted", async () => {
    const words = new Int32Array(new SharedArrayBuffer(8192));
    const layout = { at: 0, numbers: 64, fresh: 1024, notices: 1500, stop: 1501 };
    const common = { words, ...layout, first: 32, step: 8 };
    let running = true;
    const done = Promise.all([7, 11].map((seed) => startPoster({ ...common, seed }))).then(() => {
      running = false;
    });
    const taken = new Array<number>(256).fill(0);
    let handled = 0;
    const takeAll = () => {
      clearOutstanding(words, layout.at);
      for (let group = 0; group < requestGroups; group++) {
        for (let bits = takeRequests(words, layout.at, group); bits !== 0; bits &= bits - 1) {
          const vector = group * 32 + 31 - Math.clz32(bits & -bits);
          taken[vector] = (taken[vector] ?? 0) + 1;
        }
      }
    };
    const giveUp = Date.now() + enough.milliseconds;
    // As a processor does: it looks at the descriptor when it is notified, and at no other time.
    while (running || Atomics.load(words, layout.notices) !== handled) {
      for (let n = 0; n < 20_000; n++) {
        if (Atomics.load(words, layout.notices) !== handled) {
          handled += 1;
          takeAll();
        }
      }
      if (handled >= enough.rounds || Date.now() > giveUp) {
        Atomics.store(words, layout.stop, 1);
      }
      await tick();
    }
    await done;
    const fresh = Array.from(words.subarray(layout.fresh, layout.fresh + 256));
    expect(Array.from(words.subarray(0, 8))).toEqual(new Array(8).fill(0));
    expect(taken).toEqual(fresh);
    expect(taken.some((n) => n > 1)).toBe(true);
  }, 60_000);
});

describe("a guest under posters", () => {
  const { descriptor } = apicPlace;
  /** u64 by vector: how often it has been posted, what of that its handler saw last, how often the handler ran. */
  const tables = { posted: 0x30_0000, seen: 0x30_0800, taken: 0x30_1000 };
  /** u32 by vector: posts that found no request; then the number of notifications. */
  const fresh = 0x30_1800;
  const notices = 0x30_1c00;
  const stop = 0x30_1c04;
  const common = 0x31_0000;
  const first = 0x21;
  const vectors = 0xd0;

  function prepare(isTraced: boolean): ApicMachine {
    const m = new ApicMachine(isTraced).x2apic().posting().interruptible();
    m.write32(descriptor + 32, notification << 16);
    for (let vector = first; vector < first + vectors; vector++) {
      m.handler(vector, (asm) => {
        asm.push(vector);
        asm.jmp(common);
      });
    }
    const writeHandler = (asm: Assembler) => {
      asm.pop(r8);
      asm.mov(rax, mem64(tables.posted, { index: r8, scale: 8 }));
      asm.mov(mem64(tables.seen, { index: r8, scale: 8 }), rax);
      asm.inc(mem64(tables.taken, { index: r8, scale: 8 }));
      writeMsr(asm, 0x80b, 0);
      asm.iretq();
    };
    m.assemble(64, writeHandler, common);
    m.guest((asm) => {
      const loop = asm.here("loop");
      asm.inc(rbx);
      asm.jmp(loop);
    });
    return m;
  }

  it.each([
    ["with a listener", true],
    ["without", false],
  ])(
    "sees the last post of every vector, without a VM exit, %s",
    async (_name, isTraced) => {
      const m = prepare(isTraced);
      const { i32, base } = m.state;
      const poster = {
        words: i32,
        at: descriptor >>> 2,
        stop: stop >>> 2,
        first,
        step: vectors,
        numbers: tables.posted >>> 2,
        fresh: fresh >>> 2,
        notices: notices >>> 2,
        entry: notification,
        doorbell: {
          ring: base + lpOffset.mailbox,
          doorbell: base + lpOffset.pending,
          doorbellBit: Pending.Mailbox,
        },
      };
      m.state.activity = Activity.Active;
      m.run(64, (asm) => asm.vmlaunch(), 1000);
      expect(m.vmx.unit.isNonRoot).toBe(true);
      let running = true;
      const done = Promise.all([3, 5].map((seed) => startPoster({ ...poster, seed }))).then(() => {
        running = false;
      });
      const giveUp = Date.now() + enough.milliseconds;
      while (running) {
        m.lp.run(50_000);
        if (m.read32(notices) >= enough.rounds || Date.now() > giveUp) {
          m.write32(stop, 1);
        }
        await tick();
      }
      await done;
      m.lp.run(100_000);
      expect(m.vmx.unit.isNonRoot).toBe(true);
      expect(m.vmx.unit.exitsByVmcs.size).toBe(0);
      const columns = (table: number) =>
        Array.from({ length: 256 }, (_, vector) => m.read32(table + vector * 8));
      expect(columns(tables.seen)).toEqual(columns(tables.posted));
      const taken = columns(tables.taken);
      const tooMany = taken.filter((n, vector) => n > m.read32(fresh + vector * 4));
      expect(tooMany).toEqual([]);
      expect(m.vectors(0x100)).toEqual([]);
      expect(m.vectors(0x200)).toEqual([]);
      expect([m.rvi, m.svi]).toEqual([0, 0]);
      expect(taken.some((n) => n > 1)).toBe(true);
    },
    60_000,
  );
});
