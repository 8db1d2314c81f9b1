/** The I/O and MSR bitmaps ("I/O-Bitmap Addresses", "MSR-Bitmap Address"). */
import type { LpState } from "../cpu/lp-state.ts";

const portCount = 0x1_0000;
const portsPerBitmap = 0x8000;
const msrsPerBitmap = 0x2000;
const highMsrs = 0xc000_0000;

/** Bit of a bitmap in RAM; outside RAM every bit reads as 1. */
export function bitAt(state: LpState, ramBytes: number, address: number, bit: number): boolean {
  const at = address + (bit >>> 3);
  return at >= ramBytes || (((state.u8[at] ?? 0) >>> (bit & 7)) & 1) !== 0;
}

/** Whether an access to `size` ports exits: a bit of one of them is 1, or it runs over the end of the port space. */
export function ioBitmapsSelect(
  test: (address: number, bit: number) => boolean,
  bitmapA: number,
  bitmapB: number,
  port: number,
  size: number,
): boolean {
  if (port + size > portCount) {
    return true;
  }
  for (let n = port; n < port + size; n++) {
    const isLow = n < portsPerBitmap;
    if (test(isLow ? bitmapA : bitmapB, n % portsPerBitmap)) {
      return true;
    }
  }
  return false;
}

/** Whether RDMSR or WRMSR of an index exits. Indexes that no bitmap covers do. */
export function msrBitmapsSelect(
  test: (address: number, bit: number) => boolean,
  bitmaps: number,
  index: number,
  isWrite: boolean,
): boolean {
  const isHigh = index >= highMsrs;
  const bit = isHigh ? index - highMsrs : index;
  if (bit >= msrsPerBitmap) {
    return true;
  }
  return test(bitmaps + (isWrite ? 0x800 : 0) + (isHigh ? 0x400 : 0), bit);
}
