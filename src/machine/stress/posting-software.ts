import { Prng } from "../../base/prng.ts";
import { gateAddress } from "../../cpu/scripts/script-address.ts";
import { type LpContext, lpContext, type PostingSetup } from "../../hypervisor/posting/context.ts";
import { handleInterrupt } from "../../hypervisor/posting/exits.ts";
import { type GuestHabits, stressGuest } from "../../hypervisor/posting/guest.ts";
import { type ManagerHabits, manage } from "../../hypervisor/posting/manager.ts";
import { type Perturbation, perturbed } from "../../hypervisor/posting/perturb.ts";
import { loadPosting, startLp } from "../../hypervisor/posting/start.ts";
import { enableApic } from "../../hypervisor/vmx/vmx-operation.ts";
import type { Script, ScriptEnvironment, ScriptedSoftware } from "../../isa/operations.ts";

export interface PostingSoftwareParts {
  readonly setup: PostingSetup;
  readonly guest: GuestHabits;
  readonly manager: ManagerHabits;
  readonly perturbation: Perturbation;
  readonly seed: number;
  readonly apicIds: readonly number[];
  readonly onLoad: (memory: ArrayBufferLike) => void;
  /** Called by each LP before anything else. */
  readonly onStart: (environment: ScriptEnvironment) => void;
}

const present = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error("an LP is interrupted before it has begun");
  return value;
};

/**
 * Programs by LP: those below `setup.lps` run vCPUs, the next one manages. `handler` is entered by guests' gates,
 * `interrupt` by the host's.
 */
export function postingSoftware(parts: PostingSoftwareParts): ScriptedSoftware {
  const { setup, seed, perturbation } = parts;
  const contexts: LpContext[] = [];
  const held = (script: Script, stream: number): Script =>
    perturbed(script, new Prng(seed * 64 + stream), perturbation);
  const { guest, handler } = stressGuest(parts.guest);
  const programs = {
    *main(environment: ScriptEnvironment): Script {
      const { lp } = environment;
      parts.onStart(environment);
      const context = lpContext(setup, environment);
      contexts[lp] = context;
      if (lp < setup.lps) {
        yield* held(
          startLp(context, (vcpu) => environment.entry("guest", vcpu)),
          lp,
        );
        return;
      }
      yield* enableApic();
      yield* held(manage(context, parts.manager), lp);
    },
    *interrupt({ lp }: ScriptEnvironment, vector: number): Script {
      yield* handleInterrupt(present(contexts[lp]), vector);
    },
    guest,
    handler,
  };
  const handlerNumber = Object.keys(programs).indexOf("handler");
  return {
    programs,
    load(ram) {
      loadPosting(ram, setup, parts.apicIds, (vcpu, vector) =>
        gateAddress(handlerNumber, (vcpu << 8) | vector),
      );
      parts.onLoad(ram.buffer);
    },
  };
}
