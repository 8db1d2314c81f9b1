import { join } from "node:path";
import { compileForWorker } from "../../protocol/worker-modules.ts";

/** Compiles the toy worker. The caller removes the folder. */
export function toyPool(): { readonly folder: string; readonly worker: string } {
  const folder = compileForWorker("test/machine/scheduling/toy-worker.ts");
  return { folder, worker: join(folder, "test/machine/scheduling/toy-worker.js") };
}
