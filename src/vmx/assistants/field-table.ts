import type { LpState } from "../../cpu/lp-state.ts";
import type { VmxProfile } from "../capabilities.ts";
import { groupsBySlot } from "../entry-rules/all-rules.ts";
import { slot, vmcsFields } from "../vmcs-fields.ts";
import { assistantOffset } from "./assistant-window.ts";

/**
 * The fields as VMREAD and VMWRITE look them up in Wasm: for each packed encoding two words, what the field is (see
 * `fieldBit`; 0 when there is no such field) and the groups of entry rules that read it.
 *
 * An encoding of a whole field packs into width (bits 14:13), type (11:10) and the six low bits of the index (6:1).
 */
export const encodingBits = 0x6c7e;
export const fieldEntryBytes = 8;
export const fieldBit = {
  /** Byte offset in a VMCS. */
  offsetMask: 0x7ff,
  /** The field exists. */
  exists: 1 << 12,
  /** VMWRITE is nothing but a write. */
  writes: 1 << 13,
  /** 64 minus the field's width in bits. */
  unusedShift: 16,
} as const;

/** Where the entry of an encoding is, in bytes from the start of the table. */
export function fieldEntryOffset(encoding: number): number {
  return ((encoding >>> 2) & 0x1800) | ((encoding >>> 1) & 0x600) | ((encoding << 2) & 0x1f8);
}

export function writeFieldTable(state: LpState, profile: VmxProfile): void {
  for (const field of vmcsFields) {
    if (profile.fieldExists[field.slot] !== 1 || (field.encoding & ~encodingBits) !== 0) {
      continue;
    }
    const isWritable = !field.readOnly || profile.writesReadOnlyFields;
    // Somebody wants to hear of changes of the interrupt status.
    const isPlain = isWritable && field.slot !== slot.guestInterruptStatus;
    const bits = field.width === "natural" ? 64 : field.width;
    const at = assistantOffset.fields + fieldEntryOffset(field.encoding);
    const what = (field.slot * 4) | fieldBit.exists | (isPlain ? fieldBit.writes : 0);
    state.write32(at, what | ((64 - bits) << fieldBit.unusedShift));
    state.write32(at + 4, groupsBySlot[field.slot] ?? 0);
  }
}
