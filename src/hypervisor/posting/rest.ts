import { load, type Steps } from "../../isa/operations.ts";
import { outstanding } from "../vmx/posted-interrupts.ts";
import { controlOf } from "./descriptor.ts";
import { machineField, VcpuState, vcpuBlock, vcpuField } from "./posting-memory.ts";

/**
 * Whether the vCPU sleeps: it counts as asleep, and no LP has it in its hands. An LP that puts a vCPU down says first that it is
 * asleep and then looks for what has come for it; until it lets go, the vCPU may go on.
 */
export function* isAsleep(vcpu: number): Steps<boolean> {
  const block = vcpuBlock(vcpu);
  if ((yield load(block + vcpuField.state)) !== VcpuState.Blocked) return false;
  return (yield load(block + vcpuField.held)) === 0n;
}

export function* allAsleep(vcpus: number): Steps<boolean> {
  for (let vcpu = 0; vcpu < vcpus; vcpu++) if (!(yield* isAsleep(vcpu))) return false;
  return true;
}

/**
 * One look at all vCPUs, one after another. Two looks in a row with the same result that is not undefined have everybody asleep
 * at the same time: whoever was woken between them would have been counted. From then on nothing moves unless something
 * outside posts.
 * @returns wake-ups before the look; undefined when somebody is awake, or is being told of a post
 */
export function* lookForRest(vcpus: number): Steps<bigint | undefined> {
  const wakeUps = yield load(machineField.wakeUps);
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    if (!(yield* isAsleep(vcpu))) return undefined;
    if (((yield load(controlOf(vcpu))) & outstanding) !== 0n) return undefined;
  }
  return wakeUps;
}
