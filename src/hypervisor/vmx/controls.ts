import { rdmsr, type Steps } from "../../isa/operations.ts";
import {
  entryControl,
  exitControl,
  msr,
  pin,
  primary,
  secondary,
  tertiary,
} from "./architecture.ts";

/** What a vCPU is to have; the processor decides what of it there is ("Reserved Controls and Default Settings"). */
export interface ControlRequest {
  /** Physical and virtual interrupts are posted: needs virtual-interrupt delivery. */
  readonly posting: boolean;
  /** IPIs of the guest are posted by the processor. */
  readonly ipiVirtualization: boolean;
  /** PAUSE loops exit. */
  readonly pauseLoops: boolean;
  /** HLT exits; else the guest rests in non-root operation. */
  readonly hltExiting: boolean;
  /** A slice ends by the VMX-preemption timer. */
  readonly preemptionTimer: boolean;
}

/** The control words as they go into a VMCS. */
export interface ControlWords {
  readonly pin: bigint;
  readonly primary: bigint;
  readonly secondary: bigint;
  /** Zero when the word is not activated. */
  readonly tertiary: bigint;
  readonly exit: bigint;
  readonly entry: bigint;
}

const trueControls = 1n << 55n;
const low = (value: bigint): bigint => value & 0xffff_ffffn;

/** The bits wished for that may be 1, and those that must be. */
const settle = (wished: number, capability: bigint): bigint =>
  (BigInt(wished >>> 0) | low(capability)) & (capability >> 32n);

/** Asks the capability MSRs for the control words that come nearest to the request. */
export function* chooseControls(request: ControlRequest): Steps<ControlWords> {
  const hasTrue = ((yield rdmsr(msr.vmxBasic)) & trueControls) !== 0n;
  const apic = request.posting || request.ipiVirtualization;
  const pinWord = settle(
    pin.externalInterruptExiting |
      pin.nmiExiting |
      (request.preemptionTimer ? pin.preemptionTimer : 0) |
      (request.posting ? pin.postedInterrupts : 0),
    yield rdmsr(hasTrue ? msr.truePinControls : msr.pinControls),
  );
  const primaryWord = settle(
    primary.activateSecondary |
      primary.msrBitmaps |
      primary.tscOffsetting |
      primary.unconditionalIo |
      (request.hltExiting ? primary.hltExiting : 0) |
      (apic ? primary.tprShadow : 0) |
      (request.ipiVirtualization ? primary.activateTertiary : 0),
    yield rdmsr(hasTrue ? msr.truePrimaryControls : msr.primaryControls),
  );
  const secondaryWord = settle(
    secondary.ept |
      secondary.vpid |
      (request.pauseLoops ? secondary.pauseLoopExiting : 0) |
      (apic
        ? secondary.virtualizeX2apic | secondary.apicRegisters | secondary.virtualInterruptDelivery
        : 0),
    yield rdmsr(msr.secondaryControls),
  );
  const hasTertiary = (primaryWord & BigInt(primary.activateTertiary)) !== 0n;
  const tertiaryWord = hasTertiary
    ? (yield rdmsr(msr.tertiaryControls)) &
      BigInt(request.ipiVirtualization ? tertiary.ipiVirtualization : 0)
    : 0n;
  const exit = settle(
    exitControl.hostAddressSpaceSize |
      exitControl.acknowledgeInterrupt |
      exitControl.saveEfer |
      exitControl.loadEfer |
      (request.preemptionTimer ? exitControl.savePreemptionTimer : 0),
    yield rdmsr(hasTrue ? msr.trueExitControls : msr.exitControls),
  );
  const entry = settle(
    entryControl.ia32eModeGuest | entryControl.loadEfer,
    yield rdmsr(hasTrue ? msr.trueEntryControls : msr.entryControls),
  );
  return {
    pin: pinWord,
    primary: primaryWord,
    secondary: secondaryWord,
    tertiary: tertiaryWord,
    exit,
    entry,
  };
}
