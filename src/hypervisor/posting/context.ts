import type { GeneralRegisters, ScriptEnvironment } from "../../isa/operations.ts";
import type { PostingBug } from "./faults.ts";
import type { PostingObserver } from "./observer.ts";

/** What a posting hypervisor is told before it starts; every LP has the same. */
export interface PostingSetup {
  /** LPs that run vCPUs, from LP 0 on. */
  readonly lps: number;
  readonly vcpus: number;
  /** IPIs of the guest are posted by the processor, where it can. */
  readonly ipiVirtualization: boolean;
  readonly bug: PostingBug | undefined;
  readonly observer: PostingObserver;
}

/** One LP's own memory of what it does; its scripts share it. */
export interface LpContext extends PostingSetup {
  readonly environment: ScriptEnvironment;
  readonly lp: number;
  readonly apicIds: readonly number[];
  /** vCPU whose VMCS is current here. */
  current: number | undefined;
  /** vCPUs whose VMCS is active here and has been launched. */
  readonly launched: Set<number>;
  /** General registers of vCPUs whose VMCS is active here. */
  readonly registers: GeneralRegisters[];
  /** The last one that was picked to run. */
  lastPicked: number;
  /** Somebody has asked this LP to look what it should run. */
  rescheduled: boolean;
}

const registerCount = 16;

export function lpContext(setup: PostingSetup, environment: ScriptEnvironment): LpContext {
  const { lp, apicIds } = environment;
  const registers = Array.from({ length: setup.vcpus }, () => new BigUint64Array(registerCount));
  return {
    ...setup,
    ...{ environment, lp, apicIds, registers },
    current: undefined,
    launched: new Set(),
    lastPicked: 0,
    rescheduled: false,
  };
}
