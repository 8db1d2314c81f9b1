/** The device access of an LP that the platform is serving, for those behind the platform who cannot answer at once. */
export class AccessUnderWay {
  #lp: number | undefined;
  #isDeferred = false;

  /** Who waits for an answer; undefined: nobody, the platform acts by itself. */
  get lp(): number | undefined {
    return this.#lp;
  }

  /** The answer comes later. */
  defer(): void {
    this.#isDeferred = true;
  }

  /** @returns what `act` does, undefined when the answer comes later */
  serve(lp: number, act: () => number): number | undefined {
    this.#lp = lp;
    this.#isDeferred = false;
    try {
      const result = act();
      return this.#isDeferred ? undefined : result;
    } finally {
      this.#lp = undefined;
    }
  }
}
