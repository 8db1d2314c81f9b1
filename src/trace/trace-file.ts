import { existsSync, rmSync } from "node:fs";
import type { Clock, TraceSink } from "../cpu/ports.ts";
import type { TraceTarget } from "../machine/trace-target.ts";
import { platformSource } from "../machine/trace-target.ts";
import { EventLog } from "./event-log.ts";
import { mergeLogs } from "./merge-logs.ts";

/**
 * The event log of one run: a file of JSON lines in the order of time. Actors on other threads write part files beside it,
 * which `finish` merges into it and removes.
 */
export class TraceFile implements TraceTarget {
  readonly path: string;
  readonly #log: EventLog;
  readonly #parts: string[] = [];

  /** @throws {UserError} the file cannot be written */
  constructor(path: string) {
    this.path = path;
    this.#log = new EventLog(path);
  }

  sink(source: number, clock: Clock): TraceSink {
    return this.#log.sink(source, clock);
  }

  partFile(source: number): string {
    const part = `${this.path}.${source === platformSource ? "platform" : `lp${source}`}`;
    this.#parts.push(part);
    return part;
  }

  /** To be called once the machine has stopped. */
  finish(): void {
    const parts = this.#parts.filter((part) => existsSync(part));
    mergeLogs(parts, this.#log);
    this.#log.close();
    for (const part of parts) rmSync(part);
  }
}
