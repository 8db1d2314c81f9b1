import { highRamStart, lowRamEnd, type MemoryRange } from "../memory-map.ts";
import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";

/** A module where it lies in RAM. */
export interface PlacedModule {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

export interface MultibootInformation {
  readonly ramBytes: number;
  readonly memoryMap: readonly MemoryRange[];
  /** The image's name and its arguments. */
  readonly commandLine: string;
  readonly modules: readonly PlacedModule[];
  readonly loaderName: string;
}

/** What EAX holds when a Multiboot 1 image starts. */
export const multibootBootMagic = 0x2badb002;

const flag = {
  memory: 1 << 0,
  commandLine: 1 << 2,
  modules: 1 << 3,
  memoryMap: 1 << 6,
  loaderName: 1 << 9,
} as const;
const field = {
  flags: 0,
  memoryLower: 4,
  memoryUpper: 8,
  commandLine: 16,
  moduleCount: 20,
  modules: 24,
  mapLength: 44,
  map: 48,
  loaderName: 64,
} as const;
const structureBytes = 120;
const moduleBytes = 16;
/** Each entry is preceded by its size, which does not count the size field itself. */
const mapEntryBytes = 24;
const mapEntrySize = 20;

/**
 * Writes the information structure, the tables and the strings it points to, one after the other.
 * @param ram the machine's RAM
 * @param start where the structure goes
 * @param end first byte that may not be used
 * @throws {UserError} the strings do not fit
 */
export function writeMultibootInformation(
  ram: Uint8Array,
  start: number,
  end: number,
  information: MultibootInformation,
): void {
  const { memoryMap, modules, ramBytes } = information;
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const map = start + structureBytes;
  const moduleTable = map + memoryMap.length * mapEntryBytes;
  const strings = new StringArea(ram, moduleTable + modules.length * moduleBytes, end);
  const put = (offset: number, value: number): void => view.setUint32(start + offset, value, true);

  put(
    field.flags,
    flag.memory | flag.commandLine | flag.modules | flag.memoryMap | flag.loaderName,
  );
  put(field.memoryLower, Math.floor(lowRamEnd / 1024));
  put(field.memoryUpper, Math.max(0, ramBytes - highRamStart) / 1024);
  put(field.commandLine, strings.add(information.commandLine, "the command line"));
  put(field.moduleCount, modules.length);
  put(field.modules, moduleTable);
  put(field.mapLength, memoryMap.length * mapEntryBytes);
  put(field.map, map);
  put(field.loaderName, strings.add(information.loaderName, "the loader's name"));

  memoryMap.forEach((range, index) => {
    const at = map + index * mapEntryBytes;
    view.setUint32(at, mapEntrySize, true);
    view.setBigUint64(at + 4, BigInt(range.start), true);
    view.setBigUint64(at + 12, BigInt(range.end - range.start), true);
    view.setUint32(at + 20, range.type, true);
  });
  modules.forEach((module, index) => {
    const at = moduleTable + index * moduleBytes;
    view.setUint32(at, module.start, true);
    view.setUint32(at + 4, module.end, true);
    view.setUint32(at + 8, strings.add(module.text, `the command line of module ${index}`), true);
  });
}

/** Zero-ended strings, one after the other. */
class StringArea {
  readonly #ram: Uint8Array;
  readonly #end: number;
  #next: number;

  constructor(ram: Uint8Array, start: number, end: number) {
    this.#ram = ram;
    this.#next = start;
    this.#end = end;
  }

  /** Address of the string. */
  add(text: string, what: string): number {
    const bytes = new TextEncoder().encode(text);
    const at = this.#next;
    if (at + bytes.length + 1 > this.#end) {
      throw new UserError(
        `${what}: ${bytes.length} bytes do not fit the boot area, which ends at ${hexadecimal(this.#end)}; shorten it`,
      );
    }
    this.#ram.set(bytes, at);
    this.#ram[at + bytes.length] = 0;
    this.#next = at + bytes.length + 1;
    return at;
  }
}
