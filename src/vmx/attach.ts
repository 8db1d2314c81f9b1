import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { ApicVirtualization } from "./apic-virtualization/apic-virtualization.ts";
import { installAssistants } from "./assistants/assistants.ts";
import { ReceivingGuests } from "./assistants/receiving-guests.ts";
import { SteadyTransitions } from "./assistants/steady-transitions.ts";
import { type VmxProfile, vmxProfile } from "./capabilities.ts";
import { capabilityMsrs } from "./capability-msrs.ts";
import { VmEntries } from "./entry.ts";
import { ExtendedPageTables } from "./ept.ts";
import { VmExits } from "./exit.ts";
import { GuestEvents } from "./guest-events.ts";
import { vmxInstructions } from "./instructions/vmx-instructions.ts";
import { NonRootIntercepts } from "./intercepts.ts";
import { MsrAreas } from "./msr-area.ts";
import { PreemptionTimer } from "./preemption-timer.ts";
import type { VmxParts } from "./vmx-parts.ts";
import { VmxUnit } from "./vmx-unit.ts";

/**
 * Gives a logical processor the VMX of its model: intercepts, nested paging, instructions and capability MSRs.
 * @param ramBytes where RAM ends: bitmaps beyond it read as ones
 * @param profile what its VMX offers
 * @returns the parts, or undefined for a model without VMX
 */
export function attachVmx(
  lp: LogicalProcessor,
  ramBytes: number,
  profile: VmxProfile | undefined = vmxProfile(lp.model),
): VmxParts | undefined {
  if (profile === undefined) {
    return undefined;
  }
  const unit = new VmxUnit(lp, profile);
  const timer = new PreemptionTimer(lp, profile.preemptionTimerShift);
  const areas = new MsrAreas(lp, profile.msrAreaEntriesMax);
  const assistants = installAssistants(lp);
  const steady = new SteadyTransitions(unit, assistants.keep);
  const exits = new VmExits(unit, timer, areas, steady);
  const apic = new ApicVirtualization(unit, exits);
  const ept = new ExtendedPageTables(unit, exits, apic.accessPage);
  const receiving = new ReceivingGuests(unit, assistants.attendant);
  const events = new GuestEvents({ unit, exits, timer, apic, receiving });
  const intercepts = new NonRootIntercepts(unit, exits, events, apic, ramBytes);
  const entries = new VmEntries({ unit, exits, areas, ept, events, steady });
  const parts: VmxParts = { unit, entries, exits, events, ept, intercepts };
  lp.attachVmx(intercepts, ept);
  lp.physical.watcher = apic.accessPage;
  lp.addInstructions(vmxInstructions(parts));
  lp.catchUp = () => {
    if (steady.catchUp()) {
      events.beginPlain();
    }
  };
  for (const msr of capabilityMsrs(profile)) {
    lp.msrs.add(msr);
  }
  return parts;
}
