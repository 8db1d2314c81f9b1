import type { Assistant } from "../execution/core.ts";
import type { RunExit } from "../execution/core-host.ts";
import type { Tlb } from "../execution/tlb.ts";

/** What the cpu room uses of the execution core. `ExecutionCore` has this shape; a scripted instruction source may too. */
export interface CorePort {
  readonly tlb: Tlb;
  /** Drops decoded code that another LP or a device has written to. */
  readonly cache: { dropChanged(): void };
  /** Instructions retired since reset. */
  readonly retired: number;
  /** Runs at most `budget` instructions. Traps of the host pass through. */
  run(budget: number): RunExit;
  /**
   * After a trap: accounts for the instruction that did not retire and puts its address into RIP. A second call does nothing,
   * so that who replaces the processor's state in the middle of an instruction (VM exit) calls it first.
   */
  trapped(): void;
  /** CS, SS.B, CR0.PE, EFER.LMA, CPL or the address space has changed. */
  codeContextChanged(): void;
  /** A page that holds decoded code is written to. */
  codeWritten(physical: number, size: number): void;
  /** Another LP is about to decode code: stores are to ask again. */
  dropWritePermission(): void;
  /** Clock value at which work that touches nothing will be done; the LP need not be run before, but for an event. */
  readonly busyUntil?: number | undefined;
  /** Gives a system instruction, by iced's number of its encoding, an assistant in Wasm. A core without machine code has none. */
  assist?(code: number, assistant: Assistant): void;
  /** The same for an assistant that leads from the program to nowhere but its own handlers. */
  assistLocally?(code: number, assistant: Assistant): void;
  /** Makes known what may attend to events between blocks of machine code. @returns its place, for `lpOffset.attendant` */
  addAttendant?(attendant: Assistant): number;
  /** Before events are looked at: work under way has got as far as the clock says. */
  putDownWork?(): void;
}
