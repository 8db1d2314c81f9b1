/** What the assistants of VMX instructions share with TypeScript in the LP window, byte offsets. */
import { lpOffset } from "../../execution/lp-window.ts";

export const assistantOffset = {
  /** u32: address of the current VMCS in the shared memory while VMREAD and VMWRITE are about it, in root operation; else 0. */
  vmcs: lpOffset.vmxPrivate + 0x30,
  /** u32: address of the state of its line. */
  line: lpOffset.vmxPrivate + 0x34,
  /** State of each line of the VMCS cache, `lineStride` bytes each. */
  lines: lpOffset.vmxPrivate + 0x40,
  /** By packed encoding (see `field-table.ts`), 8 bytes each. */
  fields: lpOffset.vmxTables,
} as const;

export const lineStride = 16;
/** u32 each. */
export const lineOffset = {
  /** Not 0: memory is behind. */
  modified: 0,
  /** Groups of entry rules of which a field has changed since they last held. */
  dirty: 4,
  /** Groups with rules that must be looked at each time. */
  live: 8,
} as const;
