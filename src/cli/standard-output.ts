import { write } from "node:fs";

const standardOutput = 1;
const retryMs = 5;

/**
 * Writes to a file descriptor in order, without ever blocking this thread: a reader that has stopped reading must not keep
 * Ctrl-C or a timeout from working.
 */
export class OutputPort {
  readonly #file: number;
  #tail: Promise<void> = Promise.resolve();
  #closed = false;
  /** Called once when nobody reads any more. */
  onClosed: () => void = () => undefined;

  constructor(file = standardOutput) {
    this.#file = file;
  }

  /** Resolves when the bytes are written, or never will be. */
  write(bytes: Uint8Array): Promise<void> {
    this.#tail = this.#tail.then(() => this.#writeAll(bytes));
    return this.#tail;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    let written = 0;
    while (written < bytes.length && !this.#closed) {
      written += await this.#writeSome(bytes.subarray(written));
    }
  }

  #writeSome(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve) => {
      write(this.#file, bytes, (error, count) => {
        if (error === null) {
          resolve(count);
        } else if (error.code === "EAGAIN") {
          setTimeout(resolve, retryMs, 0);
        } else {
          this.#closed = true;
          this.onClosed();
          resolve(0);
        }
      });
    });
  }

  /** Waits for what has been written so far, at most `milliseconds`. */
  async drain(milliseconds: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds);
    });
    await Promise.race([this.#tail, patience]);
    clearTimeout(timer);
  }
}
