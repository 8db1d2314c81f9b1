import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { cpuModels } from "../cpu/models/models.ts";
import { type VmxProfile, vmxProfile } from "../vmx/capabilities.ts";

export interface ModelProfile {
  readonly model: CpuModel;
  readonly profile: VmxProfile;
}

/** The models with VMX, in the order of their generations. */
export const modelProfiles: readonly ModelProfile[] = cpuModels.flatMap((model) => {
  const profile = vmxProfile(model);
  return profile === undefined ? [] : [{ model, profile }];
});

/** Names of the models that something holds for. */
export function modelsWhere(holds: (entry: ModelProfile) => boolean): readonly string[] {
  return modelProfiles.filter(holds).map(({ model }) => model.name);
}

/** Names of the models whose real part has a control that the simulator does not carry out. */
export function modelsThatList(control: string): readonly string[] {
  return modelsWhere(
    ({ model, profile }) =>
      model.vmx?.controls.includes(control) === true &&
      !([...profile.offered] as readonly string[]).includes(control),
  );
}
