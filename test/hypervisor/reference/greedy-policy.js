/** Runs the first vCPU everywhere. */
export const policy = {
  name: "greedy",
  title: "Greedy",
  create: (host) => {
    let first;
    return {
      name: "greedy",
      add: (vcpu) => {
        first ??= vcpu;
      },
      wake: () => {
        for (const lp of host.topology.lps.keys()) host.kick(lp);
      },
      block: () => undefined,
      yielded: () => undefined,
      pauseLoop: () => undefined,
      ran: () => undefined,
      pick: () => ({ vcpu: first, slice: 1e6 }),
    };
  },
};
