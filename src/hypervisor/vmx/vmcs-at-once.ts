/** What a hypervisor of scripts does to its current VMCS without yielding (`OwnOperations`). */
import {
  type OwnOperations,
  type ScriptEnvironment,
  VmxResult,
  vmptrld,
} from "../../isa/operations.ts";
import { vmcsField } from "./architecture.ts";
import { HypervisorError } from "./vmx-operation.ts";

const shadows = 3;

/** Makes a VMCS active and current on this LP. @throws HypervisorError */
export function loadVmcsAtOnce(own: OwnOperations, vmcs: bigint): void {
  if (own.execute(vmptrld(vmcs)) !== VmxResult.Success) {
    throw new HypervisorError(`VMPTRLD of 0x${vmcs.toString(16)} failed`);
  }
}

/** As `writeHostContinuation`. */
export function writeHostContinuationAtOnce({
  host,
  exitPoint,
  own,
}: Pick<ScriptEnvironment, "host" | "exitPoint" | "own">): void {
  own.vmwrite(vmcsField.hostRsp, host.stackTop);
  own.vmwrite(vmcsField.hostRip, exitPoint);
}

/** As `skipInstruction`. */
export function skipInstructionAtOnce(own: OwnOperations): void {
  const length = own.vmreadLow(vmcsField.exitInstructionLength);
  own.vmwrite(vmcsField.guestRip, own.vmread(vmcsField.guestRip) + BigInt(length));
  const interruptibility = own.vmreadLow(vmcsField.guestInterruptibility);
  if ((interruptibility & shadows) !== 0) {
    own.vmwriteLow(vmcsField.guestInterruptibility, interruptibility & ~shadows);
  }
}
