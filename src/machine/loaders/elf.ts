import type { InputFile } from "../configuration.ts";
import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";
import { ByteReader } from "./byte-reader.ts";
import type { ParsedImage, Segment } from "./image.ts";

const elfMagic = 0x464c457f;
const loadable = 1;
/** e_machine values that are x86. */
const machineName = { 3: "i386", 62: "x86-64" } as Readonly<Record<number, string>>;
/** e_type: an executable, or a position-independent one, which is loaded where it was linked. */
const executableTypes = [2, 3];

/** Where the two classes keep what is read here: offsets, and the width of an address. */
const layouts = {
  1: {
    wide: false,
    entry: 0x18,
    programHeaders: 0x1c,
    headerSize: 0x2a,
    headerCount: 0x2c,
    offset: 4,
    virtual: 8,
    physical: 12,
    fileBytes: 16,
    memoryBytes: 20,
  },
  2: {
    wide: true,
    entry: 0x18,
    programHeaders: 0x20,
    headerSize: 0x36,
    headerCount: 0x38,
    offset: 8,
    virtual: 16,
    physical: 24,
    fileBytes: 32,
    memoryBytes: 40,
  },
} as const;
type Layout = (typeof layouts)[1 | 2];

export function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/**
 * Reads the loadable segments of a little-endian x86 ELF executable. A 32-bit file starts in flat protected mode, a 64-bit
 * one in 64-bit mode.
 * @throws {UserError} malformed or for another machine
 */
export function parseElf(file: InputFile): ParsedImage {
  const reader = new ByteReader(file.name, file.bytes);
  const layout = checkIdentification(reader);
  const word = (offset: number, what: string): number =>
    layout.wide ? reader.u64(offset, what) : reader.u32(offset, what);

  const table = word(layout.programHeaders, "the ELF header");
  const stride = reader.u16(layout.headerSize, "the ELF header");
  const count = reader.u16(layout.headerCount, "the ELF header");
  let entry = word(layout.entry, "the ELF header");
  let entryInside = false;
  const segments: Segment[] = [];
  for (let n = 0; n < count; n++) {
    const at = table + n * stride;
    const what = `program header ${n}`;
    if (reader.u32(at, what) !== loadable) continue;
    const memoryBytes = word(at + layout.memoryBytes, what);
    if (memoryBytes === 0) continue;
    const segment = readSegment(reader, layout, at, what);
    const virtual = word(at + layout.virtual, what);
    // The entry point is a linked address; a kernel linked high is entered where it is loaded.
    if (!entryInside && entry >= virtual && entry < virtual + memoryBytes) {
      entry = entry - virtual + segment.address;
      entryInside = true;
    }
    segments.push(segment);
  }
  if (segments.length === 0) {
    throw new UserError(
      `${file.name}: no loadable segment among its ${count} program headers; link it as an executable`,
    );
  }
  if (!entryInside) {
    throw new UserError(
      `${file.name}: entry point ${hexadecimal(entry)} lies in no loadable segment; check the linker's ENTRY`,
    );
  }
  return { kind: "elf", segments, entry, start: layout.wide ? "long64" : "protected32" };
}

/** Magic, class, byte order, type and machine, in the order of the file. */
function checkIdentification(reader: ByteReader): Layout {
  const { name } = reader;
  if (reader.u32(0, "the ELF magic") !== elfMagic) {
    throw new UserError(`${name}: no ELF magic at offset 0; is it an executable?`);
  }
  const fileClass = reader.u8(4, "the ELF class");
  if (fileClass !== 1 && fileClass !== 2) {
    throw new UserError(
      `${name}: offset 4: ELF class ${fileClass} is neither 32-bit (1) nor 64-bit (2)`,
    );
  }
  if (reader.u8(5, "the ELF byte order") !== 1) {
    throw new UserError(`${name}: offset 5: not little-endian; build it for x86`);
  }
  const type = reader.u16(16, "the ELF header");
  if (!executableTypes.includes(type)) {
    throw new UserError(`${name}: offset 16: ELF type ${type} is not an executable; link it`);
  }
  const machine = reader.u16(18, "the ELF header");
  if (machineName[machine] === undefined) {
    throw new UserError(
      `${name}: offset 18: built for ELF machine ${machine}; build it for i386 or x86-64`,
    );
  }
  return layouts[fileClass];
}

function readSegment(reader: ByteReader, layout: Layout, at: number, what: string): Segment {
  const word = (offset: number): number =>
    layout.wide ? reader.u64(at + offset, what) : reader.u32(at + offset, what);
  const fileBytes = word(layout.fileBytes);
  const memoryBytes = word(layout.memoryBytes);
  if (fileBytes > memoryBytes) {
    throw new UserError(
      `${reader.name}: ${what}: ${hexadecimal(fileBytes)} bytes in the file are more than its ${hexadecimal(memoryBytes)} in memory`,
    );
  }
  return {
    what: `${reader.name}: ${what}`,
    address: word(layout.physical),
    bytes: reader.slice(word(layout.offset), fileBytes, `the segment of ${what}`),
    memoryBytes,
  };
}
