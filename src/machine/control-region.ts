import { assert } from "../base/assert.ts";
import { lpOffset, Pending } from "../execution/lp-window.ts";
import { lpCountMax, type MemoryLayout, windowBase } from "../memory/physical-memory.ts";
import { Doorbell, RequestSlot, requestSlotBytes } from "../protocol/device-request.ts";

/** Machine-wide words of the shared memory: the stop word, the platform's doorbell, a request slot per LP. */
const regionOffset = {
  stopping: 0,
  platformDoorbell: 64,
  serialBacklog: 128,
  slots: 4096,
} as const;

/** One machine's control words, seen from any thread. */
export class ControlRegion {
  readonly words: Int32Array<ArrayBufferLike>;
  readonly layout: MemoryLayout;
  /** Rung for a device request, and to make the platform look at the stop word. */
  readonly platformDoorbell: Doorbell;

  constructor(memory: WebAssembly.Memory, layout: MemoryLayout) {
    assert(
      regionOffset.slots + lpCountMax * requestSlotBytes <= layout.controlBytes,
      "control words do not fit",
    );
    this.words = new Int32Array(memory.buffer);
    this.layout = layout;
    this.platformDoorbell = new Doorbell(
      this.words,
      layout.control + regionOffset.platformDoorbell,
    );
  }

  requestSlot(lp: number): RequestSlot {
    return new RequestSlot(
      this.words,
      this.layout.control + regionOffset.slots + lp * requestSlotBytes,
    );
  }

  get isStopping(): boolean {
    return Atomics.load(this.words, this.#word(regionOffset.stopping)) !== 0;
  }

  /** Ends the run: every LP leaves its guest at the next block, the platform its loop. Any thread; once or more often. */
  stop(): void {
    Atomics.store(this.words, this.#word(regionOffset.stopping), 1);
    for (let lp = 0; lp < this.layout.lpCount; lp++) {
      this.#callBack(lp);
    }
    this.platformDoorbell.ring();
  }

  /** Asks an LP to leave its guest at the next block, or its sleep, and to look what its driver wants. */
  #callBack(lp: number): void {
    const pending = (windowBase(this.layout, lp) + lpOffset.pending) >>> 2;
    Atomics.or(this.words, pending, Pending.Stop);
    Atomics.notify(this.words, pending);
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

  #word(offset: number): number {
    return (this.layout.control + offset) >>> 2;
  }
}
