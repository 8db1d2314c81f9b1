const never = Number.POSITIVE_INFINITY;

/**
 * The LPs of a machine by the time at which each acts next: a heap, all of whose keys are there all the time. What a change or a
 * question costs grows with the logarithm of their number. Among equal times the smaller `order` comes first.
 */
export class LpQueue {
  readonly #count: number;
  readonly #times: Float64Array;
  readonly #orders: Float64Array;
  /** LPs in the order of the heap, and where in it each is. */
  readonly #heap: Int32Array;
  readonly #places: Int32Array;

  /** All act at 0. */
  constructor(count: number) {
    this.#count = count;
    this.#times = new Float64Array(count);
    this.#orders = Float64Array.from({ length: count }, (_, lp) => lp);
    this.#heap = Int32Array.from({ length: count }, (_, lp) => lp);
    this.#places = Int32Array.from({ length: count }, (_, lp) => lp);
  }

  /** The LP that acts next. */
  get first(): number {
    return this.#heap[0] as number;
  }
  /** When that is; infinity: nobody does by itself. */
  get least(): number {
    return this.#times[this.#heap[0] as number] ?? never;
  }
  /** When the next of the others acts. */
  get second(): number {
    const heap = this.#heap;
    const left = this.#count > 1 ? (this.#times[heap[1] as number] as number) : never;
    const right = this.#count > 2 ? (this.#times[heap[2] as number] as number) : never;
    return Math.min(left, right);
  }

  set(lp: number, time: number, order: number): void {
    this.#times[lp] = time;
    this.#orders[lp] = order;
    const at = this.#places[lp] as number;
    if (this.#rise(lp, at) === at) this.#sink(lp, at);
  }

  #precedes(a: number, b: number): boolean {
    const timeA = this.#times[a] as number;
    const timeB = this.#times[b] as number;
    if (timeA !== timeB) return timeA < timeB;
    return (this.#orders[a] as number) < (this.#orders[b] as number);
  }
  #rise(lp: number, from: number): number {
    const heap = this.#heap;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as number;
      if (!this.#precedes(lp, above)) break;
      this.#put(above, at);
      at = parent;
    }
    this.#put(lp, at);
    return at;
  }
  #sink(lp: number, from: number): void {
    const heap = this.#heap;
    let at = from;
    for (let child = 2 * at + 1; child < this.#count; child = 2 * at + 1) {
      let below = heap[child] as number;
      if (child + 1 < this.#count && this.#precedes(heap[child + 1] as number, below)) {
        child += 1;
        below = heap[child] as number;
      }
      if (!this.#precedes(below, lp)) break;
      this.#put(below, at);
      at = child;
    }
    this.#put(lp, at);
  }
  #put(lp: number, at: number): void {
    this.#heap[at] = lp;
    this.#places[lp] = at;
  }
}
