/** What a VT-d unit can do; its capability registers say so to software. */
export interface VtdCapabilities {
  /** Width of a physical address, 33 to 52 bits. What is above is reserved in every table. */
  readonly hostAddressBits: number;
  /** Levels of second-stage tables there may be. */
  readonly levels: readonly (3 | 4 | 5)[];
  /** 2 MiB and 1 GiB pages. */
  readonly largePages: boolean;
  /** Bit SNP of second-stage entries. Memory is coherent with or without it. */
  readonly snoopControl: boolean;
  /** Address translation services for functions with TLBs of their own. */
  readonly deviceTlb: boolean;
  readonly passThrough: boolean;
  /** Interrupts with 32-bit destinations. */
  readonly extendedInterruptMode: boolean;
  readonly interruptPosting: boolean;
  /** Fault recording registers, 1 to 128. */
  readonly faultRegisters: number;
}

/** A unit of the kind that comes with server parts. */
export const serverCapabilities: VtdCapabilities = {
  hostAddressBits: 46,
  levels: [3, 4, 5],
  largePages: true,
  snoopControl: true,
  deviceTlb: true,
  passThrough: true,
  extendedInterruptMode: true,
  interruptPosting: true,
  faultRegisters: 8,
};

/** Bits of an address that tables of so many levels translate. */
export const addressBitsOf = (levels: number): number => 12 + 9 * levels;

/** Largest mask of an IOTLB invalidation: 2^18 pages, 1 GiB. */
export const addressMaskMax = 18;
/** Largest mask of an interrupt entry invalidation. */
export const handleMaskMax = 15;
/** Offsets of registers whose place the capability registers tell, in units of 16 bytes. */
export const faultRegistersPlace = 0x22;
export const iotlbRegistersPlace = 0x0f;

const flag = (set: boolean, bit: number): bigint => (set ? 1n << BigInt(bit) : 0n);

/**
 * CAP_REG: 2^16 domains; no write buffers to flush, no protected memory regions, no caching of what is not present; invalidation by
 * page, draining of reads and writes.
 */
export function capabilityRegister(model: VtdCapabilities): bigint {
  const domains = 6n;
  const sagaw = model.levels.reduce((bits, levels) => bits | (1n << BigInt(levels - 2)), 0n);
  const widest = BigInt(addressBitsOf(Math.max(...model.levels)) - 1);
  return (
    domains |
    (sagaw << 8n) |
    (widest << 16n) |
    flag(true, 22) |
    (BigInt(faultRegistersPlace) << 24n) |
    ((model.largePages ? 3n : 0n) << 34n) |
    flag(true, 39) |
    (BigInt(model.faultRegisters - 1) << 40n) |
    (BigInt(addressMaskMax) << 48n) |
    flag(true, 54) |
    flag(true, 55) |
    flag(model.interruptPosting, 59)
  );
}

/**
 * ECAP_REG: table walks are coherent; queued invalidation; interrupt remapping. Not offered: requests with PASID, scalable
 * mode, nested and first-stage translation, page requests, memory types.
 */
export function extendedCapabilityRegister(model: VtdCapabilities): bigint {
  return (
    flag(true, 0) |
    flag(true, 1) |
    flag(model.deviceTlb, 2) |
    flag(true, 3) |
    flag(model.extendedInterruptMode, 4) |
    flag(model.passThrough, 6) |
    flag(model.snoopControl, 7) |
    (BigInt(iotlbRegistersPlace) << 8n) |
    (BigInt(handleMaskMax) << 20n)
  );
}
