import { UserError } from "../machine/user-error.ts";

/** The options of `vmxon sched bench` as the parser leaves them. */
export interface SchedOptions {
  readonly policy?: string;
  readonly scenario: readonly string[];
  readonly overcommit: readonly number[];
  readonly lps?: number;
  /** Milliseconds. */
  readonly duration?: number;
  readonly seeds: number;
  readonly seed: number;
  readonly cost: string;
  readonly sensitivity?: boolean;
  readonly check?: boolean;
  readonly threads?: number;
  readonly json?: string;
  readonly csv?: string;
  readonly report?: string;
  readonly trace?: string;
}

/** The options of `vmxon sched shapes`. */
export interface ShapeOptions {
  readonly row?: readonly number[];
  readonly seeds: number;
  readonly seed: number;
  readonly cost: string;
  readonly sensitivity: boolean;
  readonly threads?: number;
  readonly json?: string;
}

/** Numbers of rows apart by commas. @throws {UserError} */
export function parseRows(text: string): readonly number[] {
  return [...new Set(text.split(",").map(wholeNumber("--row", 1, 99)))];
}

/** Parses a whole number within bounds. @throws {UserError} */
export function wholeNumber(option: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new UserError(`${option} ${text}: give a whole number from ${least} to ${most}`);
  };
}

/** Overcommits: whole numbers apart by commas. @throws {UserError} */
export function parseOvercommits(text: string): readonly number[] {
  return [...new Set(text.split(",").map(wholeNumber("--overcommit", 1, 16)))];
}

/** @throws {UserError} not a positive number of milliseconds, or more than a minute */
export function parseDuration(text: string): number {
  const value = Number(text);
  if (/^\d+(\.\d+)?$/.test(text) && value > 0 && value <= 60_000) return value;
  throw new UserError(`--duration ${text}: give milliseconds of simulated time, up to 60000`);
}
