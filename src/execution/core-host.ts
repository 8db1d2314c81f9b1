/**
 * What the execution core asks of the processor around it. Any of these may throw a trap object (an exception to deliver, a
 * VM exit taken): it unwinds the generated code, and the instruction at `lpOffset.current` has then not retired.
 *
 * Before each call the core has put into the window: `current` (record being executed), `rip`-independent lazy flags, and
 * `remaining`. After each call it reads them again.
 */
export interface CoreHost {
  /**
   * Executes a system instruction.
   * @param record address of its record
   * @returns an `Outcome`
   */
  system(record: number): number;
  /**
   * A data access that missed the TLB (also: crosses a page, is MMIO, needs a check). Linear address in `argument0`.
   * @param size bytes, 1..64
   * @param kind see `AccessKind`
   * @returns address in the shared memory to access: the page itself, or the bounce buffer, which then already holds the data
   */
  access(size: number, kind: number): number;
  /** Write-back of a bounce buffer that `access` handed out for writing: size and place as of that call. */
  commit(): void;
  /** A store that missed: linear address in `argument0`, value in `argument1`. */
  store(size: number): void;
  /** Raises an exception: vector in the low byte, bit 8 set when an error code follows in bits 31:16. Always throws. */
  raise(exception: number): void;
  /**
   * An assistant has changed what the host keeps a copy of (`lpOffset.assisted` is not 0): called before anything else is asked
   * of the host, and before a run comes back. A host that gives no instruction an assistant needs none.
   */
  catchUp?(): void;
  /**
   * Translates RIP for an instruction fetch and sets `fetchTag`, `fetchPage` in the window.
   * @returns physical address of RIP
   */
  fetch(): number;
}

/** Outcome of a system instruction. */
export const Outcome = {
  /** Retired; go on with the next instruction. */
  Next: 0,
  /** RIP in the window is where to go on (control transfer, fault delivered, VM entry or exit). */
  Jump: 1,
  /** As Next, then leave the run: something needs the driver's or the event window's attention. */
  NextAndLeave: 2,
  /** As Jump, then leave the run. */
  JumpAndLeave: 3,
  /** The instruction has done part of its work and is to be executed again (REP at an event); leave nothing counted. */
  Again: 4,
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];

/**
 * What an assistant answers: a function in Wasm that does the common case of a system instruction, called with the address of
 * the record. RIP in the window is the instruction's; what it leaves alone is executed by `CoreHost.system`.
 *
 * The attendant answers in the same terms: what was pending before a block is attended to, has led elsewhere (mode and address
 * space stay), or is left to TypeScript.
 */
export const Assistance = {
  /** Retired; go on with the next instruction. */
  Done: 0,
  /** RIP, decode mode and address space are new in the window. */
  Jump: 1,
  /** Nothing has been done. */
  None: 2,
} as const;

export const AccessKind = { Read: 0, Write: 1, ReadWrite: 2 } as const;

/** Why `Core.run` came back. */
export const RunExit = {
  /** Budget used up to the last instruction. */
  Budget: 0,
  /** A pending bit is set. */
  Pending: 1,
  /** A system instruction asked to leave. */
  Left: 2,
} as const;
export type RunExit = (typeof RunExit)[keyof typeof RunExit];
