/** What becomes of an invalidation request that a function gets. */
export const DeviceInvalidation = {
  Done: 0,
  /** No answer comes. */
  TimeOut: 1,
  /** The function answers something that it was not asked. */
  Unexpected: 2,
} as const;
export type DeviceInvalidation = (typeof DeviceInvalidation)[keyof typeof DeviceInvalidation];

/** A function's own TLB, as the unit invalidates it. */
export interface DeviceTlb {
  /** @param count pages from `page` on, a power of two */
  invalidate(page: number, count: number): DeviceInvalidation;
}

/** TLBs by requester id. */
export type DeviceTlbs = ReadonlyMap<number, DeviceTlb>;

/** All pages there are. */
const everyPage = 2 ** 52;

/**
 * The range that an invalidation request encodes: with S, the lowest 0 of the address from bit 12 up tells the size.
 * @param page the address's page number
 */
export function invalidatedRange(page: number, sized: boolean): { page: number; count: number } {
  if (!sized) {
    return { page, count: 1 };
  }
  let count = 2;
  for (let rest = page; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    count *= 2;
  }
  return count >= everyPage
    ? { page: 0, count: everyPage }
    : { page: page - (page % count), count };
}
