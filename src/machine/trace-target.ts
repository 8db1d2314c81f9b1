import type { Clock, TraceSink } from "../cpu/ports.ts";

/**
 * Where a run's events go. Drivers know only this: actors on the driver's own thread get a sink, an actor on a thread of its
 * own gets the name of a part file, and its worker writes there.
 */
export interface TraceTarget {
  /** @param source who reports: an LP's index, -1 for the platform */
  sink(source: number, clock: Clock): TraceSink;
  partFile(source: number): string;
}

/** The source number of devices. */
export const platformSource = -1;

/** An event log that a worker writes, and how it opens one. */
export interface TracePart {
  sink(source: number, clock: Clock): TraceSink;
  close(): void;
}
export type OpenTracePart = (file: string) => TracePart;
