/** Bits of the control, debug and flags registers, by the manual's names. All fit an unsigned 32-bit number. */
export const cr0Bit = {
  PE: 1 << 0,
  MP: 1 << 1,
  EM: 1 << 2,
  TS: 1 << 3,
  ET: 1 << 4,
  NE: 1 << 5,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 0x8000_0000,
} as const;

export const cr4Bit = {
  VME: 1 << 0,
  PVI: 1 << 1,
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  MCE: 1 << 6,
  PGE: 1 << 7,
  PCE: 1 << 8,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  UMIP: 1 << 11,
  VMXE: 1 << 13,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
  PKE: 1 << 22,
  PKS: 1 << 24,
} as const;

export const eferBit = { SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

export const flagBit = {
  CF: 1 << 0,
  fixed: 1 << 1,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;

/** The flags that exist; everything else of RFLAGS is fixed. */
export const flagsDefined = 0x3f_7fd5;

export const dr6Bit = {
  B0: 1 << 0,
  B1: 1 << 1,
  B2: 1 << 2,
  B3: 1 << 3,
  BD: 1 << 13,
  BS: 1 << 14,
  BT: 1 << 15,
} as const;
/** DR6 after reset: the bits that always read as one, and RTM and bus lock, which are active low. */
export const dr6Reset = 0xffff_0ff0;

export const dr7Bit = { LE: 1 << 8, GE: 1 << 9, fixed: 1 << 10, GD: 1 << 13 } as const;
export const dr7Reset = 0x400;

export const apicBaseBit = { BSP: 1 << 8, x2apic: 1 << 10, enable: 1 << 11 } as const;

/** Bits of segment access rights in the layout of the window (see `segmentOffset.rights`). */
export const rightsBit = {
  accessed: 1 << 0,
  /** Data: writable. Code: readable. */
  writable: 1 << 1,
  readable: 1 << 1,
  /** Data: grows down. */
  expandDown: 1 << 2,
  conforming: 1 << 2,
  code: 1 << 3,
  nonSystem: 1 << 4,
  dpl: 3 << 5,
  present: 1 << 7,
  available: 1 << 12,
  long: 1 << 13,
  big: 1 << 14,
  granular: 1 << 15,
  unusable: 1 << 16,
} as const;
