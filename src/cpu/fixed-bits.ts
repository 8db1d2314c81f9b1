/** Bits of CR0 and CR4 that VMX operation fixes: those that must be 1, and those that may be. */
export interface FixedBits {
  readonly cr0Ones: number;
  readonly cr0Allowed: number;
  readonly cr4Ones: number;
  readonly cr4Allowed: number;
}

/** Outside VMX operation. */
export const noFixedBits: FixedBits = {
  cr0Ones: 0,
  cr0Allowed: 0xffff_ffff,
  cr4Ones: 0,
  cr4Allowed: 0xffff_ffff,
};
