import type { CostProfile } from "./cost-profile.ts";
import { icelakeKvm } from "./profiles/icelake-kvm.ts";
import { skylakeKvm } from "./profiles/skylake-kvm.ts";
import { unitCosts } from "./profiles/unit.ts";

/** The profiles there are, the default one first. */
export const builtInProfiles: readonly CostProfile[] = [skylakeKvm, icelakeKvm, unitCosts];

export const defaultProfile: CostProfile = skylakeKvm;

export function findProfile(name: string): CostProfile | undefined {
  return builtInProfiles.find((profile) => profile.name === name);
}
