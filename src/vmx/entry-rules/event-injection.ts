import { primary, secondary } from "../controls.ts";
import { instructionError } from "../instruction-errors.ts";
import { InterruptionType, interruptionBit, isSoftwareEvent } from "../interruption.ts";
import { slot } from "../vmcs-fields.ts";
import type { EntryContext } from "./entry-context.ts";
import { type Condition, failValid, type RuleGroup, ruleMaker } from "./entry-rule.ts";

/** The event-injection part of "VM-Entry Control Fields". */
const rule = ruleMaker(failValid(instructionError.entryControls));

const typeOf = (e: EntryContext): number => (e.injection >>> 8) & 7;
const vectorOf = (e: EntryContext): number => e.injection & 0xff;
const deliversErrorCode = (e: EntryContext): boolean =>
  (e.injection & interruptionBit.errorCode) !== 0;

/** Vectors of exceptions that push an error code: #DF #TS #NP #SS #GP #PF #AC. */
const errorCodeVectors = 0x0002_7d00;

const hasErrorCodeVector = (e: EntryContext): boolean =>
  vectorOf(e) < 32 && ((errorCodeVectors >>> vectorOf(e)) & 1) !== 0;

/** The guest will be in real mode: only possible when it is unrestricted. */
const isRealModeGuest = (e: EntryContext): boolean =>
  (e.secondary & secondary.unrestrictedGuest) !== 0 && (e.low(slot.guestCr0) & 1) === 0;

function narrow(text: string, applies: (e: EntryContext) => boolean): Condition {
  return {
    text: `an event is injected and ${text}`,
    applies: (e) => (e.injection & interruptionBit.valid) !== 0 && applies(e),
  };
}
const injects: Condition = {
  text: "an event is injected",
  applies: (e) => (e.injection & interruptionBit.valid) !== 0,
};
const ofType = (type: number, name: string): Condition =>
  narrow(`its type is ${name}`, (e) => typeOf(e) === type);
const isSoftware = narrow("it comes from an instruction", (e) => isSoftwareEvent(typeOf(e)));

export const eventInjectionRules: RuleGroup = {
  name: "event-injection",
  reads: [
    "primaryControls",
    "secondaryControls",
    "entryInterruptionInformation",
    "entryExceptionErrorCode",
    "entryInstructionLength",
    "guestCr0",
  ],
  rules: [
    rule(
      "INJ-01",
      "the interruption type is not the reserved 1",
      (e) => typeOf(e) !== InterruptionType.Reserved,
      injects,
    ),
    rule(
      "INJ-02",
      "the monitor trap flag is supported",
      (e) => (e.profile.primary.mayBeOne & primary.monitorTrapFlag) !== 0,
      ofType(InterruptionType.Other, "other event"),
    ),
    rule(
      "INJ-03",
      "the vector is 2",
      (e) => vectorOf(e) === 2,
      ofType(InterruptionType.Nmi, "NMI"),
    ),
    rule(
      "INJ-04",
      "the vector is at most 31",
      (e) => vectorOf(e) <= 31,
      ofType(InterruptionType.HardwareException, "hardware exception"),
    ),
    rule(
      "INJ-05",
      "the vector is 0",
      (e) => vectorOf(e) === 0,
      ofType(InterruptionType.Other, "other event"),
    ),
    rule(
      "INJ-06",
      "the event is a hardware exception in protected mode whose vector has an error code",
      (e) =>
        typeOf(e) === InterruptionType.HardwareException &&
        !isRealModeGuest(e) &&
        (e.profile.injectsAnyErrorCode || hasErrorCodeVector(e)),
      narrow("it delivers an error code", deliversErrorCode),
    ),
    rule(
      "INJ-07",
      "no error code is delivered",
      (e) => !deliversErrorCode(e),
      narrow(
        "its type is not hardware exception",
        (e) => typeOf(e) !== InterruptionType.HardwareException,
      ),
    ),
    rule(
      "INJ-08",
      "no error code is delivered",
      (e) => !deliversErrorCode(e),
      narrow("the guest is in real mode", isRealModeGuest),
    ),
    rule(
      "INJ-09",
      "an error code is delivered",
      deliversErrorCode,
      narrow(
        "it is a hardware exception in protected mode whose vector has an error code, where the processor insists",
        (e) =>
          typeOf(e) === InterruptionType.HardwareException &&
          !isRealModeGuest(e) &&
          !e.profile.injectsAnyErrorCode &&
          hasErrorCodeVector(e),
      ),
    ),
    rule("INJ-10", "bits 30:12 are 0", (e) => (e.injection & 0x7fff_f000) === 0, injects),
    rule(
      "INJ-11",
      "bits 31:16 of the error code are 0",
      (e) => e.low(slot.entryExceptionErrorCode) >>> 16 === 0,
      narrow("it delivers an error code", deliversErrorCode),
    ),
    rule(
      "INJ-12",
      "the instruction length is at most 15",
      (e) => e.low(slot.entryInstructionLength) <= 15,
      isSoftware,
    ),
    rule(
      "INJ-13",
      "the instruction length is not 0",
      (e) => e.low(slot.entryInstructionLength) !== 0,
      narrow(
        "it comes from an instruction, where the processor refuses length 0",
        (e) => isSoftwareEvent(typeOf(e)) && !e.profile.injectsZeroLength,
      ),
    ),
  ],
};
