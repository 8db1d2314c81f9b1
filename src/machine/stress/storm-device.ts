import { blockedEntries, entriesPerDevice } from "../../hypervisor/posting/device-routes.ts";

/** A device of the stress, as a machine is configured with it. */
export const stormDevice = {
  kind: "storm",
  parameters: { queues: "2", entries: String(entriesPerDevice + blockedEntries) },
} as const;
