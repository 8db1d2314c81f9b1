/**
 * A rate between two clocks, `ticks` of one in every `cycles` of the other, and exact conversion both ways.
 * Counts may be as large as 2^53 as long as `cycles * ticks` is below 2^53.
 */
export class TickRate {
  readonly cycles: number;
  readonly ticks: number;

  constructor(cycles: number, ticks: number) {
    const divisor = greatestCommonDivisor(cycles, ticks);
    this.cycles = cycles / divisor;
    this.ticks = ticks / divisor;
  }

  /** Last tick at or before a cycle. */
  tickAt(cycle: number): number {
    const { cycles, ticks } = this;
    return Math.floor(cycle / cycles) * ticks + Math.floor(((cycle % cycles) * ticks) / cycles);
  }

  /** First cycle at or after a tick. */
  cycleAt(tick: number): number {
    const { cycles, ticks } = this;
    return Math.floor(tick / ticks) * cycles + Math.ceil(((tick % ticks) * cycles) / ticks);
  }
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
