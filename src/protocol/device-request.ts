import { assert } from "../base/assert.ts";

/**
 * An LP's access to a device that lives on another thread: a request slot per LP in shared memory, one request at a time.
 *
 * ```
 *           LP fills the slot, rings            platform has done it, wakes the LP
 *   idle ───────────────────────▶ requested ───────────────────────▶ answered
 *    ▲                                                                   │
 *    └───────────────────────────────────────────────────────────────────┘
 *                           LP takes the result
 * ```
 *
 * The platform rings nobody: it answers in the slot. The doorbell is one counter for all slots, so that a platform that is
 * about to sleep cannot miss a request posted meanwhile.
 */
export const RequestState = { Idle: 0, Requested: 1, Answered: 2 } as const;
export type RequestState = (typeof RequestState)[keyof typeof RequestState];

/** The state that may follow. An LP and a platform that disagree have corrupted the slot. */
export function nextRequestState(state: number): RequestState {
  switch (state) {
    case RequestState.Idle:
      return RequestState.Requested;
    case RequestState.Requested:
      return RequestState.Answered;
    default:
      assert(state === RequestState.Answered, "request slot is in no known state");
      return RequestState.Idle;
  }
}

export const DeviceOperation = {
  ReadPort: 0,
  WritePort: 1,
  ReadMmio: 2,
  WriteMmio: 3,
  EndOfInterrupt: 4,
  AcknowledgeExternal: 5,
} as const;
export type DeviceOperation = (typeof DeviceOperation)[keyof typeof DeviceOperation];

/**
 * Does the access; the result of an operation that reads, 0 for one that does not. Values are at most 32 bits. Undefined when
 * the answer will come later: the slot is then answered by `answer`.
 */
export interface DeviceServer {
  access(
    operation: DeviceOperation,
    address: number,
    size: number,
    value: number,
  ): number | undefined;
}

/** A slot is one cache line. */
export const requestSlotBytes = 64;
const word = {
  state: 0,
  operation: 1,
  addressLow: 2,
  addressHigh: 3,
  size: 4,
  value: 5,
  result: 6,
} as const;

/** One slot, seen from either side. */
export class RequestSlot {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #base: number;

  /** @param address byte address of the slot in the shared memory, zero before first use */
  constructor(words: Int32Array<ArrayBufferLike>, address: number) {
    assert(address % 4 === 0, "request slot is not aligned");
    this.#words = words;
    this.#base = address / 4;
  }

  get state(): number {
    return Atomics.load(this.#words, this.#base);
  }

  /** The LP: hands over a request. The doorbell is the caller's to ring. */
  request(operation: DeviceOperation, address: number, size: number, value: number): void {
    const words = this.#words;
    words[this.#base + word.operation] = operation;
    words[this.#base + word.addressLow] = address | 0;
    words[this.#base + word.addressHigh] = Math.floor(address / 2 ** 32);
    words[this.#base + word.size] = size;
    words[this.#base + word.value] = value | 0;
    this.#advance(RequestState.Idle);
  }

  /** The LP: sleeps until the request is answered, woken for another reason, or `timeoutMs` are over. */
  sleep(timeoutMs: number): void {
    Atomics.wait(this.#words, this.#base, RequestState.Requested, timeoutMs);
  }

  /** Anyone: ends the LP's sleep although there is no answer yet. */
  stir(): void {
    Atomics.notify(this.#words, this.#base);
  }

  /** The LP, in an idle moment: what is not answered is still requested. */
  assertRequested(): void {
    const { state } = this;
    const isUnderWay = state === RequestState.Requested || state === RequestState.Answered;
    assert(isUnderWay, "request slot changed hands");
  }

  /** The LP: the answer, as an unsigned 32-bit number. */
  take(): number {
    const result = this.#words[this.#base + word.result] ?? 0;
    this.#advance(RequestState.Answered);
    return result >>> 0;
  }

  /** The platform: does what is requested and wakes the LP. @returns false: the answer will come later */
  serve(server: DeviceServer): boolean {
    const words = this.#words;
    const low = (words[this.#base + word.addressLow] ?? 0) >>> 0;
    const result = server.access(
      (words[this.#base + word.operation] ?? 0) as DeviceOperation,
      low + (words[this.#base + word.addressHigh] ?? 0) * 2 ** 32,
      words[this.#base + word.size] ?? 0,
      (words[this.#base + word.value] ?? 0) >>> 0,
    );
    if (result === undefined) return false;
    this.answer(result);
    return true;
  }

  /** The platform: the result of what was requested, for the LP that waits. */
  answer(result: number): void {
    this.#words[this.#base + word.result] = result | 0;
    this.#advance(RequestState.Requested);
    Atomics.notify(this.#words, this.#base);
  }

  #advance(from: RequestState): void {
    const was = Atomics.compareExchange(this.#words, this.#base, from, nextRequestState(from));
    assert(was === from, "request slot changed hands");
  }
}

/** The bell that tells the platform of requests: a counter that only grows (modulo 2^32). */
export class Doorbell {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #index: number;

  constructor(words: Int32Array<ArrayBufferLike>, address: number) {
    this.#words = words;
    this.#index = address / 4;
  }

  ring(): void {
    Atomics.add(this.#words, this.#index, 1);
    Atomics.notify(this.#words, this.#index);
  }

  get rings(): number {
    return Atomics.load(this.#words, this.#index);
  }

  /** Sleeps unless it has been rung since it stood at `seen`. */
  sleep(seen: number, timeoutMs: number): void {
    Atomics.wait(this.#words, this.#index, seen, timeoutMs);
  }
}
