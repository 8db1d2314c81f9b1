/** Operating modes; 6 and 7 are other names of 2 and 3. */
export const CounterMode = {
  TerminalCount: 0,
  OneShot: 1,
  RateGenerator: 2,
  SquareWave: 3,
  SoftwareStrobe: 4,
  HardwareStrobe: 5,
} as const;

/** How a count is read and written: control word bits 5:4. Zero is the latch command. */
const Access = { Latch: 0, Low: 1, High: 2, LowThenHigh: 3 } as const;

const countMax = 0x10000;
const statusBit = { output: 0x80, nullCount: 0x40 } as const;

/**
 * One counter of the 8254. It is not clocked: its output and count follow from the tick at which it was loaded. Ticks are
 * those of the 8254's clock.
 */
export class PitCounter {
  #mode = 0;
  #access: number = Access.LowThenHigh;
  #bcd = false;
  /** 1..65536, or 1..10000 in BCD. */
  #count = countMax;
  /** No count has been written since the control word. */
  #isUnloaded = true;
  #started = 0;
  #gate = true;
  /** Ticks counted when the gate was closed, undefined while it is open or the mode does not care. */
  #pausedAt: number | undefined;
  #lowWritten: number | undefined;
  #highReadNext = false;
  #latchedCount: number[] = [];
  #latchedStatus: number | undefined;

  /** A control word for this counter: a latch command, or a new mode, which stops it until a count is written. */
  writeControl(value: number, tick: number): void {
    const access = (value >>> 4) & 3;
    if (access === Access.Latch) {
      this.latch(true, false, tick);
      return;
    }
    const mode = (value >>> 1) & 7;
    this.#mode = mode > CounterMode.HardwareStrobe ? mode - 4 : mode;
    this.#access = access;
    this.#bcd = (value & 1) !== 0;
    this.#isUnloaded = true;
    this.#pausedAt = undefined;
    this.#lowWritten = undefined;
    this.#highReadNext = false;
    this.#latchedCount = [];
    this.#latchedStatus = undefined;
  }

  /** Holds the count and the status of this moment until they are read; a latch not yet read stays. */
  latch(count: boolean, status: boolean, tick: number): void {
    if (status && this.#latchedStatus === undefined) {
      this.#latchedStatus =
        (this.output(tick) ? statusBit.output : 0) |
        (this.#isUnloaded ? statusBit.nullCount : 0) |
        (this.#access << 4) |
        (this.#mode << 1) |
        (this.#bcd ? 1 : 0);
    }
    if (count && this.#latchedCount.length === 0) {
      const value = this.#current(tick);
      const bytes = [value & 0xff, value >>> 8];
      this.#latchedCount =
        this.#access === Access.Low
          ? bytes.slice(0, 1)
          : bytes.slice(this.#access === Access.High ? 1 : 0);
    }
  }

  read(tick: number): number {
    if (this.#latchedStatus !== undefined) {
      const status = this.#latchedStatus;
      this.#latchedStatus = undefined;
      return status;
    }
    const latched = this.#latchedCount.shift();
    if (latched !== undefined) {
      return latched;
    }
    const value = this.#current(tick);
    if (this.#access === Access.Low) {
      return value & 0xff;
    }
    if (this.#access === Access.LowThenHigh && !this.#highReadNext) {
      this.#highReadNext = true;
      return value & 0xff;
    }
    this.#highReadNext = false;
    return value >>> 8;
  }

  write(value: number, tick: number): void {
    if (this.#access === Access.Low) {
      this.#load(value, tick);
    } else if (this.#access === Access.High) {
      this.#load(value << 8, tick);
    } else if (this.#lowWritten === undefined) {
      this.#lowWritten = value;
    } else {
      this.#load(this.#lowWritten | (value << 8), tick);
      this.#lowWritten = undefined;
    }
  }

  setGate(open: boolean, tick: number): void {
    const rising = open && !this.#gate;
    const falling = !open && this.#gate;
    this.#gate = open;
    if (this.#isUnloaded) {
      return;
    }
    if (this.#startsOnGate) {
      if (rising) {
        this.#started = tick;
        this.#pausedAt = undefined;
      }
    } else if (falling) {
      this.#pausedAt = tick - this.#started;
    } else if (rising && this.#pausedAt !== undefined) {
      this.#started = this.#isPeriodic ? tick : tick - this.#pausedAt;
      this.#pausedAt = undefined;
    }
  }

  output(tick: number): boolean {
    if (this.#isUnloaded) {
      return this.#mode !== CounterMode.TerminalCount;
    }
    const elapsed = this.#elapsed(tick);
    switch (this.#mode) {
      case CounterMode.TerminalCount:
      case CounterMode.OneShot:
        return elapsed >= this.#count;
      case CounterMode.RateGenerator:
        return this.#isPaused || elapsed % this.#count !== this.#count - 1;
      case CounterMode.SquareWave:
        return this.#isPaused || (elapsed % this.#count) * 2 < this.#count;
      default:
        return elapsed !== this.#count;
    }
  }

  /** First tick after `tick` at which the output rises, undefined when it will not. */
  nextRise(tick: number): number | undefined {
    if (this.#isUnloaded || this.#isPaused) {
      return undefined;
    }
    const first = this.#started + this.#count;
    if (this.#isPeriodic) {
      const periods = Math.max(Math.floor((tick - this.#started) / this.#count) + 1, 1);
      return this.#started + periods * this.#count;
    }
    // A strobe is low for the tick in which the count is zero.
    const rise = this.#isStrobe ? first + 1 : first;
    return rise > tick ? rise : undefined;
  }

  #load(value: number, tick: number): void {
    const count = this.#bcd ? fromBcd(value) : value;
    this.#count = count === 0 ? (this.#bcd ? 10000 : countMax) : count;
    this.#isUnloaded = false;
    this.#started = this.#startsOnGate ? Number.NEGATIVE_INFINITY : tick;
    this.#pausedAt = this.#gate || this.#startsOnGate ? undefined : 0;
  }

  #current(tick: number): number {
    const count = this.#count;
    if (this.#isUnloaded || this.#started === Number.NEGATIVE_INFINITY) {
      return this.#encode(count);
    }
    const elapsed = this.#elapsed(tick);
    switch (this.#mode) {
      case CounterMode.RateGenerator:
        return this.#encode(count - (elapsed % count));
      case CounterMode.SquareWave: {
        // Counts down by two, twice per period.
        const half = Math.ceil(count / 2);
        const phase = elapsed % count;
        return this.#encode(count - 2 * (phase < half ? phase : phase - half));
      }
      default:
        return this.#encode(count - elapsed);
    }
  }

  /** The counter has 16 bits, or four decimal digits, and goes on below zero. */
  #encode(count: number): number {
    if (!this.#bcd) {
      return ((count % countMax) + countMax) % countMax;
    }
    return toBcd(((count % 10000) + 10000) % 10000);
  }

  #elapsed(tick: number): number {
    return this.#pausedAt ?? tick - this.#started;
  }
  get #isPaused(): boolean {
    return this.#pausedAt !== undefined;
  }
  get #isPeriodic(): boolean {
    return this.#mode === CounterMode.RateGenerator || this.#mode === CounterMode.SquareWave;
  }
  get #isStrobe(): boolean {
    return this.#mode === CounterMode.SoftwareStrobe || this.#mode === CounterMode.HardwareStrobe;
  }
  get #startsOnGate(): boolean {
    return this.#mode === CounterMode.OneShot || this.#mode === CounterMode.HardwareStrobe;
  }
}

function fromBcd(value: number): number {
  return [12, 8, 4, 0].reduce((sum, shift) => sum * 10 + ((value >>> shift) & 0xf), 0);
}

function toBcd(value: number): number {
  return [...String(value)].reduce((sum, digit) => (sum << 4) | Number(digit), 0);
}
