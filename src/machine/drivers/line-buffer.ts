/** A guest that never ends its line still gets it logged in pieces of this size. */
const lineMax = 1024;

/** Gathers bytes into lines. */
export class LineBuffer {
  readonly #emit: (line: string) => void;
  #bytes: number[] = [];

  constructor(emit: (line: string) => void) {
    this.#emit = emit;
  }

  add(byte: number): void {
    if (byte !== 0x0a) this.#bytes.push(byte);
    if (byte === 0x0a || this.#bytes.length >= lineMax) this.flush();
  }

  /** Emits what there is of a line. */
  flush(): void {
    if (this.#bytes.length === 0) return;
    const line = new TextDecoder().decode(Uint8Array.from(this.#bytes));
    this.#bytes = [];
    this.#emit(line);
  }
}
