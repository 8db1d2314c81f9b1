import type { CostProfile } from "../cost-profile.ts";
import { skylakeKvm } from "./skylake-kvm.ts";

const intelIdle = "C-state table of Linux's intel_idle for this processor";
const published = (value: number, source = intelIdle) =>
  ({ value, unit: "us", source, tag: "published" }) as const;
const guess = (value: number, source: string) =>
  ({ value, unit: "cycles", source, tag: "estimate" }) as const;

/** A two-socket Ice Lake server under KVM: faster VM exits, larger caches that take longer to refill. */
export const icelakeKvm = {
  name: "icelake-kvm",
  title: "Ice Lake server, KVM",
  clock: { value: 2.9, unit: "GHz", source: "base frequency of a usual model", tag: "estimate" },
  costs: {
    ...skylakeKvm.costs,
    "operation.Load": guess(5, "load from the first-level cache"),
    "vmx.exit": guess(420, "a generation faster than Skylake"),
    "vmx.entry": guess(420, "a generation faster than Skylake"),
    "switch.other-vm": guess(3800, "cheaper prediction barrier"),
    "warm.core": { ...skylakeKvm.costs["warm.core"], value: 12 },
    "idle.c1-wake": published(1),
    "idle.c1e-wake": published(4),
    "idle.c6-wake": published(170),
    "idle.c1e-after": published(4, `${intelIdle}: target residency`),
    "idle.c6-after": published(600, `${intelIdle}: target residency`),
  },
} as const satisfies CostProfile;
