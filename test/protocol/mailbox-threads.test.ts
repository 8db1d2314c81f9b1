import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, describe, expect, test } from "vitest";
import { Mailbox, mailboxBytes } from "../../src/protocol/mailbox.ts";
import { compileForWorker } from "./worker-modules.ts";

const senders = 2;
const entriesPerSender = 60_000;
const place = { ring: 128, doorbell: 64, doorbellBit: 1 } as const;
const folder = compileForWorker("src/protocol/mailbox.ts");

afterAll(() => rmSync(folder, { recursive: true }));

/** Sends its numbers in order, again and again while the ring is full. */
const senderCode = `
const { workerData } = require("node:worker_threads");
import(workerData.module).then(({ Mailbox }) => {
  const { words, place, sender, count } = workerData;
  const mailbox = new Mailbox({ words, ...place });
  for (let n = 0; n < count; n++) {
    while (!mailbox.post((sender << 24) | n)) Atomics.wait(words, 0, 0, 1);
  }
});
`;

describe("a mailbox between threads", () => {
  test("loses nothing, doubles nothing, and keeps each sender's order", async () => {
    const words = new Int32Array(new SharedArrayBuffer(place.ring + mailboxBytes));
    const mailbox = new Mailbox({ words, ...place });
    const module = pathToFileURL(join(folder, "src/protocol/mailbox.js")).href;
    const finished = Array.from({ length: senders }, (_, sender) => {
      const workerData = { words, place, sender, count: entriesPerSender, module };
      const worker = new Worker(senderCode, { eval: true, workerData });
      return new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject));
    });

    const next = new Array<number>(senders).fill(0);
    const disorder: number[] = [];
    let taken = 0;
    while (taken < senders * entriesPerSender) {
      // Sleeps as a halted LP does: a lost doorbell would leave it there until the timeout, with entries waiting.
      const outcome = Atomics.wait(words, place.doorbell / 4, 0, 10_000);
      expect(outcome).not.toBe("timed-out");
      taken += mailbox.drain((entry) => {
        const sender = entry >>> 24;
        if ((entry & 0xff_ffff) !== next[sender]) {
          disorder.push(entry);
        }
        next[sender] = (entry & 0xff_ffff) + 1;
      });
    }

    await Promise.all(finished);
    expect(disorder).toEqual([]);
    expect(next).toEqual(new Array(senders).fill(entriesPerSender));
    expect(mailbox.length).toBe(0);
  });
});
