import { directedYieldParameters, HelpingScheduler } from "./directed-yield.ts";
import { FairScheduler, yieldRules } from "./fair-scheduler.ts";
import type { SchedulerHost } from "./scheduler.ts";
import { definePolicy } from "./scheduler.ts";

/** Linux's times are for one processor and grow with their number, up to eight. */
export function linuxScale({ topology }: SchedulerHost): number {
  return 1 + Math.floor(Math.log2(Math.min(8, topology.lps.length)));
}

/** What the policies built on Linux's share. */
export const fairParameters = {
  slice: {
    default: 700_000,
    unit: "ns",
    minimum: 100_000,
    about: "base_slice_ns, times 1 + log2 of the LPs, at most 8",
  },
  runToParity: { default: true, about: "RUN_TO_PARITY: who runs may finish its slice" },
  yielding: {
    default: "forfeit",
    choices: yieldRules,
    about: "who yields forfeits its slice; as before Linux did so: only postpones its deadline",
  },
  balanceInterval: {
    default: 64_000_000,
    unit: "ns",
    minimum: 1_000_000,
    about: "a busy LP balances so often; 16 ms per processor of the domain, of four",
  },
} as const;

/**
 * Linux and KVM: fair sharing by earliest eligible virtual deadline, and PAUSE-loop exits that hand the LP to a sibling which
 * may hold the lock. Honours weights (of threads, no groups), ignores caps.
 */
export const eevdf = definePolicy({
  name: "eevdf",
  title: "Linux EEVDF with KVM's directed yield",
  source: "Linux: kernel/sched/fair.c, kernel/sched/features.h, virt/kvm/kvm_main.c, vmx.c",
  parameters: { ...fairParameters, ...directedYieldParameters },
  create: (host, { slice, runToParity, yielding, balanceInterval, ...help }) => {
    const rules = { slice: slice * linuxScale(host), runToParity, yielding, balanceInterval };
    return new HelpingScheduler(new FairScheduler(host, rules), help);
  },
});
