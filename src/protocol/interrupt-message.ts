/**
 * The interrupt message: what a local APIC, an I/O APIC or an MSI puts on the interrupt bus.
 *
 * ```
 *   sender ── InterruptMessage ──▶ fabric ── one mailbox entry per destination ──▶ target LP
 * ```
 */
export const DeliveryMode = {
  Fixed: 0,
  LowestPriority: 1,
  Smi: 2,
  Nmi: 4,
  Init: 5,
  Startup: 6,
  ExtInt: 7,
} as const;
export type DeliveryMode = (typeof DeliveryMode)[keyof typeof DeliveryMode];

export const Shorthand = { None: 0, Self: 1, AllIncludingSelf: 2, AllExcludingSelf: 3 } as const;
export type Shorthand = (typeof Shorthand)[keyof typeof Shorthand];

export interface InterruptMessage {
  readonly vector: number;
  readonly deliveryMode: DeliveryMode;
  readonly logical: boolean;
  /** True for level triggered. */
  readonly level: boolean;
  /** False: an INIT level de-assert. */
  readonly assert: boolean;
  readonly shorthand: Shorthand;
  /** Destination: 8 bits in xAPIC format, 32 bits in x2APIC format. */
  readonly destination: number;
  /** Destination is in x2APIC format (32 bits). */
  readonly wide: boolean;
  /** Index of the sending LP, or -1 for a device. */
  readonly source: number;
}
