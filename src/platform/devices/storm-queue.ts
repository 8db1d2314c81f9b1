import { Prng } from "../../base/prng.ts";

/** Registers of a queue, by offset from its first; 32 bits each. */
export const queueRegister = {
  control: 0x00,
  first: 0x04,
  span: 0x08,
  interval: 0x0c,
  burst: 0x10,
  count: 0x14,
  sent: 0x18,
  sentHigh: 0x1c,
  record: 0x20,
  recordHigh: 0x24,
  seed: 0x28,
  dropped: 0x2c,
  blocked: 0x30,
  left: 0x34,
} as const;

export const queueControl = { run: 1, randomInterval: 2, randomEntry: 4 } as const;
const controlWritable = queueControl.run | queueControl.randomInterval | queueControl.randomEntry;
/** Largest burst: what it takes must end. */
const burstMax = 0xffff;

/** What a queue is set to send, and how far it has come. */
export class StormQueue {
  readonly index: number;
  /** Clock value of the next message; meaningless while it stands. */
  due = 0;
  #control = 0;
  #first = 0;
  #span = 0;
  #interval = 0;
  #burst = 0;
  #count = 0;
  #record = 0;
  #recordHigh = 0;
  #seed = 0;
  #prng = new Prng(0);
  /** Messages that remain of the burst, and of the count. */
  #burstLeft = 0;
  #left = 0;
  #turn = 0;
  #sent = 0;
  #dropped = 0;
  #blocked = 0;

  constructor(index: number) {
    this.index = index;
  }

  reset(): void {
    for (const register of Object.values(queueRegister)) {
      this.write(register, 0);
    }
    this.#left = 0;
    this.#turn = 0;
  }

  get isRunning(): boolean {
    return (this.#control & queueControl.run) !== 0;
  }
  /** Guest address of the queue's records, 0 for none. */
  get record(): number | bigint {
    const high = this.#recordHigh;
    return high === 0 ? this.#record : (BigInt(high) << 32n) | BigInt(this.#record);
  }

  read(register: number): number {
    switch (register) {
      case queueRegister.control:
        return this.#control;
      case queueRegister.first:
        return this.#first;
      case queueRegister.span:
        return this.#span;
      case queueRegister.interval:
        return this.#interval;
      case queueRegister.burst:
        return this.#burst;
      case queueRegister.count:
        return this.#count;
      case queueRegister.sent:
        return this.#sent >>> 0;
      case queueRegister.sentHigh:
        return Math.floor(this.#sent / 2 ** 32);
      case queueRegister.record:
        return this.#record;
      case queueRegister.recordHigh:
        return this.#recordHigh;
      case queueRegister.seed:
        return this.#seed;
      case queueRegister.dropped:
        return this.#dropped;
      case queueRegister.blocked:
        return this.#blocked;
      case queueRegister.left:
        return this.#left;
      default:
        return 0;
    }
  }

  /** The control register starts and stops through `start` and `stop`; here it takes the rest. */
  write(register: number, value: number): void {
    switch (register) {
      case queueRegister.control:
        this.#control = value & controlWritable;
        break;
      case queueRegister.first:
        this.#first = value & 0xffff;
        break;
      case queueRegister.span:
        this.#span = value & 0xffff;
        break;
      case queueRegister.interval:
        this.#interval = value;
        break;
      case queueRegister.burst:
        this.#burst = Math.min(value, burstMax);
        break;
      case queueRegister.count:
        this.#count = value;
        break;
      case queueRegister.sent:
        this.#sent = 0;
        break;
      case queueRegister.record:
        this.#record = (value & ~15) >>> 0;
        break;
      case queueRegister.recordHigh:
        this.#recordHigh = value;
        break;
      case queueRegister.seed:
        this.#seed = value;
        this.#prng = new Prng(value);
        break;
      case queueRegister.dropped:
        this.#dropped = 0;
        break;
      case queueRegister.blocked:
        this.#blocked = 0;
        break;
    }
  }

  /** Begins anew: the whole count, at the first entry, the first message now. */
  start(now: number): void {
    this.due = now;
    this.#left = this.#count;
    this.#burstLeft = Math.max(1, this.#burst);
    this.#turn = 0;
  }

  /** Which of the queue's entries the next message is for: 0 up to the span. */
  nextPlace(): number {
    const span = Math.max(1, this.#span);
    if ((this.#control & queueControl.randomEntry) !== 0) {
      return this.#prng.below(span);
    }
    const place = this.#turn;
    this.#turn = place + 1 < span ? place + 1 : 0;
    return place;
  }

  entryOf(place: number): number {
    return this.#first + place;
  }

  countDropped(): void {
    this.#dropped = (this.#dropped + 1) >>> 0;
  }
  countBlocked(): void {
    this.#blocked = (this.#blocked + 1) >>> 0;
  }
  countSent(): void {
    this.#sent += 1;
  }

  /** A message is out, or dropped: sets when the next is due, or stops at the end of the count. */
  step(): void {
    if (this.#count !== 0) {
      this.#left -= 1;
      if (this.#left === 0) {
        this.#control &= ~queueControl.run;
        return;
      }
    }
    this.#burstLeft -= 1;
    if (this.#burstLeft > 0) {
      return;
    }
    this.#burstLeft = Math.max(1, this.#burst);
    const interval = this.#interval;
    const isRandom = (this.#control & queueControl.randomInterval) !== 0;
    // Time always moves on, or a machine with virtual time would stay at this moment for ever.
    this.due += Math.max(
      1,
      isRandom ? this.#prng.below(Math.min(2 * interval + 1, 2 ** 32)) : interval,
    );
  }
}
