import type { CpuModel } from "../cpu/models/cpu-model.ts";
import { cpuModel } from "../cpu/models/models.ts";
import { buildInterpreter } from "../execution/interpreter.ts";
import { lpWindowBytes } from "../execution/lp-window.ts";
import { createMemory, layOutMemory, type MemoryLayout } from "../memory/physical-memory.ts";
import { buildAcpiTables } from "../platform/acpi.ts";
import type { DeviceConfiguration } from "../platform/devices/device-kinds.ts";
import type { VtdCapabilities } from "../platform/vtd/capabilities.ts";
import { vtdCapabilitiesFor } from "../platform/vtd/model-capabilities.ts";
import type { BootState } from "./boot-state.ts";
import type { CheckMode, MachineConfiguration } from "./configuration.ts";
import { loadImage } from "./loaders/load-image.ts";
import { firmwareArea } from "./memory-map.ts";
import { writeScriptArea } from "./script-area.ts";
import type { SoftwareSource } from "./software-source.ts";
import { UserError } from "./user-error.ts";

/** A machine before power-on. All of it but the model can be posted to a worker. */
export interface MachineBlueprint {
  readonly memory: WebAssembly.Memory;
  readonly layout: MemoryLayout;
  /** The compiled interpreter. */
  readonly module: WebAssembly.Module;
  /** What the VT-d unit can do, undefined where there is none. */
  readonly iommu: VtdCapabilities | undefined;
  readonly devices: readonly DeviceConfiguration[];
  readonly cpuModel: string;
  readonly seed: number;
  /** Cycles by which each LP's time-stamp counter is ahead of the clock. */
  readonly tscSkew: readonly number[];
  readonly check: CheckMode;
  /** Local APIC ids by LP index. */
  readonly apicIds: readonly number[];
  /** How LP 0 starts; undefined when all LPs start scripts. */
  readonly boot: BootState | undefined;
  /** Where the scripts are, for whoever has not loaded them yet. */
  readonly softwareSource: SoftwareSource | undefined;
}

let compiled: WebAssembly.Module | undefined;

/** The interpreter, compiled once in a process. */
function interpreterModule(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(buildInterpreter());
  return compiled;
}

/**
 * Lays the machine out and loads its image.
 * @throws {UserError} the image or the configuration cannot be used
 */
export function buildMachine(configuration: MachineConfiguration): MachineBlueprint {
  const model = findCpuModel(configuration.cpuModel);
  const { ramBytes, lpCount, seed } = configuration;
  const layout = layOutMemory(ramBytes, lpCount, lpWindowBytes);
  const memory = createSharedMemory(layout);
  const ram = new Uint8Array(memory.buffer, 0, ramBytes);
  const { image } = configuration;
  const boot = image && loadImage({ ...configuration, image }, ram);
  if (boot === undefined) writeScriptArea(ram);
  const apicIds = Array.from({ length: lpCount }, (_, lp) => lp);
  const iommu = configuration.iommu ? vtdCapabilitiesFor(model) : undefined;
  const acpi = buildAcpiTables({
    ...{ base: firmwareArea.start, apicIds, ramBytes },
    ...(iommu === undefined ? {} : { iommu }),
  });
  ram.set(acpi.bytes, acpi.base);
  return {
    memory,
    layout,
    module: interpreterModule(),
    iommu,
    devices: configuration.devices,
    cpuModel: configuration.cpuModel,
    seed,
    tscSkew: apicIds.map((_, lp) => configuration.tscSkew[lp] ?? 0),
    check: configuration.check,
    apicIds,
    boot,
    softwareSource: configuration.software,
  };
}

/** @throws {UserError} no model has that name */
export function findCpuModel(name: string): CpuModel {
  try {
    return cpuModel(name);
  } catch (error) {
    throw new UserError(`--cpu: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function createSharedMemory(layout: MemoryLayout): WebAssembly.Memory {
  try {
    return createMemory(layout);
  } catch {
    const mebibytes = Math.ceil(layout.totalBytes / 2 ** 20);
    throw new UserError(
      `--ram: the host cannot provide ${mebibytes} MiB of shared memory; give less or free some`,
    );
  }
}
