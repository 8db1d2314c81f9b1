import { Prng } from "../../../base/prng.ts";
import type { GuestImage } from "../../../hypervisor/reference/guest-software.ts";
import type { PlacedVm } from "../../../hypervisor/scenario.ts";
import { UserError } from "../../user-error.ts";
import { assembleLockContest } from "./lock-contest.ts";

/** Of the generators of chance of one run, that of a VM's kernel. */
const streamsPerRun = 1024;

/**
 * The kernel of a VM whose workload is machine code; undefined: its workloads are scripts.
 * @param id of the VM
 * @throws {UserError} it has both
 */
export function guestImage(vm: PlacedVm, id: number, seed: number): GuestImage | undefined {
  const [workload, ...others] = vm.workloads;
  const isCode = (one: typeof workload): boolean =>
    one?.type === "spinlock" && one.guest === "machine-code";
  if (!vm.workloads.some(isCode)) return undefined;
  if (workload?.type !== "spinlock" || others.length > 0) {
    throw new UserError(`VM ${vm.name}: a workload of machine code is the only one of its VM`);
  }
  return assembleLockContest(workload, vm.vcpus.length, new Prng(seed * streamsPerRun + id));
}
