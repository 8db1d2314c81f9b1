/** Where a logical processor sits. Both numbers count through the whole machine. */
export interface LpPlace {
  readonly core: number;
  readonly socket: number;
}

/** The logical processors of a machine, by number. */
export interface Topology {
  readonly lps: readonly LpPlace[];
}

/** How many of each there are inside the next larger one. */
export interface TopologyShape {
  readonly sockets: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
}

/** A regular machine; SMT siblings have neighbouring numbers, so have the cores of a socket. */
export function makeTopology({ sockets, coresPerSocket, threadsPerCore }: TopologyShape): Topology {
  const lps: LpPlace[] = [];
  for (let core = 0; core < sockets * coresPerSocket; core++) {
    for (let thread = 0; thread < threadsPerCore; thread++) {
      lps.push({ core, socket: Math.floor(core / coresPerSocket) });
    }
  }
  return { lps };
}

/** How far apart two LPs are: what a vCPU that moves from one to the other leaves behind. */
export type Distance = "same" | "sibling" | "core" | "socket";

export function distance(topology: Topology, from: number, to: number): Distance {
  if (from === to) {
    return "same";
  }
  const a = topology.lps[from];
  const b = topology.lps[to];
  if (a?.core === b?.core) {
    return "sibling";
  }
  return a?.socket === b?.socket ? "core" : "socket";
}
