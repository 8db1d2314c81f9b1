import { balance } from "./balance.ts";
import { withCoreGranularity } from "./core-granularity.ts";
import { credit } from "./credit.ts";
import { credit2 } from "./credit2.ts";
import { eevdf } from "./eevdf.ts";
import { gang } from "./gang.ts";
import { nullPolicy } from "./null.ts";
import { relaxedCoScheduling } from "./relaxed-co-scheduling.ts";
import { roundRobin } from "./round-robin.ts";
import { rtds } from "./rtds.ts";
import type { Policy } from "./scheduler.ts";

/** The policies there are. */
export const policies: readonly Policy[] = [
  roundRobin,
  credit,
  credit2,
  rtds,
  nullPolicy,
  eevdf,
  gang,
  relaxedCoScheduling,
  balance,
];

const byWholeCores = "+core";

/** By name; with `+core` behind it, by whole cores. */
export function findPolicy(name: string): Policy | undefined {
  if (name.endsWith(byWholeCores)) {
    const policy = findPolicy(name.slice(0, -byWholeCores.length));
    return policy === undefined ? undefined : withCoreGranularity(policy);
  }
  return policies.find((policy) => policy.name === name);
}
