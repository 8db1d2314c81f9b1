/** Where the bar is drawn: standard error, when it is a terminal. */
export interface Terminal {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

const barWidth = 24;
const eraseLine = "\r\u001b[2K";

/** A progress bar on one line; silent when nobody would see it. */
export class ProgressBar {
  readonly #terminal: Terminal;
  readonly #total: number;
  readonly #now: () => number;
  readonly #startedAt: number;
  #done = 0;
  #failed = 0;

  /** @param now milliseconds of a clock */
  constructor(terminal: Terminal, total: number, now: () => number) {
    this.#terminal = terminal;
    this.#total = total;
    this.#now = now;
    this.#startedAt = now();
    this.#draw();
  }

  step(failed: boolean): void {
    this.#done++;
    if (failed) this.#failed++;
    this.#draw();
  }

  /** Takes the bar away. */
  end(): void {
    if (this.#terminal.isTTY) this.#terminal.write(eraseLine);
  }

  #draw(): void {
    if (!this.#terminal.isTTY) return;
    const width = this.#terminal.columns ?? 80;
    this.#terminal.write(eraseLine + this.#line().slice(0, width - 1));
  }

  #line(): string {
    const part = this.#total === 0 ? 1 : this.#done / this.#total;
    const filled = Math.round(part * barWidth);
    const bar = "#".repeat(filled) + ".".repeat(barWidth - filled);
    const failed = this.#failed === 0 ? "" : `, ${this.#failed} failed`;
    return `[${bar}] ${this.#done}/${this.#total} runs${failed}${this.#remaining()}`;
  }

  #remaining(): string {
    if (this.#done === 0 || this.#done === this.#total) return "";
    const elapsed = (this.#now() - this.#startedAt) / 1000;
    const left = Math.ceil((elapsed / this.#done) * (this.#total - this.#done));
    return left < 60 ? `, ${left} s left` : `, ${Math.ceil(left / 60)} min left`;
  }
}
