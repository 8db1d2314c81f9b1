import { assert } from "../base/assert.ts";
import type { InterruptEntry } from "./interrupt-entry.ts";

/**
 * Mailbox of one LP: a bounded ring in shared memory that any number of senders fill and its owner empties, without locks.
 *
 * ```
 *  sender: take a ticket (tail) ─▶ fill its slot ─▶ set the doorbell bit, wake the owner
 *  owner : clear the doorbell bit ─▶ take full slots in ticket order ─▶ give the room back (head)
 *  slot  : empty (0) ──sender──▶ full (entry | occupied) ──owner──▶ empty
 * ```
 *
 * A sender that has taken its ticket but not yet filled its slot holds back those behind it; since each of them rings only
 * after its slot is full and the owner clears the bell before it looks, no entry is ever left behind unannounced.
 * A full ring refuses (`post` answers false). Whoever then waits must empty its own mailbox meanwhile, or two LPs that
 * send to each other would wait for ever.
 */
export interface MailboxPlace {
  /** The shared memory. */
  readonly words: Int32Array<ArrayBufferLike>;
  /** Byte address of the ring: `mailboxBytes` bytes, zero before first use. */
  readonly ring: number;
  /** Byte address of the doorbell word, and the bit in it that says mail. */
  readonly doorbell: number;
  readonly doorbellBit: number;
  /**
   * Byte address of a word that is not 0 while the owner waits on the doorbell word, or is about to. Without one the owner is
   * always woken.
   */
  readonly asleep?: number;
}

/** Most entries a mailbox holds. */
export const mailboxCapacity = 1024;

/** Word offsets in the ring; head and tail lie on cache lines of their own. */
export const ringWord = { tail: 0, head: 16, slots: 32 } as const;

export const mailboxBytes = (ringWord.slots + mailboxCapacity) * 4;

/** Marks a full slot; entries have 31 bits. */
export const occupied = 1 << 31;

export class Mailbox {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #tail: number;
  readonly #head: number;
  readonly #slots: number;
  readonly #doorbell: number;
  readonly #doorbellBit: number;
  readonly #asleep: number | undefined;

  constructor(place: MailboxPlace) {
    assert(place.ring % 4 === 0 && place.doorbell % 4 === 0, "mailbox is not aligned");
    const base = place.ring / 4;
    this.#words = place.words;
    this.#tail = base + ringWord.tail;
    this.#head = base + ringWord.head;
    this.#slots = base + ringWord.slots;
    this.#doorbell = place.doorbell / 4;
    this.#doorbellBit = place.doorbellBit;
    this.#asleep = place.asleep === undefined ? undefined : place.asleep / 4;
  }

  /** Any thread. False when the ring is full: nothing has been sent. */
  post(entry: InterruptEntry): boolean {
    const words = this.#words;
    for (;;) {
      const tail = Atomics.load(words, this.#tail);
      if (((tail - Atomics.load(words, this.#head)) | 0) >= mailboxCapacity) {
        return false;
      }
      if (Atomics.compareExchange(words, this.#tail, tail, (tail + 1) | 0) === tail) {
        Atomics.store(words, this.#slot(tail), entry | occupied);
        break;
      }
    }
    Atomics.or(words, this.#doorbell, this.#doorbellBit);
    // First the bell, then the look; the owner says that it sleeps before it looks at the bell.
    if (this.#asleep === undefined || Atomics.load(words, this.#asleep) !== 0) {
      Atomics.notify(words, this.#doorbell);
    }
    return true;
  }

  /**
   * The owner alone; it may call again from within `receive`. Takes at most one ringful, so that a flood cannot hold the
   * owner; what is left stays announced.
   * @returns entries taken
   */
  drain(receive: (entry: InterruptEntry) => void): number {
    const words = this.#words;
    Atomics.and(words, this.#doorbell, ~this.#doorbellBit);
    for (let taken = 0; taken < mailboxCapacity; taken++) {
      const head = Atomics.load(words, this.#head);
      const slot = this.#slot(head);
      const entry = Atomics.load(words, slot);
      if (entry === 0) {
        return taken;
      }
      Atomics.store(words, slot, 0);
      Atomics.store(words, this.#head, (head + 1) | 0);
      receive(entry & ~occupied);
    }
    Atomics.or(words, this.#doorbell, this.#doorbellBit);
    return mailboxCapacity;
  }

  /** Entries taken since the ring was zero. */
  get taken(): number {
    return Atomics.load(this.#words, this.#head) >>> 0;
  }

  /** Entries posted and not yet taken, those being written included. */
  get length(): number {
    return (Atomics.load(this.#words, this.#tail) - Atomics.load(this.#words, this.#head)) | 0;
  }

  #slot(ticket: number): number {
    return this.#slots + (ticket & (mailboxCapacity - 1));
  }
}
