/** What software owes the processor when VMCSs move between LPs; the numbers are stable, and appear in findings. */
export const invariants = {
  1: "a VMCS is active on at most one LP",
  2: "an LP has one current VMCS, active there, when it enters a guest",
  3: "VMLAUNCH finds the VMCS clear, VMRESUME finds it launched",
  4: "VMREAD and VMWRITE are executed while a VMCS is current",
  5: "a VMCS is loaded on another LP only after VMCLEAR on the LP it was active on",
  6: "no VMCS is active at VMXOFF",
  7: "VMCLEAR is executed on the LP on which the VMCS is active",
  19: "RVI and SVI change only through their VMCS, and VIRR has the bit of RVI",
} as const;

export type InvariantNumber = keyof typeof invariants;

/** An invariant that did not hold. */
export interface Violation {
  readonly invariant: InvariantNumber;
  /** What has been found. */
  readonly text: string;
  readonly lp: number;
  /** Physical address; -1 when there was no VMCS. */
  readonly vmcs: number;
  readonly instruction: string;
  readonly rip: bigint;
  /** Where in the trace: the clock, and the number of the event among those of this LP, from 1. */
  readonly time: number;
  readonly event: number;
  /** How often the same was found. */
  readonly times: number;
}

/** One line. */
export function describeViolation(violation: Violation): string {
  const { invariant, text, lp, vmcs, instruction, rip, time, event, times } = violation;
  const which = vmcs < 0 ? "no VMCS" : `VMCS 0x${vmcs.toString(16)}`;
  const place = `${instruction} at rip 0x${rip.toString(16)}, cycle ${time}, event ${event} of LP ${lp}`;
  const again = times > 1 ? ` (${times} times)` : "";
  return `invariant ${invariant} (${invariants[invariant]}): ${text}; LP ${lp}, ${which}, ${place}${again}`;
}

/** Thrown to stop the machine at the first violation. */
export class InvariantViolated extends Error {
  override readonly name = "InvariantViolated";
}
