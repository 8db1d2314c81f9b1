import { FaultReason } from "../../../src/platform/vtd/fault-reasons.ts";

/** What becomes of a request: the host's address, or why it is blocked. */
export type Translation = { readonly address: bigint } | { readonly reason: number };

export interface ReferenceMachine {
  /** The quadword at an address, undefined outside RAM. */
  readonly load: (address: bigint) => bigint | undefined;
  readonly rootTable: bigint;
  readonly hostAddressBits: bigint;
}

/** Bits `high` to `low` of a value. */
const field = (value: bigint, high: bigint, low: bigint): bigint =>
  (value >> low) & ((1n << (high - low + 1n)) - 1n);

/**
 * The translation of a DMA request in legacy mode, written down from the description of the tables and with no thought for speed: the
 * judge of the one that is used.
 */
export function referenceTranslation(
  machine: ReferenceMachine,
  requester: number,
  address: bigint,
  isWrite: boolean,
): Translation {
  const { hostAddressBits: width } = machine;
  const context = findContext(machine, requester);
  if ("reason" in context) return context;
  const { type, levels, table } = context;
  if (type === 2n) {
    return address < 1n << width ? { address } : { reason: FaultReason.AddressBeyondWidth };
  }
  return address < 1n << (12n + 9n * levels)
    ? walk(machine, table, levels, address, isWrite)
    : { reason: FaultReason.AddressBeyondWidth };
}

interface Context {
  readonly type: bigint;
  readonly levels: bigint;
  readonly table: bigint;
}

function findContext(
  { load, rootTable, hostAddressBits: width }: ReferenceMachine,
  requester: number,
): Context | { readonly reason: number } {
  const bus = BigInt(requester >> 8);
  const deviceAndFunction = BigInt(requester & 0xff);

  const rootLow = load(rootTable + bus * 16n);
  const rootHigh = load(rootTable + bus * 16n + 8n);
  if (rootLow === undefined || rootHigh === undefined) {
    return { reason: FaultReason.RootTableAccess };
  }
  if (field(rootLow, 0n, 0n) === 0n) return { reason: FaultReason.RootNotPresent };
  if (field(rootLow, 11n, 1n) !== 0n || field(rootLow, 63n, width) !== 0n || rootHigh !== 0n) {
    return { reason: FaultReason.RootReserved };
  }

  const contextTable = field(rootLow, width - 1n, 12n) << 12n;
  const low = load(contextTable + deviceAndFunction * 16n);
  const high = load(contextTable + deviceAndFunction * 16n + 8n);
  if (low === undefined || high === undefined) return { reason: FaultReason.ContextTableAccess };
  if (field(low, 0n, 0n) === 0n) return { reason: FaultReason.ContextNotPresent };
  const reserved = [
    field(low, 11n, 4n),
    field(low, 63n, width),
    field(high, 7n, 7n),
    field(high, 63n, 24n),
  ];
  if (reserved.some((bits) => bits !== 0n)) return { reason: FaultReason.ContextReserved };
  const type = field(low, 3n, 2n);
  const levels = field(high, 2n, 0n) + 2n;
  if (type === 3n || levels < 3n || levels > 5n) return { reason: FaultReason.ContextInvalid };
  return { type, levels, table: field(low, width - 1n, 12n) << 12n };
}

function walk(
  { load, hostAddressBits: width }: ReferenceMachine,
  highest: bigint,
  levels: bigint,
  address: bigint,
  isWrite: boolean,
): Translation {
  const denied = isWrite ? FaultReason.WriteNotPermitted : FaultReason.ReadNotPermitted;
  const needed = isWrite ? 1n : 0n;
  let table = highest;
  for (let level = levels; ; level--) {
    const shift = 12n + 9n * (level - 1n);
    const entry = load(table + field(address, shift + 8n, shift) * 8n);
    if (entry === undefined) return { reason: FaultReason.PageTableAccess };
    if (field(entry, 1n, 0n) === 0n) return { reason: denied };
    const isLeaf = level === 1n || field(entry, 7n, 7n) === 1n;
    const isBroken =
      field(entry, 51n, width) !== 0n ||
      (!isLeaf && field(entry, 11n, 11n) !== 0n) ||
      (isLeaf && level > 3n) ||
      (isLeaf && level > 1n && field(entry, shift - 1n, 12n) !== 0n);
    if (isBroken) return { reason: FaultReason.PageTableReserved };
    if (field(entry, needed, needed) === 0n) return { reason: denied };
    const next = field(entry, width - 1n, 12n) << 12n;
    if (isLeaf) return { address: next + field(address, shift - 1n, 0n) };
    table = next;
  }
}
