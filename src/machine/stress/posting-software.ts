import { present } from "../../base/assert.ts";
import { Prng } from "../../base/prng.ts";
import { gateAddress } from "../../cpu/scripts/script-address.ts";
import { type LpContext, lpContext, type PostingSetup } from "../../hypervisor/posting/context.ts";
import { handleInterrupt } from "../../hypervisor/posting/exits.ts";
import { type GuestHabits, stressGuest } from "../../hypervisor/posting/guest.ts";
import { type ManagerHabits, manage } from "../../hypervisor/posting/manager.ts";
import { type Perturbation, perturbed } from "../../hypervisor/posting/perturb.ts";
import { guestPlace, place } from "../../hypervisor/posting/posting-memory.ts";
import { loadPosting, startLp } from "../../hypervisor/posting/start.ts";
import type { Program, Script, ScriptEnvironment, ScriptedSoftware } from "../../isa/operations.ts";
import type { GuestCode } from "./guest-code.ts";

export interface PostingSoftwareParts {
  readonly setup: PostingSetup;
  /** Scripts, or machine code. */
  readonly guest: GuestHabits | GuestCode;
  readonly manager: ManagerHabits;
  /** Undefined: scripts are not held up. */
  readonly perturbation: Perturbation | undefined;
  readonly seed: number;
  readonly apicIds: readonly number[];
  readonly onLoad: (memory: ArrayBufferLike) => void;
  /** Called by each LP before anything else. */
  readonly onStart: (environment: ScriptEnvironment) => void;
}

/**
 * Programs by LP: those below `setup.lps` run vCPUs, the next one manages. `interrupt` is entered by the host's gates, `handler`
 * by those of a scripted guest.
 */
export function postingSoftware(parts: PostingSoftwareParts): ScriptedSoftware {
  const { setup, seed, perturbation, guest } = parts;
  const contexts: LpContext[] = [];
  const held = (script: Script, stream: number): Script =>
    perturbation === undefined
      ? script
      : perturbed(script, new Prng(seed * 64 + stream), perturbation);
  const isCode = "bytes" in guest;
  const programs: Record<string, Program> = {
    main(environment) {
      const { lp } = environment;
      parts.onStart(environment);
      const context = lpContext(setup, environment);
      contexts[lp] = context;
      const entry = (vcpu: number): bigint =>
        isCode ? guest.entry(vcpu) : environment.entry("guest", vcpu);
      const script = lp < setup.lps ? startLp(context, entry) : manage(context, parts.manager);
      return held(script, lp);
    },
    *interrupt({ lp }, vector) {
      yield* handleInterrupt(
        present(contexts[lp], "an LP is interrupted before it begins"),
        vector,
      );
    },
    ...(isCode ? {} : { ...stressGuest(guest) }),
  };
  const handlerNumber = Object.keys(programs).indexOf("handler");
  return {
    programs,
    load(ram) {
      loadPosting(ram, setup, parts.apicIds, (vcpu, vector) =>
        isCode ? guest.gate(vector) : gateAddress(handlerNumber, (vcpu << 8) | vector),
      );
      if (isCode) ram.set(guest.bytes, place.guest + guestPlace.code);
      parts.onLoad(ram.buffer);
    },
  };
}
