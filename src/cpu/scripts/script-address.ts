/**
 * Where scripts lie in the linear address space: a part of its upper half that no translation is ever asked for.
 *
 * ```
 *   FFFFE000_pppaaaa0   entry of program p with argument a
 *   FFFFE001_pppaaaa0   the same, for a gate
 *   FFFFE1ss_sssooooo   stream s, at offset o: operations from 0 to 80000, round and round; C0000 is its exit point
 * ```
 * Addresses are handled as unsigned 32-bit halves.
 */

const entryHigh = 0xffff_e000;
const gateHigh = 0xffff_e001;
const streamHigh = 0xffff_e100;
const streamsPerHigh = 1 << 12;

/** Streams that can exist at once. */
export const streamsMax = 1 << 20;
export const programsMax = 1 << 12;
export const argumentMax = 0xffff;

/** Offsets of operations wrap here. The first one behind is the same as 0: a hypervisor that moves RIP knows of no wrapping. */
export const offsetMask = 0x7_ffff;
const exitOffset = 0xc_0000;

const join = (high: number, low: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

/** Whether scripts are executed at an address, by its upper half. */
export const isScriptAddress = (high: number): boolean => high >>> 9 === entryHigh >>> 9;

export const entryAddress = (program: number, argument: number): bigint =>
  join(entryHigh, (program << 20) | (argument << 4));
export const gateAddress = (program: number, vector: number): bigint =>
  join(gateHigh, (program << 20) | (vector << 4));
/** Linear address of a stream's exit point. */
export const exitPointAddress = (stream: number): bigint =>
  join(streamHighOf(stream), streamLowOf(stream) | exitOffset);

/** Halves of the address of a stream's first operation. */
export const streamHighOf = (stream: number): number =>
  (streamHigh + Math.floor(stream / streamsPerHigh)) >>> 0;
export const streamLowOf = (stream: number): number =>
  ((stream & (streamsPerHigh - 1)) << 20) >>> 0;

/** What lies at a script address. */
export const ScriptPlace = { Entry: 0, Gate: 1, Operation: 2, Exit: 3 } as const;
export type ScriptPlace = (typeof ScriptPlace)[keyof typeof ScriptPlace];

export function placeAt(high: number, low: number): ScriptPlace {
  if (high >>> 0 === entryHigh) return ScriptPlace.Entry;
  if (high >>> 0 === gateHigh) return ScriptPlace.Gate;
  return (low & exitOffset) === exitOffset ? ScriptPlace.Exit : ScriptPlace.Operation;
}
export const programAt = (low: number): number => low >>> 20;
export const argumentAt = (low: number): number => (low >>> 4) & argumentMax;
export const streamAt = (high: number, low: number): number =>
  ((high >>> 0) - streamHigh) * streamsPerHigh + (low >>> 20);
