import { type Cost, type CostKey, type CostProfile, costKeys } from "../cost-profile.ts";

const free: Cost = {
  value: 0,
  unit: "cycles",
  source: "an ideal machine, by definition",
  tag: "estimate",
};

/** An ideal machine: time passes in `compute` and in sleep alone. What is left is the policy's own doing. */
export const unitCosts: CostProfile = {
  name: "unit",
  title: "Nothing costs time but computing",
  clock: { value: 1, unit: "GHz", source: "one cycle is one nanosecond", tag: "estimate" },
  costs: Object.fromEntries(costKeys.map((key) => [key, free])) as Record<CostKey, Cost>,
};
