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
const word = { requests: 0, control: 8, destination: 9 } as const;
/** Bits of the control word (descriptor bits 287:256). */
const postedControl = { outstanding: 1 << 0, suppressed: 1 << 1, vectorShift: 16 } as const;

/** Words that hold requests: 32 vectors each, the lowest first. */
export const requestGroups = 8;

type Words = Int32Array<ArrayBufferLike>;

/** PIR[vector] ← 1. @returns whether it was 0 */
export function postRequest(words: Words, at: number, vector: number): boolean {
  const bit = 1 << (vector & 31);
  return (Atomics.or(words, at + word.requests + (vector >>> 5), bit) & bit) === 0;
}

/** After a post. @returns whether the poster owes a notification: ON was 0 and SN is 0; ON is then 1 */
export function claimNotification(words: Words, at: number): boolean {
  const control = at + word.control;
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

/** ON ← 0, and nothing else. */
export function clearOutstanding(words: Words, at: number): void {
  Atomics.and(words, at + word.control, ~postedControl.outstanding);
}

/** Takes 32 requests and leaves none: no post can come between the read and the clear. @returns u32 */
export function takeRequests(words: Words, at: number, group: number): number {
  return Atomics.exchange(words, at + word.requests + group, 0) >>> 0;
}

/** NV. */
export function notificationVector(words: Words, at: number): number {
  return (Atomics.load(words, at + word.control) >>> postedControl.vectorShift) & 0xff;
}

/** NDST as an APIC id. @param wide the APICs are in x2APIC mode; else the id is in bits 15:8 */
export function notificationDestination(words: Words, at: number, wide: boolean): number {
  const destination = Atomics.load(words, at + word.destination) >>> 0;
  return wide ? destination : (destination >>> 8) & 0xff;
}
