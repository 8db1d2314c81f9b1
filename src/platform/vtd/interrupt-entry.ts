import type { DeliveryMode } from "../../protocol/interrupt-message.ts";
import { isDeviceDeliveryMode } from "../msi-message.ts";
import { comparedBits } from "./context-cache.ts";

/**
 * Interrupt remapping table entry: four words.
 *
 * ```
 *   word 0   23:16 vector   15 IM   14 URG (posted)   7:5 delivery mode   4 trigger   3 RH   2 DM   1 FPD   0 P
 *   word 1   remapped: destination        posted: descriptor address 31:6
 *   word 2   19:18 SVT   17:16 SQ   15:0 SID
 *   word 3   posted: descriptor address 63:32
 * ```
 */
export const entryWords = 4;

export const EntryBit = {
  Present: 1 << 0,
  Quiet: 1 << 1,
  Logical: 1 << 2,
  RedirectionHint: 1 << 3,
  Level: 1 << 4,
  Urgent: 1 << 14,
  Posted: 1 << 15,
} as const;

const reservedBits = {
  /** Words 0 to 3 of a remapped entry. */
  remapped: [0xff00_7000, 0, 0xfff0_0000, 0xffff_ffff],
  /** Of a remapped entry whose destination has eight bits, in 15:8 of word 1. */
  narrowDestination: 0xffff_00ff,
  posted: [0xff00_30fc, 0x3f, 0xfff0_0000, 0],
} as const;

/** How the source of a request is checked (SVT). */
const SourceCheck = { None: 0, Id: 1, BusRange: 2 } as const;

export const entryVector = (word0: number): number => (word0 >>> 16) & 0xff;
export const entryDeliveryMode = (word0: number): DeliveryMode =>
  ((word0 >>> 5) & 7) as DeliveryMode;

export interface EntryRules {
  /** Extended interrupt mode: destinations have 32 bits. */
  readonly wide: boolean;
  readonly posting: boolean;
}

/** Something is set in a present entry that must not be, or has a value that means nothing. */
export function isEntryReserved(
  words: Int32Array,
  at: number,
  { wide, posting }: EntryRules,
): boolean {
  const word0 = words[at] ?? 0;
  const isPosted = (word0 & EntryBit.Posted) !== 0;
  const reserved = isPosted ? reservedBits.posted : reservedBits.remapped;
  for (let n = 0; n < entryWords; n++) {
    if (((words[at + n] ?? 0) & (reserved[n] ?? 0)) !== 0) {
      return true;
    }
  }
  if (sourceCheckOf(words[at + 2] ?? 0) > SourceCheck.BusRange) {
    return true;
  }
  if (isPosted) {
    return !posting;
  }
  const hasWideDestination = ((words[at + 1] ?? 0) & reservedBits.narrowDestination) !== 0;
  return (hasWideDestination && !wide) || !isDeviceDeliveryMode((word0 >>> 5) & 7);
}

/** "Validation of Original Interrupt Requests": whether this function may use the entry. */
export function isSourceValid(word2: number, requester: number): boolean {
  const source = word2 & 0xffff;
  switch (sourceCheckOf(word2)) {
    case SourceCheck.None:
      return true;
    case SourceCheck.Id: {
      const compared = comparedBits[(word2 >>> 16) & 3] ?? 0xffff;
      return ((source ^ requester) & compared) === 0;
    }
    case SourceCheck.BusRange: {
      const bus = requester >>> 8;
      return bus >= source >>> 8 && bus <= (source & 0xff);
    }
    default:
      return false;
  }
}

const sourceCheckOf = (word2: number): number => (word2 >>> 18) & 3;
