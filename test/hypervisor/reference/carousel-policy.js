/** Hands the vCPUs round: an LP takes the one that waits and has the next number, so that nearly every decision moves a VMCS. */
export const policy = {
  name: "carousel",
  title: "Carousel",
  create: (host) => {
    const vcpus = [];
    const waiting = new Set();
    return {
      name: "carousel",
      add: (vcpu) => {
        vcpus.push(vcpu);
      },
      wake: (vcpu) => {
        waiting.add(vcpu);
        for (const lp of host.topology.lps.keys()) host.kick(lp);
      },
      block: () => undefined,
      yielded: () => undefined,
      pauseLoop: () => undefined,
      ran: () => undefined,
      pick: (_lp, current) => {
        const first = current === undefined ? 0 : current.id + 1;
        const order = vcpus.map((_, n) => vcpus[(first + n) % vcpus.length]);
        const next = order.find((vcpu) => waiting.has(vcpu)) ?? current;
        if (next === undefined) return { vcpu: undefined, slice: Number.POSITIVE_INFINITY };
        if (current !== undefined && next !== current) waiting.add(current);
        waiting.delete(next);
        return { vcpu: next, slice: 10_000 + host.random.below(10_000) };
      },
    };
  },
};
