import { directedYieldParameters, HelpingScheduler } from "./directed-yield.ts";
import { fairParameters, linuxScale } from "./eevdf.ts";
import { FairScheduler } from "./fair-scheduler.ts";
import { definePolicy } from "./scheduler.ts";

/**
 * Balance scheduling: fair sharing in which siblings are queued on different LPs, so that they never wait for each other and
 * have a good chance to run at the same time, without the gaps of a gang. A VM with more vCPUs than LPs has no choice but to
 * double up.
 *
 * Honours weights, ignores caps.
 */
export const balance = definePolicy({
  name: "balance",
  title: "Balance scheduling on EEVDF",
  source: "Sukwong and Kim, Is co-scheduling too expensive for SMP VMs?, EuroSys 2011",
  parameters: { ...fairParameters, ...directedYieldParameters },
  create: (host, { slice, runToParity, yielding, balanceInterval, ...help }) => {
    const fair: FairScheduler = new FairScheduler(host, {
      slice: slice * linuxScale(host),
      runToParity,
      yielding,
      balanceInterval,
      avoid: (state, lp) => {
        for (const other of fair.membersOf(lp)) {
          if (other !== state && other.vcpu.vm === state.vcpu.vm) {
            return true;
          }
        }
        return false;
      },
    });
    return new HelpingScheduler(fair, help);
  },
});
