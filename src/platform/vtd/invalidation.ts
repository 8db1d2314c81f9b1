import { addressMaskMax } from "./capabilities.ts";
import type { ContextCache } from "./context-cache.ts";
import type { Iotlb } from "./iotlb.ts";

/** How much of a cache is invalidated, as commands and descriptors say it. 0 names nothing. */
export const Granularity = { Global: 1, Domain: 2, Selective: 3 } as const;
export type Granularity = (typeof Granularity)[keyof typeof Granularity];

export interface ContextInvalidation {
  readonly granularity: number;
  readonly domain: number;
  readonly requester: number;
  readonly functionMask: number;
}

export interface IotlbInvalidation {
  readonly granularity: number;
  readonly domain: number;
  /** Number of one of the pages. */
  readonly page: number;
  /** 2^mask pages. */
  readonly mask: number;
}

/** @returns false: there is no such granularity, and nothing has happened */
export function invalidateContexts(cache: ContextCache, what: ContextInvalidation): boolean {
  switch (what.granularity) {
    case Granularity.Global:
      cache.invalidateAll();
      return true;
    case Granularity.Domain:
      cache.invalidateDomain(what.domain);
      return true;
    case Granularity.Selective:
      cache.invalidateDevice(what.domain, what.requester, what.functionMask);
      return true;
    default:
      return false;
  }
}

/** @returns false: there is no such granularity, or the mask is larger than the unit's; nothing has happened */
export function invalidateIotlb(iotlb: Iotlb, what: IotlbInvalidation): boolean {
  switch (what.granularity) {
    case Granularity.Global:
      iotlb.invalidateAll();
      return true;
    case Granularity.Domain:
      iotlb.invalidateDomain(what.domain);
      return true;
    case Granularity.Selective:
      if (what.mask > addressMaskMax) {
        return false;
      }
      iotlb.invalidatePages(what.domain, what.page, what.mask);
      return true;
    default:
      return false;
  }
}
