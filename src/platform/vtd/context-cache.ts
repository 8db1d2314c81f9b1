const slotCount = 256;
const free = -1;

/** What a request of a function is translated by. */
export const ContextKind = { SecondStage: 0, DeviceTlb: 1, PassThrough: 2 } as const;
export type ContextKind = (typeof ContextKind)[keyof typeof ContextKind];

export interface Context {
  readonly kind: ContextKind;
  readonly domain: number;
  /** Number of the page that holds the second-stage table of the highest level. */
  readonly table: number;
  readonly levels: number;
  /** Pages that these tables translate. */
  readonly reach: number;
  /** Faults of its requests are not recorded. */
  readonly isQuiet: boolean;
}

/** Context entries by requester id, until they are invalidated or another function takes the slot. */
export class ContextCache {
  readonly #requesters = new Int32Array(slotCount).fill(free);
  readonly #contexts: (Context | undefined)[] = new Array<Context | undefined>(slotCount).fill(
    undefined,
  );

  find(requester: number): Context | undefined {
    const slot = slotOf(requester);
    return this.#requesters[slot] === requester ? this.#contexts[slot] : undefined;
  }

  insert(requester: number, context: Context): void {
    const slot = slotOf(requester);
    this.#requesters[slot] = requester;
    this.#contexts[slot] = context;
  }

  invalidateAll(): void {
    this.#requesters.fill(free);
  }

  invalidateDomain(domain: number): void {
    this.#invalidate((_, context) => context.domain === domain);
  }

  /** @param functionMask how many of the function number's bits are left out of the comparison, the highest first */
  invalidateDevice(domain: number, requester: number, functionMask: number): void {
    const compared = comparedBits[functionMask & 3] ?? 0xffff;
    this.#invalidate(
      (each, context) => context.domain === domain && ((each ^ requester) & compared) === 0,
    );
  }

  #invalidate(matches: (requester: number, context: Context) => boolean): void {
    for (let slot = 0; slot < slotCount; slot++) {
      const requester = this.#requesters[slot] ?? free;
      const context = this.#contexts[slot];
      if (requester !== free && context !== undefined && matches(requester, context)) {
        this.#requesters[slot] = free;
      }
    }
  }
}

const slotOf = (requester: number): number => (requester ^ (requester >>> 8)) & (slotCount - 1);

/** Bits of a source id that count, by function mask or source-id qualifier. */
export const comparedBits: readonly number[] = [0xffff, 0xfffb, 0xfff9, 0xfff8];
