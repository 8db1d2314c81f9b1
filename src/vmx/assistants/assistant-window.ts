/** What the assistants of VMX instructions share with TypeScript in the LP window, byte offsets. */
import { lpOffset } from "../../execution/lp-window.ts";

export const assistantOffset = {
  /** u32: address of the current VMCS in the shared memory while VMREAD and VMWRITE are about it, in root operation; else 0. */
  vmcs: lpOffset.vmxPrivate + 0x30,
  /** u32: address of the state of its line. */
  line: lpOffset.vmxPrivate + 0x34,
  /** State of each line of the VMCS cache, `lineStride` bytes each. */
  lines: lpOffset.vmxPrivate + 0x40,
  /** u32: address of the VMCS that VMRESUME may enter without TypeScript, of the one whose guest may exit so; else 0. */
  enterable: lpOffset.vmxPrivate + 0x80,
  exitable: lpOffset.vmxPrivate + 0x84,
  /** u32: not 0 when VPIDs are off: each transition takes a new address-space id. */
  forgetsZero: lpOffset.vmxPrivate + 0x88,
  /** u32: transitions since TypeScript has last caught up: VM entries, VM exits by `exitKind`. */
  entered: lpOffset.vmxPrivate + 0x8c,
  exited: lpOffset.vmxPrivate + 0x90,
  /** u32: address of the current VMCS while its guest may take interrupts without TypeScript (see `ReceivingGuests`); else 0. */
  receiving: lpOffset.vmxPrivate + 0x98,
  /** u32: what besides is virtual in that guest, bits of `ability`. */
  abilities: lpOffset.vmxPrivate + 0x9c,
  /** u32: not 0 while a pending virtual interrupt is recognized. */
  recognized: lpOffset.vmxPrivate + 0xa0,
  /** u32: address of the window of LP 0, when assistants may fill the mailboxes of all LPs; else 0. How many there are. */
  peers: lpOffset.vmxPrivate + 0xa4,
  peerCount: lpOffset.vmxPrivate + 0xa8,
  /** u32: interrupt messages that assistants have sent. */
  sent: lpOffset.vmxPrivate + 0xac,
  /** u32: virtual IPIs since the last one that brought a notification. */
  unnoticed: lpOffset.vmxPrivate + 0xb0,
  /** By packed encoding (see `field-table.ts`), 8 bytes each. */
  fields: lpOffset.vmxTables,
  /** What the two sides of a transition have that is derived from their state (see `sides.ts`). */
  host: lpOffset.vmxTables + 0x2000,
  guest: lpOffset.vmxTables + 0x2200,
} as const;

export const ability = { x2apicRegisters: 1, ipis: 2 } as const;

/** VM exits that have an assistant; u32 counts in this order. */
export const exitKind = { vmcall: 0, cpuid: 1 } as const;

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
