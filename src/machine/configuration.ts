import {
  lpCountMax,
  pageBytes,
  ramBytesMax,
  ramBytesMin,
  scriptedLpCountMax,
} from "../memory/physical-memory.ts";
import {
  type DeviceConfiguration,
  deviceKinds,
  findDeviceKind,
  flagSet,
  parametersOf,
  parameterTrouble,
} from "../platform/devices/device-kinds.ts";
import { byteCount } from "./quantities.ts";
import type { SoftwareSource } from "./software-source.ts";
import { UserError } from "./user-error.ts";

export const driverNames = ["threads", "deterministic"] as const;
export type DriverName = (typeof driverNames)[number];

/** What the checker of VMX invariants does: nothing, report violations at the end, or stop the machine at the first. */
export const checkModes = ["off", "report", "stop"] as const;
export type CheckMode = (typeof checkModes)[number];

/** State of the first LP when a flat binary starts: real mode, flat protected mode, or 64-bit mode with identity paging. */
export const flatModes = ["16", "32", "64"] as const;
export type FlatMode = (typeof flatModes)[number];

/** A file's content; `name` is what messages call it. */
export interface InputFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A module handed to the image. `text` is its command line as the guest sees it, file name first. */
export interface ModuleFile extends InputFile {
  readonly text: string;
  /** Physical address asked for; undefined: after the image. */
  readonly address: number | undefined;
}

export interface FlatPlacement {
  readonly address: number;
  readonly mode: FlatMode;
}

/** Everything that decides what a machine is. A plain value: it can be posted to a worker. */
export interface MachineConfiguration {
  /** Undefined for a machine whose software is scripted. */
  readonly image: InputFile | undefined;
  /** Scripts to run in place of an image. */
  readonly software: SoftwareSource | undefined;
  /** Load the image as a flat binary instead of looking for a Multiboot or ELF header. */
  readonly flat: FlatPlacement | undefined;
  /** The guest's command line, without the image's name. */
  readonly commandLine: string;
  readonly modules: readonly ModuleFile[];
  readonly ramBytes: number;
  readonly lpCount: number;
  readonly driver: DriverName;
  /** Chooses the schedule of the deterministic driver and everything random in the machine. */
  readonly seed: number;
  readonly cpuModel: string;
  /** Cycles by which the time-stamp counters of the LPs, LP 0 first, are ahead of the clock; LPs not named: 0. */
  readonly tscSkew: readonly number[];
  readonly check: CheckMode;
  /** There is a VT-d unit between devices and the rest of the machine. */
  readonly iommu: boolean;
  /** Devices on the PCI bus, in the order of their slots. */
  readonly devices: readonly DeviceConfiguration[];
  /** Seconds of wall-clock time after which the run is stopped. */
  readonly timeoutSeconds: number | undefined;
}

export const seedMax = 2 ** 32 - 1;

const defaults = {
  image: undefined,
  software: undefined,
  flat: undefined,
  commandLine: "",
  modules: [],
  ramBytes: 128 * 1024 ** 2,
  lpCount: 1,
  driver: "threads",
  seed: 1,
  tscSkew: [],
  check: "off",
  iommu: false,
  devices: [],
  timeoutSeconds: undefined,
} as const;

/**
 * Fills in what is not given and checks the ranges.
 * @throws {UserError} a value is out of range
 */
export function configure(
  given: Pick<MachineConfiguration, "cpuModel"> & Partial<MachineConfiguration>,
): MachineConfiguration {
  const configuration = { ...defaults, ...given };
  checkRamBytes(configuration.ramBytes);
  checkLpCount(
    configuration.lpCount,
    configuration.image === undefined ? scriptedLpCountMax : lpCountMax,
  );
  checkSeed(configuration.seed);
  checkTscSkew(configuration);
  checkDevices(configuration.devices);
  return configuration;
}

/** A size such as `64M`, `1G`, `512MiB`, `4096K`; a bare number counts MiB. */
export function parseRamSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  if (match === null) {
    throw new UserError(`--ram ${text}: not a size; write for example 64M or 1G`);
  }
  const exponent = { k: 1, m: 2, g: 3 }[(match[2] || "m").toLowerCase()] ?? 2;
  const bytes = Number(match[1]) * 1024 ** exponent;
  checkRamBytes(bytes);
  return bytes;
}

function checkRamBytes(bytes: number): void {
  if (!(bytes >= ramBytesMin && bytes <= ramBytesMax)) {
    throw new UserError(
      `--ram: ${byteCount(bytes)} is out of range; give ${byteCount(ramBytesMin)} to ${byteCount(ramBytesMax)}`,
    );
  }
  if (bytes % pageBytes !== 0) {
    throw new UserError(`--ram: ${byteCount(bytes)} is not a multiple of ${byteCount(pageBytes)}`);
  }
}

export function parseLpCount(text: string): number {
  const count = parseNatural(text, "--lps");
  checkLpCount(count, lpCountMax);
  return count;
}

function checkLpCount(count: number, most: number): void {
  if (!(Number.isInteger(count) && count >= 1 && count <= most)) {
    throw new UserError(`--lps: ${count} is out of range; give 1 to ${most}`);
  }
}

export function parseSeed(text: string): number {
  const seed = parseNatural(text, "--seed");
  checkSeed(seed);
  return seed;
}

function checkSeed(seed: number): void {
  if (!(Number.isInteger(seed) && seed >= 0 && seed <= seedMax)) {
    throw new UserError(`--seed: ${seed} is out of range; give 0 to ${seedMax}`);
  }
}

/** Whole numbers of cycles, which may be negative, with commas in between. */
export function parseTscSkew(text: string): readonly number[] {
  return text.split(",").map((cycles) => {
    if (!/^[+-]?\d{1,15}$/.test(cycles)) {
      throw new UserError(
        `--tsc-skew ${text}: not whole numbers of cycles; write for example 0,500,-2000`,
      );
    }
    return Number(cycles);
  });
}

function checkTscSkew({ tscSkew, lpCount }: MachineConfiguration): void {
  if (tscSkew.length > lpCount) {
    throw new UserError(
      `--tsc-skew: ${tscSkew.length} values for ${lpCount} LPs; give one for each LP at most`,
    );
  }
}

export function parseDriver(text: string): DriverName {
  return choose("--driver", text, driverNames);
}

/** The word after `--check=`; the option alone means `report`. */
export function parseCheck(text: string): CheckMode {
  return choose("--check", text, ["report", "stop"]);
}

/** Seconds, a positive number. */
export function parseTimeout(text: string): number {
  const seconds = Number(text);
  // The upper bound is what a timer can wait for.
  if (text.trim() === "" || !(seconds > 0 && seconds <= 2_000_000)) {
    throw new UserError(
      `--timeout ${text}: not a number of seconds; give more than 0 and at most 2000000`,
    );
  }
  return seconds;
}

/** `ADDRESS` or `ADDRESS:MODE`, for example `0x7c00:16`. */
export function parseFlat(text: string): FlatPlacement {
  const [address = "", mode = "32"] = text.split(":", 2);
  return { address: parseAddress(address, "--flat"), mode: choose("--flat", mode, flatModes) };
}

/** A module as written on the command line: `FILE[@ADDRESS] [words for the guest]`. */
export interface ModuleArgument {
  readonly file: string;
  readonly address: number | undefined;
  readonly text: string;
}

export function parseModule(argument: string): ModuleArgument {
  const [place = "", ...words] = argument.trim().split(/\s+/);
  if (place === "") {
    throw new UserError('--module: no file; write --module "FILE words for the guest"');
  }
  const at = /^(.+)@(0x[0-9a-f]+|\d+)$/i.exec(place);
  const file = at?.[1] ?? place;
  const address = at?.[2] === undefined ? undefined : parseAddress(at[2], "--module");
  return { file, address, text: [file, ...words].join(" ") };
}

/** Most devices there are slots for. */
const devicesMax = 28;

/** A device as written on the command line: `KIND[,name=value]...`. A name alone is a switch. */
export function parseDevice(argument: string): DeviceConfiguration {
  const [kind = "", ...words] = argument.split(",");
  const parameters: Record<string, string> = {};
  for (const word of words) {
    const [, name, value = flagSet] = /^([^=]+)(?:=(.*))?$/.exec(word) ?? [];
    if (name === undefined) {
      throw new UserError(`--device ${argument}: "${word}" is not of the form name=value`);
    }
    parameters[name] = value;
  }
  const device = { kind, parameters };
  checkDevice(device);
  return device;
}

function checkDevices(devices: readonly DeviceConfiguration[]): void {
  if (devices.length > devicesMax) {
    throw new UserError(`--device: ${devices.length} devices; there are slots for ${devicesMax}`);
  }
  devices.forEach(checkDevice);
}

function checkDevice({ kind, parameters }: DeviceConfiguration): void {
  const found = findDeviceKind(kind);
  if (found === undefined) {
    const names = deviceKinds.map(({ name }) => name).join(", ");
    throw new UserError(`--device ${kind}: unknown; give one of ${names}`);
  }
  const known = Object.keys(parametersOf(found));
  for (const name of Object.keys(parameters)) {
    if (!known.includes(name)) {
      const offer = known.length === 0 ? "it has none" : `give one of ${known.join(", ")}`;
      throw new UserError(`--device ${kind}: no parameter ${name}; ${offer}`);
    }
  }
  const trouble = parameterTrouble(found, parameters);
  if (trouble !== undefined) {
    throw new UserError(`--device ${kind}: ${trouble}`);
  }
}

function parseAddress(text: string, option: string): number {
  const address = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN;
  if (!(address < ramBytesMax)) {
    throw new UserError(
      `${option} ${text}: not an address below ${byteCount(ramBytesMax)}; write for example 0x100000`,
    );
  }
  return address;
}

function parseNatural(text: string, option: string): number {
  if (!/^\d{1,15}$/.test(text)) {
    throw new UserError(`${option} ${text}: not a whole number`);
  }
  return Number(text);
}

function choose<T extends string>(option: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === text);
  if (found === undefined) {
    throw new UserError(`${option} ${text}: unknown; give one of ${allowed.join(", ")}`);
  }
  return found;
}
