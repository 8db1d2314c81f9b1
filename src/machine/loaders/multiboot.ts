import type { InputFile } from "../configuration.ts";
import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";
import { ByteReader } from "./byte-reader.ts";
import { isElf, parseElf } from "./elf.ts";
import type { ParsedImage } from "./image.ts";

/** The header must lie wholly in this many bytes at the start of the file, 4-byte aligned. */
const searchBytes = 8192;
const headerMagic = 0x1badb002;
const flag = {
  pageAlign: 1 << 0,
  memoryInformation: 1 << 1,
  videoMode: 1 << 2,
  addresses: 1 << 16,
} as const;
/** The low half of the flags are demands on the loader. A video mode is a wish, and there is no screen. */
const metDemands = flag.pageAlign | flag.memoryInformation | flag.videoMode;
const demandMask = 0xffff;
const headerBytes = 12;

/** File offset of the Multiboot header, or undefined. The magic alone may occur by chance: the checksum decides. */
export function findMultibootHeader(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const last = Math.min(searchBytes, bytes.length) - headerBytes;
  for (let offset = 0; offset <= last; offset += 4) {
    if (view.getUint32(offset, true) !== headerMagic) continue;
    const sum =
      view.getUint32(offset, true) +
      view.getUint32(offset + 4, true) +
      view.getUint32(offset + 8, true);
    if (sum >>> 0 === 0) return offset;
  }
  return undefined;
}

/** File offset of a Multiboot magic whose checksum is wrong: worth a word in the message when nothing else fits. */
export function findBrokenMultibootHeader(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset + 4 <= Math.min(searchBytes, bytes.length); offset += 4) {
    if (view.getUint32(offset, true) === headerMagic) return offset;
  }
  return undefined;
}

/**
 * Reads a Multiboot 1 image: the addresses in its header when it gives them, else its ELF segments. It starts in flat 32-bit
 * protected mode whatever its class.
 * @param header file offset of its header
 * @throws {UserError} malformed
 */
export function parseMultiboot(file: InputFile, header: number): ParsedImage {
  const reader = new ByteReader(file.name, file.bytes);
  const flags = reader.u32(header + 4, "the Multiboot header");
  const unmet = flags & demandMask & ~metDemands;
  if (unmet !== 0) {
    throw new UserError(
      `${file.name}: Multiboot header at ${hexadecimal(header)}: demands feature bits ${hexadecimal(unmet)}, which no loader defines; clear them`,
    );
  }
  if ((flags & flag.addresses) !== 0) {
    return parseAddresses(reader, header);
  }
  if (!isElf(file.bytes)) {
    throw new UserError(
      `${file.name}: Multiboot header at ${hexadecimal(header)}: gives no addresses (bit 16) and the file is not ELF; set them or link as ELF`,
    );
  }
  return { ...parseElf(file), kind: "multiboot", start: "protected32" };
}

/** The address fields of the header: one segment, placed so that the header comes to lie where it says it does. */
function parseAddresses(reader: ByteReader, header: number): ParsedImage {
  const where = `${reader.name}: Multiboot header at ${hexadecimal(header)}`;
  const field = (index: number): number =>
    reader.u32(header + headerBytes + index * 4, "the Multiboot address fields");
  const headerAddress = field(0);
  const loadAddress = field(1);
  const loadEnd = field(2);
  const bssEnd = field(3);
  const entry = field(4);

  const offset = header - (headerAddress - loadAddress);
  if (loadAddress > headerAddress || offset < 0) {
    throw new UserError(
      `${where}: load address ${hexadecimal(loadAddress)} does not fit header address ${hexadecimal(headerAddress)}; the file begins between them`,
    );
  }
  if (loadEnd !== 0 && loadEnd < loadAddress) {
    throw new UserError(
      `${where}: load end ${hexadecimal(loadEnd)} is below load address ${hexadecimal(loadAddress)}`,
    );
  }
  const fileBytes = loadEnd === 0 ? reader.length - offset : loadEnd - loadAddress;
  if (bssEnd !== 0 && bssEnd < loadAddress + fileBytes) {
    throw new UserError(
      `${where}: bss end ${hexadecimal(bssEnd)} is below the end of what is loaded, ${hexadecimal(loadAddress + fileBytes)}`,
    );
  }
  if (entry < loadAddress || entry >= loadAddress + fileBytes) {
    throw new UserError(
      `${where}: entry point ${hexadecimal(entry)} lies outside what is loaded, ${hexadecimal(loadAddress)} to ${hexadecimal(loadAddress + fileBytes)}`,
    );
  }
  const segment = {
    what: `${reader.name}: the image`,
    address: loadAddress,
    bytes: reader.slice(offset, fileBytes, "the loaded part"),
    memoryBytes: bssEnd === 0 ? fileBytes : bssEnd - loadAddress,
  };
  return { kind: "multiboot", segments: [segment], entry, start: "protected32" };
}
