import { DeviceInvalidation, type DeviceTlb } from "./device-tlbs.ts";
import { blocked, type DeviceTranslation, type DmaRemapping } from "./dma-remapping.ts";

/** Most translations a function keeps; with the next it forgets them all. */
export const deviceTlbEntriesMax = 512;

/**
 * The TLB of a function that uses address translation services: it asks the unit for translations, keeps them until it is told to
 * forget them, and sends requests whose addresses are translated already.
 */
export class DeviceTlbCache implements DeviceTlb {
  /** Off: the function sends untranslated requests, as one without a TLB. */
  enabled = true;
  readonly #requester: number;
  readonly #remapping: DmaRemapping;
  readonly #entries = new Map<number, DeviceTranslation>();

  constructor(requester: number, remapping: DmaRemapping) {
    this.#requester = requester;
    this.#remapping = remapping;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @returns number of the page of the host, or `blocked` */
  translate(page: number, need: number): number {
    const remapping = this.#remapping;
    if (!this.enabled) {
      return remapping.translate(this.#requester, page, need);
    }
    const found = this.#entries.get(page) ?? this.#ask(page);
    if (found === undefined || found.permissions === 0 || (found.permissions & need) !== need) {
      return blocked;
    }
    const { frame } = found;
    return remapping.permitsTranslated(this.#requester, frame, need) ? frame : blocked;
  }

  invalidate(page: number, count: number): DeviceInvalidation {
    for (const each of this.#entries.keys()) {
      if (each >= page && each < page + count) {
        this.#entries.delete(each);
      }
    }
    return DeviceInvalidation.Done;
  }

  /** Only a translation that permits something is kept. */
  #ask(page: number): DeviceTranslation | undefined {
    const answer = this.#remapping.translationRequest(this.#requester, page);
    if (answer !== undefined && answer.permissions !== 0) {
      if (this.#entries.size >= deviceTlbEntriesMax) {
        this.#entries.clear();
      }
      this.#entries.set(page, answer);
    }
    return answer;
  }
}
