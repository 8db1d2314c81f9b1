import type { VcpuHandle } from "./scheduler.ts";

/** Who sits on which LP. */
export type Seats = readonly (VcpuHandle | undefined)[];

/**
 * Seats some vCPUs beside those who sit already, each where its affinity allows and, if possible, where it prefers.
 *
 * @param movable may those who sit already be moved to other LPs?
 * @returns undefined if not all of them find a seat
 */
export function seatAll(
  vcpus: readonly VcpuHandle[],
  seats: Seats,
  preferred: (vcpu: VcpuHandle) => number | undefined,
  movable: boolean,
): Seats | undefined {
  const result = [...seats];
  for (const vcpu of vcpus) {
    if (!seatOne(vcpu, result, new Set(), preferred, movable)) {
      return undefined;
    }
  }
  return result;
}

/** Takes a seat, or makes somebody take another one: an augmenting path of a bipartite matching. */
function seatOne(
  vcpu: VcpuHandle,
  seats: (VcpuHandle | undefined)[],
  tried: Set<number>,
  preferred: (vcpu: VcpuHandle) => number | undefined,
  movable: boolean,
): boolean {
  const favourite = preferred(vcpu);
  const allowed = seats.flatMap((_, lp) => (vcpu.affinity[lp] && lp !== favourite ? [lp] : []));
  if (favourite !== undefined && vcpu.affinity[favourite]) {
    allowed.unshift(favourite);
  }
  const free = allowed.find((lp) => seats[lp] === undefined && !tried.has(lp));
  if (free !== undefined) {
    seats[free] = vcpu;
    return true;
  }
  if (!movable) {
    return false;
  }
  for (const lp of allowed) {
    const sitting = seats[lp];
    if (sitting === undefined || tried.has(lp)) {
      continue;
    }
    tried.add(lp);
    if (seatOne(sitting, seats, tried, preferred, movable)) {
      seats[lp] = vcpu;
      return true;
    }
  }
  return false;
}
