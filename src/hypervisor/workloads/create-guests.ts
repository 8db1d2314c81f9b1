import type { GuestFactory, GuestSoftware } from "../reference/guest-software.ts";
import type { RunRecorder } from "../run-record.ts";
import type { PlacedVm, Workload } from "../scenario.ts";
import { GuestKit } from "./guest-kit.ts";
import { Hog } from "./hog.ts";

/** The guests of a run: each vCPU does what its VM's scenario says. */
export function createGuests(
  vms: readonly PlacedVm[],
  recorder: RunRecorder,
  now: () => number,
): GuestFactory {
  return (vcpu) => {
    const placed = vms[vcpu.vm.id];
    const workload = placed?.workloads[placed.vcpus[vcpu.index]?.workload ?? 0];
    if (workload === undefined) throw new Error(`vCPU ${vcpu.id} has no workload`);
    return createGuest(new GuestKit(vcpu, recorder, now), workload);
  };
}

function createGuest(kit: GuestKit, workload: Workload): GuestSoftware {
  switch (workload.type) {
    case "hog":
      return new Hog(kit, workload);
    default:
      throw new Error(`workload ${workload.type} is not there yet`);
  }
}
