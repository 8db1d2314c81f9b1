import type { CpuModel } from "./cpu-model.ts";
import { haswell } from "./haswell.ts";
import { icelakeServer } from "./icelake-server.ts";
import { nehalem } from "./nehalem.ts";
import { penryn } from "./penryn.ts";
import { sapphireRapids } from "./sapphire-rapids.ts";
import { skylakeServer } from "./skylake-server.ts";

/** In the order of their generations. */
export const cpuModels: readonly CpuModel[] = [
  penryn,
  nehalem,
  haswell,
  skylakeServer,
  icelakeServer,
  sapphireRapids,
];

export const defaultCpuModel: CpuModel = skylakeServer;

/** A model name that no model has; the message is one line and lists the names there are. */
export class UnknownCpuModel extends Error {
  override readonly name = "UnknownCpuModel";
}

/** @throws UnknownCpuModel */
export function cpuModel(name: string): CpuModel {
  const model = cpuModels.find((candidate) => candidate.name === name);
  if (model === undefined) {
    const names = cpuModels.map((candidate) => candidate.name).join(", ");
    throw new UnknownCpuModel(`unknown CPU model "${name}"; the models are: ${names}`);
  }
  return model;
}
