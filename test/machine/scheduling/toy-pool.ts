import { readdirSync } from "node:fs";
import { join } from "node:path";
import { compileForWorker } from "../../protocol/worker-modules.ts";

const modules = [
  ...["src/base/assert.ts", "src/base/log-histogram.ts", "src/base/prng.ts"],
  ...["src/hypervisor/run-record.ts", "src/hypervisor/scenario.ts"],
  ...["src/hypervisor/settled-events.ts", "src/vmx/exit-reasons.ts"],
  ...["src/machine/user-error.ts", "src/machine/scheduling/perform-job.ts"],
  ...readdirSync("src/machine/scheduling/metrics").map(
    (name) => `src/machine/scheduling/metrics/${name}`,
  ),
  ...["test/machine/scheduling/toy-worker.ts", "test/machine/scheduling/toy-simulation.ts"],
];

/** Compiles the toy worker. The caller removes the folder. */
export function toyPool(): { readonly folder: string; readonly worker: string } {
  const folder = compileForWorker(modules);
  return { folder, worker: join(folder, "test/machine/scheduling/toy-worker.js") };
}
