/** What all far transfers share: the target's checks and the loading of CS. */
import { Segment } from "../execution/lp-window.ts";
import { isCanonicalAddress } from "./canonical.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { rightsBit } from "./register-bits.ts";
import { setRealModeSegment } from "./segment-registers.ts";
import {
  type Descriptor,
  isNull,
  isPresent,
  limitOf,
  loadFromDescriptor,
  rightsOf,
} from "./segmentation.ts";
import { generalProtection, notPresent, selectorError } from "./trap.ts";

/** The target is 64-bit code. */
export function isLongCode(lp: LogicalProcessor, d: Descriptor): boolean {
  return lp.isLongMode && (rightsOf(d) & rightsBit.long) !== 0;
}

/** In IA-32e mode a code segment cannot be both 64-bit and 32-bit. */
export function checkCodeSize(lp: LogicalProcessor, d: Descriptor, external = 0): void {
  const both = rightsBit.long | rightsBit.big;
  if (lp.isLongMode && (rightsOf(d) & both) === both) {
    throw generalProtection(selectorError(d.selector) | external);
  }
}

/** Where 64-bit code is required: call gates and interrupt gates of IA-32e mode. */
export function requireLongCode(d: Descriptor, external = 0): void {
  if ((rightsOf(d) & (rightsBit.long | rightsBit.big)) !== rightsBit.long) {
    throw generalProtection(selectorError(d.selector) | external);
  }
}

export function requirePresentCode(d: Descriptor, external = 0): void {
  if (!isPresent(d)) {
    throw notPresent(selectorError(d.selector) | external);
  }
}

/** The instruction pointer must be canonical, or within the limit. */
export function checkTarget(
  lp: LogicalProcessor,
  d: Descriptor,
  offset: bigint,
  external = 0,
): void {
  const fits = isLongCode(lp, d) ? isCanonicalAddress(offset) : offset <= BigInt(limitOf(d));
  if (!fits) {
    throw generalProtection(external);
  }
}

export function requireSelector(selector: number, external = 0): void {
  if (isNull(selector)) {
    throw generalProtection(external);
  }
}

/** Loads CS with a checked descriptor; its RPL is the privilege level that will be current. */
export function loadCode(
  lp: LogicalProcessor,
  selector: number,
  d: Descriptor,
  level: number,
): void {
  loadFromDescriptor(lp, Segment.CS, (selector & 0xfffc) | level, d);
}

/** Far transfer in real or virtual-8086 mode. */
export function transferRealMode(lp: LogicalProcessor, selector: number, offset: bigint): void {
  const limit = lp.isVirtual8086 ? 0xffff : lp.state.limit(Segment.CS);
  if (offset > BigInt(limit)) {
    throw generalProtection();
  }
  setRealModeSegment(lp.state, Segment.CS, selector);
  lp.state.rip = offset;
  lp.codeSegmentChanged();
}
