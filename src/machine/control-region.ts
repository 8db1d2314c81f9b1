import { assert } from "../base/assert.ts";
import { lpOffset, Pending } from "../execution/lp-window.ts";
import { type MemoryLayout, scriptedLpCountMax, windowBase } from "../memory/physical-memory.ts";
import { Doorbell, RequestSlot, requestSlotBytes } from "../protocol/device-request.ts";

/** Machine-wide words of the shared memory. Words that different threads write often have a cache line of their own. */
const regionOffset = {
  phase: 0,
  platformDoorbell: 64,
  serialBacklog: 128,
  presence: 2048,
  slots: 8192,
} as const;
const presenceStride = 64;

/**
 * ```
 *   running ──stop()──▶ stopping ──finish()──▶ finished
 * ```
 * Stopping: LPs leave their guests; devices still answer, since an LP may be in the middle of an access. Finished: every LP
 * has left, the platform leaves too.
 */
const Phase = { Running: 0, Stopping: 1, Finished: 2 } as const;

/**
 * While an LP is away (asleep, waiting for a device, ended) it has no store under way and uses no TLB entry; when it is back
 * it looks at its pending word before anything else. Deaf: away, and no device's interrupt could wake it.
 */
export const Presence = { Running: 0, Away: 1, Deaf: 2 } as const;
export type Presence = (typeof Presence)[keyof typeof Presence];

/** One machine's control words, seen from any thread. */
export class ControlRegion {
  readonly words: Int32Array<ArrayBufferLike>;
  readonly layout: MemoryLayout;
  /** Rung for a device request, and to make the platform look at the phase. */
  readonly platformDoorbell: Doorbell;

  constructor(memory: WebAssembly.Memory, layout: MemoryLayout) {
    const presencesEnd = regionOffset.presence + scriptedLpCountMax * presenceStride;
    const end = regionOffset.slots + scriptedLpCountMax * requestSlotBytes;
    assert(
      presencesEnd <= regionOffset.slots && end <= layout.controlBytes,
      "control words do not fit",
    );
    this.words = new Int32Array(memory.buffer);
    this.layout = layout;
    const doorbell = layout.control + regionOffset.platformDoorbell;
    this.platformDoorbell = new Doorbell(this.words, doorbell);
  }

  requestSlot(lp: number): RequestSlot {
    return new RequestSlot(this.words, this.#address(regionOffset.slots) + lp * requestSlotBytes);
  }

  get isStopping(): boolean {
    return Atomics.load(this.words, this.#word(regionOffset.phase)) >= Phase.Stopping;
  }
  get isFinished(): boolean {
    return Atomics.load(this.words, this.#word(regionOffset.phase)) === Phase.Finished;
  }

  /** Ends the run: every LP leaves its guest at the next block, or its sleep. Any thread, any number of times. */
  stop(): void {
    const phase = this.#word(regionOffset.phase);
    Atomics.compareExchange(this.words, phase, Phase.Running, Phase.Stopping);
    for (let lp = 0; lp < this.layout.lpCount; lp++) {
      this.signal(lp, Pending.Stop);
    }
    this.platformDoorbell.ring();
  }

  /** No LP is left that could ask a device. */
  finish(): void {
    this.stop();
    Atomics.store(this.words, this.#word(regionOffset.phase), Phase.Finished);
    this.platformDoorbell.ring();
  }

  /** Index of the LP's pending word: its doorbell. */
  pendingWord(lp: number): number {
    return (windowBase(this.layout, lp) + lpOffset.pending) >>> 2;
  }
  /** The LP's own thread: sleeps while nothing is pending. */
  awaitPending(lp: number, timeoutMs: number): void {
    const asleep = (windowBase(this.layout, lp) + lpOffset.asleep) >>> 2;
    Atomics.store(this.words, asleep, 1);
    Atomics.wait(this.words, this.pendingWord(lp), 0, timeoutMs);
    Atomics.store(this.words, asleep, 0);
  }
  /** Sets bits of `Pending` and wakes the LP. */
  signal(lp: number, bits: number): void {
    const pending = this.pendingWord(lp);
    Atomics.or(this.words, pending, bits);
    Atomics.notify(this.words, pending);
  }
  /** As `signal`, where one thread runs all LPs: nobody sleeps on the word, nobody else writes it. */
  mark(lp: number, bits: number): void {
    const pending = this.pendingWord(lp);
    this.words[pending] = (this.words[pending] ?? 0) | bits;
  }
  /** Takes back a mark. */
  unmark(lp: number, bits: number): void {
    const pending = this.pendingWord(lp);
    this.words[pending] = (this.words[pending] ?? 0) & ~bits;
  }
  /** The bits have been attended to. */
  clear(lp: number, bits: number): void {
    Atomics.and(this.words, this.pendingWord(lp), ~bits);
  }

  /** Where an LP's thread is. */
  presence(lp: number): Presence {
    return Atomics.load(this.words, this.#presenceWord(lp)) as Presence;
  }
  setPresence(lp: number, presence: Presence): void {
    Atomics.store(this.words, this.#presenceWord(lp), presence);
  }
  /** Every LP is asleep and deaf, and nothing is on its way to one. */
  get isDead(): boolean {
    for (let lp = 0; lp < this.layout.lpCount; lp++) {
      const isCalled = Atomics.load(this.words, this.pendingWord(lp)) !== 0;
      if (isCalled || this.presence(lp) !== Presence.Deaf) return false;
    }
    return true;
  }

  /** Serial bytes handed to the consumer that it has not yet taken. */
  get serialBacklog(): number {
    return Atomics.load(this.words, this.#word(regionOffset.serialBacklog));
  }
  addSerialBacklog(bytes: number): void {
    Atomics.add(this.words, this.#word(regionOffset.serialBacklog), bytes);
    Atomics.notify(this.words, this.#word(regionOffset.serialBacklog));
  }
  /** Sleeps while the backlog is what it was. */
  awaitSerialBacklog(seen: number, timeoutMs: number): void {
    Atomics.wait(this.words, this.#word(regionOffset.serialBacklog), seen, timeoutMs);
  }

  #presenceWord(lp: number): number {
    return this.#word(regionOffset.presence + lp * presenceStride);
  }
  #address(offset: number): number {
    return this.layout.control + offset;
  }
  #word(offset: number): number {
    return this.#address(offset) >>> 2;
  }
}
