import { rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import { afterAll, expect, test } from "vitest";
import { SharedRemapping, sharedRemappingBytes } from "../../src/protocol/shared-remapping.ts";
import { compileForWorker } from "./worker-modules.ts";

const changes = 3000;
/** Words behind the shared state: what is changed, twice; messages and mismatches of the device; end. */
const at = { first: 64, second: 65, messages: 66, mismatches: 67, stop: 68 } as const;
const folder = compileForWorker("src/protocol/shared-remapping.ts");
afterAll(() => rmSync(folder, { recursive: true }));

const deviceCode = `
const { workerData } = require("node:worker_threads");
import(workerData.module).then(({ SharedRemapping }) => {
  const { words, at } = workerData;
  const shared = new SharedRemapping(words, 0);
  let seen = 0;
  let table = 0;
  while (Atomics.load(words, at.stop) === 0) {
    const version = shared.enter();
    if ((version & 1) === 0) {
      if (version !== seen) table = shared.state.table;
      seen = version;
      const first = words[at.first];
      for (let n = 0; n < 20; n++);
      if (first !== table || words[at.second] !== table) Atomics.add(words, at.mismatches, 1);
      Atomics.add(words, at.messages, 1);
    }
    shared.leave();
  }
});
`;

test("what is changed is changed between two messages of the device", async () => {
  const words = new Int32Array(new SharedArrayBuffer(sharedRemappingBytes + 512));
  const module = pathToFileURL(join(folder, "src/protocol/shared-remapping.js")).href;
  const worker = new Worker(deviceCode, { eval: true, workerData: { words, at, module } });
  const finished = new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject));
  const shared = new SharedRemapping(words, 0);
  for (let n = 1; n <= changes; n++) {
    const before = Atomics.load(words, at.messages);
    shared.close(() => undefined);
    words[at.first] = n;
    words[at.second] = n;
    shared.open({ enabled: true, compatibilityFormat: false, table: n, tableRegister: 0 });
    // Now and then the device gets to say something under this state.
    while (n % 100 === 0 && Atomics.load(words, at.messages) === before) {
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  Atomics.store(words, at.stop, 1);
  await finished;
  expect(words[at.messages]).toBeGreaterThan(changes / 100);
  expect(words[at.mismatches]).toBe(0);
}, 60_000);
