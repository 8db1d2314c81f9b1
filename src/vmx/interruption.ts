/** The interruption-information formats: VM-entry and VM-exit interruption information and IDT-vectoring information. */
export const InterruptionType = {
  External: 0,
  Reserved: 1,
  Nmi: 2,
  HardwareException: 3,
  /** INT n */
  SoftwareInterrupt: 4,
  /** INT1 */
  PrivilegedSoftwareException: 5,
  /** INT3, INTO */
  SoftwareException: 6,
  /** A pending monitor-trap-flag exit, in VM-entry interruption information only. */
  Other: 7,
} as const;

/** Bits beside vector (7:0) and type (10:8). */
export const interruptionBit = {
  errorCode: 1 << 11,
  /** VM-exit interruption information: the event hit an IRET that had already unblocked NMIs. */
  nmiUnblocked: 1 << 12,
  valid: 1 << 31,
} as const;

/** Whether an event of this type is the work of an instruction, which delivery then skips. */
export function isSoftwareEvent(type: number): boolean {
  return type >= InterruptionType.SoftwareInterrupt && type <= InterruptionType.SoftwareException;
}
