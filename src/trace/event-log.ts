import { closeSync, openSync, writeSync } from "node:fs";
import type { Clock, TraceSink } from "../cpu/ports.ts";
import { fileTrouble } from "../machine/input-files.ts";
import { UserError } from "../machine/user-error.ts";
import { type EventDetail, eventLine } from "./event-line.ts";

/** Characters gathered before they are written. */
const bufferLimit = 65536;

/** A file of event lines, written in large pieces. */
export class EventLog {
  readonly #file: number;
  readonly #path: string;
  #lines: string[] = [];
  #size = 0;

  /** @throws {UserError} the file cannot be written */
  constructor(path: string) {
    this.#path = path;
    this.#file = orUserError(path, () => openSync(path, "w"));
  }

  add(time: number, source: number, kind: string, detail: EventDetail): void {
    this.write(eventLine(time, source, kind, detail));
  }

  /** Appends a finished line. */
  write(line: string): void {
    this.#lines.push(line);
    this.#size += line.length;
    if (this.#size >= bufferLimit) this.flush();
  }

  /** What an actor calls at each of its events. */
  sink(source: number, clock: Clock): TraceSink {
    return (kind, detail) => this.add(clock.now(), source, kind, detail);
  }

  flush(): void {
    const bytes = Buffer.from(this.#lines.join(""));
    this.#lines = [];
    this.#size = 0;
    let written = 0;
    while (written < bytes.length) {
      written += orUserError(this.#path, () => writeSync(this.#file, bytes, written));
    }
  }

  close(): void {
    this.flush();
    closeSync(this.#file);
  }
}

function orUserError<T>(path: string, operation: () => T): T {
  try {
    return operation();
  } catch (error) {
    throw new UserError(`${path}: cannot write the trace: ${fileTrouble(error)}`);
  }
}
