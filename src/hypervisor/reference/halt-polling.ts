import type { VirtualCpu } from "./virtual-machine.ts";

const first = 10_000;
const growth = 2;

/**
 * KVM's rule for how long to poll after HLT before a vCPU is blocked: a wait that a somewhat longer poll would have covered makes
 * the next poll longer, one that no poll could have covered makes it shorter.
 * @param waited nanoseconds from HLT until there was something to do
 * @param most longest poll allowed; 0: none
 */
export function adjustPoll(vcpu: VirtualCpu, waited: number, most: number): void {
  if (most === 0 || waited <= vcpu.pollLimit) return;
  if (waited >= most) {
    const shorter = vcpu.pollLimit / growth;
    vcpu.pollLimit = shorter < first ? 0 : shorter;
  } else {
    vcpu.pollLimit = Math.min(most, Math.max(first, vcpu.pollLimit * growth));
  }
}
