/** Most places that are listed; accesses to more are counted all the same. */
const placesMax = 64;

/** Accesses that nobody answered, by place: port or page. Reported, and otherwise of no effect. */
export class UnownedAccesses {
  readonly #counts = new Map<string, number>();
  #total = 0;

  countPort(port: number): void {
    this.#count(`port ${hexadecimal(port)}`);
  }

  countMmio(address: number): void {
    this.#count(`page ${hexadecimal(Math.floor(address / 4096) * 4096)}`);
  }

  get total(): number {
    return this.#total;
  }

  /** Counts by place, in the order of first access. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  #count(place: string): void {
    this.#total++;
    const count = this.#counts.get(place);
    if (count !== undefined || this.#counts.size < placesMax) {
      this.#counts.set(place, (count ?? 0) + 1);
    }
  }
}

const hexadecimal = (value: number): string => `${value.toString(16).toUpperCase()}H`;
