import type { VmEntries } from "./entry.ts";
import type { ExtendedPageTables } from "./ept.ts";
import type { VmExits } from "./exit.ts";
import type { GuestEvents } from "./guest-events.ts";
import type { NonRootIntercepts } from "./intercepts.ts";
import type { VmxUnit } from "./vmx-unit.ts";

/** Everything that makes up the VMX of one LP. */
export interface VmxParts {
  readonly unit: VmxUnit;
  readonly entries: VmEntries;
  readonly exits: VmExits;
  readonly events: GuestEvents;
  readonly ept: ExtendedPageTables;
  readonly intercepts: NonRootIntercepts;
}
