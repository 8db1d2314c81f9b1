import { Segment } from "../execution/lp-window.ts";
import { AccessClass } from "./address-space.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { cr0Bit, rightsBit } from "./register-bits.ts";
import { generalProtection } from "./trap.ts";

/** 32-bit (in IA-32e mode 64-bit) TSS, available and busy: the kinds with an I/O permission map. */
const tssTypes = [0x9, 0xb];
/** Where a TSS holds the offset of its I/O permission map. */
const mapBaseOffset = 102;

/**
 * "I/O Privilege Level" and "I/O Permission Bit Map": may the program access these ports?
 * @param size bytes: that many consecutive ports
 * @throws #GP(0), or what reading the TSS raises
 */
export function requireIoPermission(lp: LogicalProcessor, port: number, size: number): void {
  const { state } = lp;
  const isProtected = (state.low("cr0") & cr0Bit.PE) !== 0;
  if (!isProtected || (!lp.isVirtual8086 && state.cpl <= lp.ioPrivilegeLevel)) {
    return;
  }
  const rights = state.rights(Segment.TR);
  const limit = state.limit(Segment.TR);
  const hasMap = (rights & rightsBit.unusable) === 0 && tssTypes.includes(rights & 0x1f);
  if (!hasMap || limit < mapBaseOffset + 1) {
    throw generalProtection();
  }
  const tss = state.segmentBase(Segment.TR);
  const at = (offset: number): bigint =>
    BigInt.asUintN(lp.isLongMode ? 64 : 32, tss + BigInt(offset));
  const map = lp.linear.read16(at(mapBaseOffset), AccessClass.System);
  // Two bytes are read whatever the port: the map ends with a byte of ones.
  const first = map + (port >>> 3);
  if (first + 1 > limit) {
    throw generalProtection();
  }
  const bits = lp.linear.read16(at(first), AccessClass.System) >>> (port & 7);
  if ((bits & ((1 << size) - 1)) !== 0) {
    throw generalProtection();
  }
}
