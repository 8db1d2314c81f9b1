import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, expect, test } from "vitest";
import { compileForWorker } from "./worker-modules.ts";

const posters = 2;
/** Notifications of each poster that are enough. */
const enough = 40;
/** Words: the descriptor, then how many posters are done, then notifications and mismatches of each. */
const place = { finished: 16, results: 20 } as const;
const folder = compileForWorker("src/protocol/posted-interrupt-descriptor.ts");

afterAll(() => rmSync(folder, { recursive: true }));

/** Posts, and checks each notification it owes: vector and destination belong to each other. */
const posterCode = `
const { workerData } = require("node:worker_threads");
import(workerData.module).then(({ postRequest, claimWholeNotification }) => {
  const { words, place, poster, enough } = workerData;
  const quads = new BigInt64Array(words.buffer);
  const at = place.results + 2 * poster;
  for (let n = 0; Atomics.load(words, at) < enough; n++) {
    postRequest(words, 0, (n * 7 + poster) & 0xff);
    const owed = claimWholeNotification(words, quads, 0, n % 16 === 0);
    if (owed === undefined) continue;
    Atomics.add(words, at, 1);
    if (owed.destination !== owed.vector * 256) Atomics.add(words, at + 1, 1);
  }
  Atomics.add(words, place.finished, 1);
});
`;

test("a notification goes where the descriptor said when ON was set, while its target moves", {
  timeout: 60_000,
}, async () => {
  const words = new Int32Array(new SharedArrayBuffer(4096));
  const quads = new BigInt64Array(words.buffer);
  const control = 4;
  const target = (vector: bigint): bigint => (vector << 16n) | (vector << 40n);
  quads[control] = target(1n);
  const module = pathToFileURL(join(folder, "src/protocol/posted-interrupt-descriptor.js")).href;
  const finished = Array.from({ length: posters }, (_, poster) => {
    const workerData = { words, place, poster, enough, module };
    const worker = new Worker(posterCode, { eval: true, workerData });
    return new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject));
  });

  // The hypervisor: gives ON back, and changes NV and NDST in one operation, now and then with SN.
  let cleared = 0;
  for (let n = 1; Atomics.load(words, place.finished) < posters; n++) {
    const seen = Atomics.load(quads, control);
    const next = target(BigInt(1 + (n % 200))) | (n % 3 === 0 ? 2n : 0n);
    const found = Atomics.compareExchange(quads, control, seen, next);
    if (found === seen && (seen & 1n) !== 0n) cleared++;
    if (n % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(finished);

  const results = Array.from({ length: posters }, (_, poster) => [
    words[place.results + 2 * poster] ?? 0,
    words[place.results + 2 * poster + 1] ?? 0,
  ]);
  const pending = (quads[control] ?? 0n) & 1n;
  const notifications = results.reduce((sum, [each = 0]) => sum + each, 0);
  expect(notifications).toBe(posters * enough);
  expect(results.map(([, mismatches]) => mismatches)).toEqual([0, 0]);
  expect(notifications).toBe(cleared + Number(pending));
});
