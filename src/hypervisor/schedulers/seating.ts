import type { VcpuHandle } from "./scheduler.ts";

/** Who sits on which LP. */
export type Seats = readonly (VcpuHandle | undefined)[];

/**
 * Seats some vCPUs beside those who sit already, each where its affinity allows and, if possible, where it prefers.
 *
 * @param movable may those who sit already be moved to other LPs?
 * @param among the LPs in question
 * @returns undefined if not all of them find a seat
 */
export function seatAll(
  vcpus: readonly VcpuHandle[],
  seats: Seats,
  preferred: (vcpu: VcpuHandle) => number | undefined,
  movable: boolean,
  among: (lp: number) => boolean = () => true,
): Seats | undefined {
  const result = [...seats];
  const search: Search = { seats: result, preferred, movable, among };
  for (const vcpu of vcpus) {
    if (!seatOne(vcpu, search, new Set())) {
      return undefined;
    }
  }
  return result;
}

interface Search {
  readonly seats: (VcpuHandle | undefined)[];
  readonly preferred: (vcpu: VcpuHandle) => number | undefined;
  readonly movable: boolean;
  readonly among: (lp: number) => boolean;
}

/** Takes a seat, or makes somebody take another one: an augmenting path of a bipartite matching. */
function seatOne(vcpu: VcpuHandle, search: Search, tried: Set<number>): boolean {
  const { seats } = search;
  const allowed = allowedLps(vcpu, search).filter((lp) => !tried.has(lp));
  const free = allowed.find((lp) => seats[lp] === undefined);
  if (free !== undefined) {
    seats[free] = vcpu;
    return true;
  }
  for (const lp of search.movable ? allowed : []) {
    const sitting = seats[lp];
    if (sitting === undefined || tried.has(lp)) {
      continue;
    }
    tried.add(lp);
    if (seatOne(sitting, search, tried)) {
      seats[lp] = vcpu;
      return true;
    }
  }
  return false;
}

/** The preferred one first. */
function allowedLps(vcpu: VcpuHandle, { seats, preferred, among }: Search): number[] {
  const isAllowed = (lp: number): boolean => vcpu.affinity[lp] === true && among(lp);
  const favourite = preferred(vcpu);
  const others = [...seats.keys()].filter((lp) => lp !== favourite && isAllowed(lp));
  return favourite !== undefined && isAllowed(favourite) ? [favourite, ...others] : others;
}
