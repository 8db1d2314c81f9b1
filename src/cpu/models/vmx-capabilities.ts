/**
 * What the VMX capability MSRs of a processor read as, one bigint of 64 bits per MSR (IA32_VMX_BASIC and its kin).
 *
 * Control words hold the bits that must be 1 in bits 31:0 and the bits that may be 1 in bits 63:32. Plain data: the rules
 * that read it live in the vmx room.
 */
export interface VmxCapabilities {
  readonly basic: bigint;
  readonly pinbased: bigint;
  readonly procbased: bigint;
  readonly exit: bigint;
  readonly entry: bigint;
  readonly misc: bigint;
  readonly cr0Fixed0: bigint;
  readonly cr0Fixed1: bigint;
  readonly cr4Fixed0: bigint;
  readonly cr4Fixed1: bigint;
  readonly vmcsEnum: bigint;
  readonly procbased2: bigint;
  readonly eptVpidCap: bigint;
  readonly truePinbased: bigint;
  readonly trueProcbased: bigint;
  readonly trueExit: bigint;
  readonly trueEntry: bigint;
  readonly vmfunc: bigint;
}
