import { closeSync, openSync, readSync } from "node:fs";
import { StringDecoder } from "node:string_decoder";
import { lineTime } from "./event-line.ts";
import type { EventLog } from "./event-log.ts";

const chunkBytes = 65536;

/** Reads a part file line by line, a chunk at a time. */
class PartReader {
  readonly #file: number;
  readonly #chunk = Buffer.alloc(chunkBytes);
  readonly #decoder = new StringDecoder("utf8");
  #lines: string[] = [];
  #next = 0;
  #rest = "";
  /** Time of the current line; infinite at the end. */
  time = Number.POSITIVE_INFINITY;
  line = "";

  constructor(path: string) {
    this.#file = openSync(path, "r");
    this.advance();
  }

  /** Goes to the next line; a last line without an end (its writer has died) is dropped. */
  advance(): void {
    while (this.#next >= this.#lines.length) {
      const size = readSync(this.#file, this.#chunk);
      if (size === 0) {
        this.time = Number.POSITIVE_INFINITY;
        return;
      }
      const pieces = (this.#rest + this.#decoder.write(this.#chunk.subarray(0, size))).split("\n");
      this.#rest = pieces.pop() ?? "";
      this.#lines = pieces;
      this.#next = 0;
    }
    this.line = `${this.#lines[this.#next++]}\n`;
    this.time = lineTime(this.line);
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Appends the lines of all part files to `log` in the order of their times; equal times in the order of the parts. */
export function mergeLogs(parts: readonly string[], log: EventLog): void {
  const readers = parts.map((path) => new PartReader(path));
  for (;;) {
    const [first, ...others] = readers;
    if (first === undefined) break;
    const earliest = others.reduce(
      (best, reader) => (reader.time < best.time ? reader : best),
      first,
    );
    if (earliest.time === Number.POSITIVE_INFINITY) break;
    log.write(earliest.line);
    earliest.advance();
  }
  for (const reader of readers) reader.close();
}
