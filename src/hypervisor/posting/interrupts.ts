import { type Steps, wrmsr } from "../../isa/operations.ts";
import { msr } from "../vmx/architecture.ts";

/** A fixed interrupt for one LP, by its x2APIC id. */
export function* sendInterrupt(apicId: number, vector: number): Steps<void> {
  yield wrmsr(msr.x2apicCommand, (BigInt(apicId) << 32n) | BigInt(vector));
}

export function* endOfInterrupt(): Steps<void> {
  yield wrmsr(msr.x2apicEoi, 0n);
}
