import { closeSync, openSync, writeFileSync } from "node:fs";
import { pino } from "pino";
import type { RunCallbacks, StopRequest } from "../machine/callbacks.ts";
import { fileTrouble } from "../machine/input-files.ts";
import { runMachine } from "../machine/run-machine.ts";
import { type RunResult, statusOf } from "../machine/run-result.ts";
import { UserError } from "../machine/user-error.ts";
import { TraceFile } from "../trace/trace-file.ts";
import { formatEnding, formatUnowned, formatViolations } from "./ending-report.ts";
import { resultJson } from "./result-json.ts";
import { configurationOf, type RunOptions } from "./run-options.ts";
import { openSerialInput } from "./serial-input.ts";
import { OutputPort } from "./standard-output.ts";
import { formatStatistics } from "./statistics-report.ts";

/** How long the last output may take to reach a slow reader. */
const drainMs = 2000;

/** Does what `vmxon run` is told. @returns the exit status */
export async function runImage(image: string, options: RunOptions): Promise<number> {
  const configuration = configurationOf(image, options);
  const json = options.json === undefined ? undefined : openForWriting(options.json);
  const trace = options.trace === undefined ? undefined : new TraceFile(options.trace);
  const log = pino(
    { name: "vmxon", level: options.logLevel },
    pino.destination({ dest: 2, sync: true }),
  );

  const abort = new AbortController();
  const stop = (request: StopRequest): void => abort.abort(request);
  const input =
    options.input === undefined
      ? undefined
      : await openSerialInput(options.input, options.driver, () => stop("interrupted"));
  const output = new OutputPort();
  output.onClosed = () => stop("output-closed");
  const onSignal = (): void =>
    abort.signal.aborted ? process.exit(statusOf({ type: "interrupted" })) : stop("interrupted");
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);

  const callbacks: RunCallbacks = {
    serial: (bytes) => output.write(bytes),
    ...(input === undefined ? {} : { serialInput: input.bytes }),
    log: (level, message, details) => log[level](details ?? {}, message),
    ...(trace === undefined ? {} : { trace }),
    signal: abort.signal,
  };
  const processSeconds = performance.now() / 1000;
  let result: RunResult;
  try {
    result = await runMachine(configuration, callbacks);
  } finally {
    input?.close?.();
    trace?.finish();
  }
  await output.drain(drainMs);
  process.stderr.write(formatEnding(result) + formatUnowned(result) + formatViolations(result));
  if (options.stats) process.stderr.write(formatStatistics(result));
  if (json !== undefined) {
    writeFileSync(json, resultJson(result, processSeconds));
    closeSync(json);
  }
  return statusOf(result.ending);
}

/** Opens the file before the run, so that a bad place is known before the work is done. */
function openForWriting(path: string): number {
  try {
    return openSync(path, "w");
  } catch (error) {
    throw new UserError(`${path}: cannot write the result: ${fileTrouble(error)}`);
  }
}
