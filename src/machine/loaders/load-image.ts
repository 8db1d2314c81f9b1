import { basename } from "node:path";
import { bootArea, writeBootDescriptors, writeIdentityMap } from "../boot-area.ts";
import type { BootState } from "../boot-state.ts";
import type { InputFile, MachineConfiguration, ModuleFile } from "../configuration.ts";
import { highRamStart, memoryMap } from "../memory-map.ts";
import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";
import { isElf, parseElf } from "./elf.ts";
import { parseFlatImage } from "./flat.ts";
import type { ParsedImage } from "./image.ts";
import { findBrokenMultibootHeader, findMultibootHeader, parseMultiboot } from "./multiboot.ts";
import {
  multibootBootMagic,
  type PlacedModule,
  writeMultibootInformation,
} from "./multiboot-information.ts";
import { Placement } from "./placement.ts";

/** A configuration that has an image to load. */
export type ImageConfiguration = MachineConfiguration & { readonly image: InputFile };

const moduleAlignment = 4096;
const loaderName = "vmxon";

/**
 * Puts the image and its modules into RAM with what the loader owes them: boot information, descriptors, page tables.
 * @param ram the machine's RAM, all zero
 * @throws {UserError} one line for whatever is wrong with a file or a place
 */
export function loadImage(configuration: ImageConfiguration, ram: Uint8Array): BootState {
  const image = parseImage(configuration);
  const placement = new Placement(ram);
  placement.claim("the boot area", bootArea.start, bootArea.end - bootArea.start);
  for (const segment of image.segments) {
    placement.load(segment);
  }
  writeBootDescriptors(ram);
  if (image.start === "long64") {
    writeIdentityMap(ram);
  }
  if (image.kind === "flat") {
    if (configuration.modules.length > 0) {
      throw new UserError(
        "--module: a flat binary cannot be handed modules; give a Multiboot or ELF image",
      );
    }
    return { mode: image.start, entry: image.entry, eax: 0, ebx: 0 };
  }
  const modules = placeModules(configuration.modules, image, placement);
  const name = basename(configuration.image.name);
  writeMultibootInformation(ram, bootArea.information, bootArea.informationEnd, {
    ramBytes: configuration.ramBytes,
    memoryMap: memoryMap(configuration.ramBytes),
    commandLine: configuration.commandLine === "" ? name : `${name} ${configuration.commandLine}`,
    modules,
    loaderName,
  });
  return {
    mode: image.start,
    entry: image.entry,
    eax: multibootBootMagic,
    ebx: bootArea.information,
  };
}

function parseImage({ image, flat }: ImageConfiguration): ParsedImage {
  if (flat !== undefined) {
    return parseFlatImage(image, flat);
  }
  const header = findMultibootHeader(image.bytes);
  if (header !== undefined) {
    return parseMultiboot(image, header);
  }
  const broken = findBrokenMultibootHeader(image.bytes);
  if (broken !== undefined) {
    throw new UserError(
      `${image.name}: Multiboot header at ${hexadecimal(broken)}: magic, flags and checksum do not add up to zero; correct the checksum`,
    );
  }
  if (isElf(image.bytes)) {
    return parseElf(image);
  }
  throw new UserError(
    `${image.name}: neither a Multiboot header in its first 8 KiB nor an ELF magic; give --flat ADDRESS to load it as raw code`,
  );
}

/** Page-aligned, in the order given, each where it was asked for or in the first room above the image. */
function placeModules(
  modules: readonly ModuleFile[],
  image: ParsedImage,
  placement: Placement,
): readonly PlacedModule[] {
  const above = image.segments.reduce(
    (top, segment) => Math.max(top, segment.address + segment.memoryBytes),
    highRamStart,
  );
  return modules.map((module) => {
    const bytes = module.bytes.length;
    const start = module.address ?? placement.free(above, bytes, moduleAlignment);
    if (start % moduleAlignment !== 0) {
      throw new UserError(
        `${module.name}: module address ${hexadecimal(start)} is not a multiple of ${moduleAlignment}; align it`,
      );
    }
    placement.load({
      what: `${module.name}: module`,
      address: start,
      bytes: module.bytes,
      memoryBytes: bytes,
    });
    return { start, end: start + bytes, text: module.text };
  });
}
