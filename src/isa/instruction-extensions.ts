import { CpuidFeature, Instruction } from "iced-x86";

/**
 * The extensions of the instruction set that an encoding belongs to, by iced's names (`BMI1`, `SSE2`, `INTEL386`): it is there
 * when all of them are.
 * @param code iced's number of the encoding
 */
export function extensionsOf(code: number): readonly string[] {
  const instruction = new Instruction();
  instruction.code = code;
  const features = [...instruction.cpuidFeatures()];
  instruction.free();
  return features.map((feature) => CpuidFeature[feature] ?? `feature ${feature}`);
}
