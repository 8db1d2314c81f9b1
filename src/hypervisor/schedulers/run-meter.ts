/**
 * How long a vCPU has run that has not been charged yet. The host tells the exact time when the vCPU has left its LP; a policy
 * that must compare it with others while it runs goes by the clock, and the exact time corrects that.
 */
export class RunMeter {
  #since = Number.NaN;
  #charged = 0;
  /** When the vCPU was put where it runs. */
  turnStart = 0;

  get running(): boolean {
    return !Number.isNaN(this.#since);
  }

  /** The vCPU is picked. A vCPU that goes on keeps its turn. */
  start(now: number): void {
    if (!this.running) {
      this.turnStart = now;
    }
    this.#since = now;
    this.#charged = 0;
  }

  stop(): void {
    this.#since = Number.NaN;
  }

  /** By the clock: nanoseconds that have not been told yet. */
  elapsed(now: number): number {
    return this.running ? now - this.#since : 0;
  }

  /** By the clock: nanoseconds to charge now. */
  glance(now: number): number {
    const charge = this.elapsed(now) - this.#charged;
    this.#charged += charge;
    return charge;
  }

  /** The exact time: nanoseconds to charge now; negative if too many were charged by the clock. */
  tell(now: number, ns: number): number {
    const charge = ns - this.#charged;
    this.#charged = 0;
    if (this.running) {
      this.#since = now;
    }
    return charge;
  }
}
