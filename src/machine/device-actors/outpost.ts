import type { InterruptFabric } from "../../cpu/ports.ts";
import { isInterruptAddress } from "../../platform/msi-message.ts";
import { InterruptRemapping } from "../../platform/vtd/interrupt-remapping.ts";
import { TableMemory } from "../../platform/vtd/table-memory.ts";
import type { SharedRemapping } from "../../protocol/shared-remapping.ts";

/** Messages, of a third of a microsecond each. */
const untoldMax = 100;

export interface OutpostOptions {
  readonly requester: number;
  readonly shared: SharedRemapping;
  /** The shared memory in 32-bit words, RAM from its beginning. */
  readonly words: Int32Array<ArrayBufferLike>;
  readonly ramBytes: number;
  readonly fabric: InterruptFabric;
  /** The unit offers interrupt posting. */
  readonly posting: boolean;
}

/**
 * Interrupt remapping on the thread of the device whose messages it remaps: the same as the unit's, with a cache of entries of its own.
 * What the unit would block is left to it: the record of the fault is its.
 */
export class Outpost {
  readonly #requester: number;
  readonly #shared: SharedRemapping;
  readonly #remapping: InterruptRemapping;
  /** Version of the state that is in use. */
  #version = 0;
  #isBlocked = false;
  /** Messages since the last one that an LP has been told of. */
  #untold = 0;

  constructor({ requester, shared, words, ramBytes, fabric, posting }: OutpostOptions) {
    this.#requester = requester;
    this.#shared = shared;
    const memory = { words, ramBytes };
    this.#remapping = new InterruptRemapping({
      ...{ memory, posting, fetch: {} },
      fabric: {
        send: (message) => {
          this.#untold = 0;
          fabric.send(message);
        },
      },
      tables: new TableMemory(memory),
      faults: {
        record: () => {
          this.#isBlocked = true;
        },
      },
    });
  }

  /** @returns false: nothing has happened, the message is for the unit */
  message(address: number | bigint, data: number): boolean {
    if (typeof address !== "number" || !isInterruptAddress(address)) return false;
    const version = this.#shared.enter();
    try {
      if ((version & 1) !== 0) return false;
      if (version !== this.#version) this.#takeOver(version);
      this.#isBlocked = false;
      this.#untold += 1;
      this.#remapping.message(this.#requester, address, data);
      return !this.#isBlocked;
    } finally {
      this.#shared.leave();
    }
  }

  /**
   * For long every message has met an earlier one that its target had not noticed: the target's thread is not being run, and could be
   * if this one rested. It counts anew.
   */
  takeHint(): boolean {
    const isUnheard = this.#untold > untoldMax;
    if (isUnheard) this.#untold = 0;
    return isUnheard;
  }

  #takeOver(version: number): void {
    this.#remapping.invalidateAll();
    this.#remapping.state = this.#shared.state;
    this.#version = version;
  }
}
