/**
 * The posted-interrupt descriptor: 64 bytes of memory through which anybody posts interrupts to a virtual processor
 * ("Posted-Interrupt Processing").
 *
 * ```
 *   poster      PIR[vector] ← 1, then ON ← 1 if ON and SN are 0 ──▶ notification NV to NDST
 *   processor   notification ──▶ ON ← 0, then PIR taken group by group
 * ```
 *
 * The poster sets its request before it looks at ON, the processor clears ON before it looks at the requests: a request that
 * one round of processing misses finds ON clear and brings a notification of its own. Every change is one atomic operation.
 *
 * `words` views the shared memory in 32-bit words, `at` is the word at which the descriptor starts.
 */

/** 32-bit words of a descriptor. */
export const postedWord = { requests: 0, control: 8, destination: 9, reserved: 10 } as const;
const descriptorWords = 16;
/** Bits of the control word (descriptor bits 287:256). */
export const postedControl = {
  outstanding: 1 << 0,
  suppressed: 1 << 1,
  vectorShift: 16,
  reserved: 0xff00_fffc,
} as const;

/** Words that hold requests: 32 vectors each, the lowest first. */
export const requestGroups = 8;

type Words = Int32Array<ArrayBufferLike>;

/** PIR[vector] ← 1. @returns whether it was 0 */
export function postRequest(words: Words, at: number, vector: number): boolean {
  const bit = 1 << (vector & 31);
  return (Atomics.or(words, at + postedWord.requests + (vector >>> 5), bit) & bit) === 0;
}

/** After a post. @returns whether the poster owes a notification: ON was 0 and SN is 0; ON is then 1 */
export function claimNotification(words: Words, at: number): boolean {
  const control = at + postedWord.control;
  let seen = Atomics.load(words, control);
  while ((seen & (postedControl.outstanding | postedControl.suppressed)) === 0) {
    const found = Atomics.compareExchange(words, control, seen, seen | postedControl.outstanding);
    if (found === seen) {
      return true;
    }
    seen = found;
  }
  return false;
}

/** A notification that a poster owes: NV, and the NDST field as it lies in the descriptor. */
export interface OwedNotification {
  readonly vector: number;
  readonly destination: number;
}

/**
 * After a post by an agent that takes ON, SN, NV and NDST in one operation, so that a notification goes where the descriptor
 * said at the moment ON became 1.
 * @param quads the shared memory in 64-bit words
 * @param urgent SN does not hold the notification back
 * @returns undefined when no notification is owed
 */
export function claimWholeNotification(
  words: Words,
  quads: BigInt64Array<ArrayBufferLike>,
  at: number,
  urgent: boolean,
): OwedNotification | undefined {
  const { outstanding, suppressed, vectorShift } = postedControl;
  const holding = urgent ? outstanding : outstanding | suppressed;
  if ((Atomics.load(words, at + postedWord.control) & holding) !== 0) {
    return undefined;
  }
  const quad = (at + postedWord.control) / 2;
  let seen = Atomics.load(quads, quad);
  for (;;) {
    const control = Number(BigInt.asUintN(32, seen));
    if ((control & holding) !== 0) {
      return undefined;
    }
    const found = Atomics.compareExchange(quads, quad, seen, seen | BigInt(outstanding));
    if (found === seen) {
      const destination = Number(BigInt.asUintN(32, seen >> 32n));
      return { vector: (control >>> vectorShift) & 0xff, destination };
    }
    seen = found;
  }
}

/** An APIC id in the NDST field. @param wide the APICs are in x2APIC mode; else the id is in bits 15:8 */
export function destinationOf(field: number, wide: boolean): number {
  return wide ? field >>> 0 : (field >>> 8) & 0xff;
}

/** Something is set that the architecture keeps for itself. */
export function hasReservedBits(words: Words, at: number): boolean {
  let bits = Atomics.load(words, at + postedWord.control) & postedControl.reserved;
  for (let n = postedWord.reserved; n < descriptorWords; n++) {
    bits |= Atomics.load(words, at + n);
  }
  return bits !== 0;
}

/** ON ← 0, and nothing else. */
export function clearOutstanding(words: Words, at: number): void {
  Atomics.and(words, at + postedWord.control, ~postedControl.outstanding);
}

/** Takes 32 requests and leaves none: no post can come between the read and the clear. @returns u32 */
export function takeRequests(words: Words, at: number, group: number): number {
  return Atomics.exchange(words, at + postedWord.requests + group, 0) >>> 0;
}

/** NV. */
export function notificationVector(words: Words, at: number): number {
  return (Atomics.load(words, at + postedWord.control) >>> postedControl.vectorShift) & 0xff;
}

/** NDST as an APIC id. @param wide the APICs are in x2APIC mode; else the id is in bits 15:8 */
export function notificationDestination(words: Words, at: number, wide: boolean): number {
  return destinationOf(Atomics.load(words, at + postedWord.destination), wide);
}
