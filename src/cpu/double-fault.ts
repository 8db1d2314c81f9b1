/** "Conditions for Generating a Double Fault": what a fault during the delivery of another event amounts to. */
import type { DeliveredEvent } from "./ports.ts";
import { type Fault, Vector } from "./trap.ts";

type Kind = "benign" | "contributory" | "page fault" | "double fault";

const contributory: readonly number[] = [Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP, 21];

function kindOf(vector: number): Kind {
  if (vector === Vector.PF || vector === Vector.VE) {
    return "page fault";
  }
  if (vector === Vector.DF) {
    return "double fault";
  }
  return contributory.includes(vector) ? "contributory" : "benign";
}

const doubles: Readonly<Record<Kind, readonly Kind[]>> = {
  benign: [],
  contributory: ["contributory"],
  "page fault": ["contributory", "page fault"],
  "double fault": ["contributory", "page fault"],
};

/** The event of an exception. */
export function exceptionEvent(fault: Fault): DeliveredEvent {
  return {
    vector: fault.vector,
    type: 3,
    errorCode: fault.errorCode,
    instructionLength: 0,
    qualification: fault.qualification,
  };
}

const doubleFault: DeliveredEvent = {
  vector: Vector.DF,
  type: 3,
  errorCode: 0,
  instructionLength: 0,
  qualification: 0n,
};

/** @returns the event to deliver next, or undefined for a triple fault */
export function afterFault(during: DeliveredEvent, fault: Fault): DeliveredEvent | undefined {
  const first = during.type === 3 ? kindOf(during.vector) : "benign";
  if (!doubles[first].includes(kindOf(fault.vector))) {
    return exceptionEvent(fault);
  }
  return first === "double fault" ? undefined : doubleFault;
}
