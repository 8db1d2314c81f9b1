/** A descriptor of the DMA engine's ring: eight little-endian words. */
export const descriptorBytes = 32;
export const descriptorOffset = {
  source: 0,
  destination: 8,
  length: 16,
  flags: 20,
  /** Written by the engine: status, then bytes moved or the sum. */
  status: 24,
  result: 28,
} as const;

/** More: the next descriptor belongs to the same transfer. */
export const descriptorFlag = { interrupt: 1, more: 2 } as const;
const operationShift = 4;
export const DmaOperation = { Copy: 0, Fill: 1, Sum: 2 } as const;
export type DmaOperation = (typeof DmaOperation)[keyof typeof DmaOperation];
const knownFlags = descriptorFlag.interrupt | descriptorFlag.more | (0xf << operationShift);

/** What has become of a descriptor, in bits 7:0 of its status. */
export const DmaError = {
  None: 0,
  BadDescriptor: 1,
  SourceBlocked: 2,
  DestinationBlocked: 3,
  /** An earlier descriptor of the same transfer has failed. */
  Abandoned: 4,
  /** These two stop the engine, and show in its status register alone. */
  FetchBlocked: 5,
  WriteBackBlocked: 6,
} as const;
export type DmaError = (typeof DmaError)[keyof typeof DmaError];
/** Bit of the status word: the engine is done with the descriptor. */
export const statusDone = 0x8000_0000;

/** Longest transfer of one descriptor. */
export const transferBytesMax = 2 ** 20;

export interface DmaDescriptor {
  readonly source: bigint;
  readonly destination: bigint;
  readonly length: number;
  readonly flags: number;
  readonly operation: number;
}

export function parseDescriptor(view: DataView): DmaDescriptor {
  const flags = view.getUint32(descriptorOffset.flags, true);
  return {
    source: view.getBigUint64(descriptorOffset.source, true),
    destination: view.getBigUint64(descriptorOffset.destination, true),
    length: view.getUint32(descriptorOffset.length, true),
    flags,
    operation: (flags >>> operationShift) & 0xf,
  };
}

export function isGoodDescriptor({ length, flags, operation }: DmaDescriptor): boolean {
  const isKnown = (flags & ~knownFlags) === 0 && operation <= DmaOperation.Sum;
  return isKnown && length > 0 && length <= transferBytesMax;
}
