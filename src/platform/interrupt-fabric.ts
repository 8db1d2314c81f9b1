import { lpMailbox } from "../cpu/local-apic/lp-mailbox.ts";
import type { InterruptFabric } from "../cpu/ports.ts";
import {
  type InterruptEntry,
  type InterruptPin,
  messageEntry,
  pinEntry,
} from "../protocol/interrupt-entry.ts";
import { DeliveryMode, type InterruptMessage, Shorthand } from "../protocol/interrupt-message.ts";
import type { Mailbox } from "../protocol/mailbox.ts";
import { isDestination } from "./destination.ts";
import { PublishedApic } from "./published-apic.ts";

/** What devices need of the fabric: messages, and the pins of an LP. */
export interface DeviceFabric extends InterruptFabric {
  drivePin(target: number, pin: InterruptPin, high: boolean): void;
}

export interface MailboxFabricOptions {
  /** The shared memory, as words. */
  readonly words: Int32Array<ArrayBufferLike>;
  /** Byte address of each LP's window, by LP index. */
  readonly windows: readonly number[];
  /**
   * The mailbox of `target` is full: make room, or wait for it. Called until the entry is in. An LP's thread must empty
   * its own mailbox here (else two LPs wait for each other); where one thread runs all LPs, it empties the target's.
   */
  readonly whenFull: (target: number) => void;
  /** An entry has been posted to `target`. */
  readonly posted?: (target: number) => void;
}

/**
 * The interrupt bus: finds the destinations of a message and posts it to their mailboxes, in order of LP index.
 *
 * Any thread may have a fabric of its own over the same memory. Its only state is where the arbitration of
 * lowest-priority messages stands, so one fabric used by one thread gives the same choices every time.
 */
export class MailboxFabric implements DeviceFabric {
  readonly #apics: readonly PublishedApic[];
  readonly #mailboxes: readonly Mailbox[];
  readonly #whenFull: (target: number) => void;
  readonly #posted: ((target: number) => void) | undefined;
  #lastArbitrated = -1;

  constructor(options: MailboxFabricOptions) {
    this.#apics = options.windows.map((window) => new PublishedApic(options.words, window));
    this.#mailboxes = options.windows.map((window) => lpMailbox(options.words, window));
    this.#whenFull = options.whenFull;
    this.#posted = options.posted;
  }

  send(message: InterruptMessage): void {
    const entry = messageEntry(message);
    if (message.deliveryMode === DeliveryMode.LowestPriority) {
      const target = this.#arbitrate(message);
      if (target >= 0) {
        this.#post(target, entry);
      }
      return;
    }
    if (message.shorthand === Shorthand.Self) {
      this.#post(message.source, entry);
      return;
    }
    const apics = this.#apics;
    for (let target = 0; target < apics.length; target++) {
      const apic = apics[target];
      if (apic !== undefined && isDestination(message, apic, target)) {
        this.#post(target, entry);
      }
    }
  }

  drivePin(target: number, pin: InterruptPin, high: boolean): void {
    this.#post(target, pinEntry(pin, high));
  }

  /**
   * "Lowest Priority Delivery Mode": of the destinations whose APIC is enabled, the one with the lowest processor priority;
   * among equals, the next after the last one chosen.
   * @returns -1 when there is no destination
   */
  #arbitrate(message: InterruptMessage): number {
    const count = this.#apics.length;
    let chosen = -1;
    let lowest = Number.POSITIVE_INFINITY;
    for (let step = 1; step <= count; step++) {
      const target = (this.#lastArbitrated + step) % count;
      const apic = this.#apics[target];
      if (apic?.softwareEnabled && isDestination(message, apic, target)) {
        const priority = apic.processorPriority;
        if (priority < lowest) {
          lowest = priority;
          chosen = target;
        }
      }
    }
    if (chosen >= 0) {
      this.#lastArbitrated = chosen;
    }
    return chosen;
  }

  #post(target: number, entry: InterruptEntry): void {
    const mailbox = this.#mailboxes[target];
    while (mailbox !== undefined && !mailbox.post(entry)) {
      this.#whenFull(target);
    }
    this.#posted?.(target);
  }
}
