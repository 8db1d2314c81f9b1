import { gateAddress } from "../cpu/scripts/script-address.ts";
import { ScriptStreams } from "../cpu/scripts/script-streams.ts";
import type { HostLayout, ScriptedSoftware } from "../isa/operations.ts";
import type { MachineBlueprint } from "./machine.ts";
import { scriptHost, scriptStacks, writeScriptGates } from "./script-area.ts";

/** Puts what the software wants in RAM there. */
export function placeSoftware(software: ScriptedSoftware, blueprint: MachineBlueprint): void {
  const { memory, layout, apicIds } = blueprint;
  const ram = new Uint8Array(memory.buffer, 0, layout.ramBytes);
  const handler = Object.keys(software.programs).indexOf("interrupt");
  if (handler >= 0) writeScriptGates(ram, (vector) => gateAddress(handler, vector));
  software.load?.(ram, scriptStacks(apicIds.length).end);
}

/** The streams of the LPs of one thread. */
export function createScripts(
  software: ScriptedSoftware,
  blueprint: MachineBlueprint,
  now: () => number,
  endSpin?: (spinning: number, storing: number) => void,
): ScriptStreams {
  const { apicIds, layout, seed } = blueprint;
  return new ScriptStreams({
    software,
    lpCount: apicIds.length,
    apicIds,
    ramBytes: layout.ramBytes,
    seed,
    now,
    host: (lp): HostLayout => scriptHost(lp),
    endSpin,
  });
}
