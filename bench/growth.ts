import { formatTable } from "../src/cli/table.ts";
import { type Effort, measureDeliveries, measurePosts, whole } from "./posting-rates.ts";
import { benchVtd, type VtdRate } from "./vtd.ts";

/** How posting, DMA and translation grow with LPs and devices. */
export interface Growth {
  readonly posting: readonly {
    readonly lps: number;
    readonly devices: number;
    /** Per second, and per second of processor time. */
    readonly deliveries: number;
    readonly perProcessorSecond: number;
    readonly wrong: number;
    /** Posts of the deterministic stress per second of processor time. */
    readonly posts: number;
  }[];
  readonly vtd: readonly { readonly devices: number; readonly rates: readonly VtdRate[] }[];
}

/** In one direction at a time. */
const shapes: readonly (readonly [lps: number, devices: number])[] = [
  ...[1, 2, 4, 8, 16].map((lps) => [lps, 1] as const),
  ...[2, 4, 8].map((devices) => [2, devices] as const),
];
const deviceCounts = [1, 2, 4, 8];

export async function benchGrowth(effort: Effort): Promise<Growth> {
  const posting: Growth["posting"][number][] = [];
  for (const [lps, devices] of shapes) {
    const { deliveries, perProcessorSecond, wrong } = await measureDeliveries(
      { lps, devices },
      effort,
    );
    const posts = await measurePosts(effort.runs, { lps, devices, vcpus: lps + 1 });
    posting.push({ lps, devices, deliveries, perProcessorSecond, wrong, posts });
  }
  const vtd = deviceCounts.map((devices) => {
    process.stderr.write(`VT-d unit, ${devices} devices\n`);
    return { devices, rates: benchVtd(effort.runs, devices) };
  });
  return { posting, vtd };
}

export function formatGrowth({ posting, vtd }: Growth): string {
  const [first] = vtd;
  return [
    formatTable([
      ["LPs", "devices", "deliveries/s", "per processor s", "wrong", "deterministic posts/s"],
      ...posting.map((row) => [
        String(row.lps),
        String(row.devices),
        whole(row.deliveries),
        whole(row.perProcessorSecond),
        whole(row.wrong),
        whole(row.posts),
      ]),
    ]),
    formatTable([
      ["VT-d unit, devices", ...vtd.map(({ devices }) => String(devices)), ""],
      ...(first?.rates ?? []).map(({ phase, unit }, n) => [
        phase,
        ...vtd.map(({ rates }) => rates[n]?.value.toFixed(0) ?? "-"),
        unit,
      ]),
    ]),
  ].join("\n");
}
