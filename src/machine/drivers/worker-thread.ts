import { type TransferListItem, Worker } from "node:worker_threads";
import { type Remote, wrap } from "comlink";
import { workerFile } from "../project-files.ts";
import { comlinkEndpoint } from "./comlink-endpoint.ts";

/** What a run allocates dies young; the default would let every thread fill tens of megabytes before looking. */
const maxYoungGenerationSizeMb = 8;

/**
 * A worker and the service it exposes. `failed` rejects when the thread dies of an exception or ends by itself; a call that
 * was under way then never comes back, so calls are raced against it.
 */
export class WorkerThread<Control> {
  readonly control: Remote<Control>;
  readonly failed: Promise<never>;
  readonly #worker: Worker;
  #expected = false;

  /** @param name of the worker's file, @param source what its trouble is put down to: an LP, or -1 for the platform */
  constructor(name: string, data: unknown, transfer: readonly TransferListItem[] = []) {
    this.#worker = new Worker(workerFile(name), {
      workerData: data,
      transferList: [...transfer],
      resourceLimits: { maxYoungGenerationSizeMb },
    });
    this.control = wrap<Control>(comlinkEndpoint(this.#worker));
    this.failed = new Promise<never>((_, reject) => {
      this.#worker.once("error", reject);
      this.#worker.once("exit", (code) => {
        if (!this.#expected) reject(new Error(`its thread has ended by itself with code ${code}`));
      });
    });
    // Whoever races against it handles it; when nobody does, it must not take the process down.
    this.failed.catch(() => undefined);
  }

  /** The result of a call, or the death of the thread. */
  call<T>(operation: (control: Remote<Control>) => Promise<T>): Promise<T> {
    return Promise.race([operation(this.control), this.failed]);
  }

  async terminate(): Promise<void> {
    this.#expected = true;
    await this.#worker.terminate();
  }
}
