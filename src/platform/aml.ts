/** The few ACPI machine language constructs that our DSDT needs, as bytes. */
export type Aml = readonly number[];

const opcode = {
  zero: 0x00,
  one: 0x01,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  name: 0x08,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  extended: 0x5b,
  device: 0x82,
} as const;

const rootCharacter = 0x5c;
const segmentLength = 4;

const characters = (text: string): Aml => [...text].map((character) => character.charCodeAt(0));

/** A name of one segment, with `\` before it when it starts at the root; padded to four characters. */
function nameString(name: string): Aml {
  const fromRoot = name.startsWith("\\");
  const segment = (fromRoot ? name.slice(1) : name).padEnd(segmentLength, "_");
  return [...(fromRoot ? [rootCharacter] : []), ...characters(segment)];
}

/** Length of an object, its own bytes included: 6 bits, or 4 bits and one or two bytes more. */
function withLength(content: Aml): Aml {
  const one = content.length + 1;
  if (one < 0x40) {
    return [one, ...content];
  }
  const two = content.length + 2;
  if (two < 0x1000) {
    return [0x40 | (two & 0xf), two >>> 4, ...content];
  }
  const three = content.length + 3;
  return [0x80 | (three & 0xf), (three >>> 4) & 0xff, three >>> 12, ...content];
}

export const amlName = (name: string, value: Aml): Aml => [
  opcode.name,
  ...nameString(name),
  ...value,
];

export const amlScope = (name: string, content: Aml): Aml => [
  opcode.scope,
  ...withLength([...nameString(name), ...content]),
];

export const amlDevice = (name: string, content: Aml): Aml => [
  opcode.extended,
  opcode.device,
  ...withLength([...nameString(name), ...content]),
];

export const amlPackage = (elements: readonly Aml[]): Aml => [
  opcode.package,
  ...withLength([elements.length, ...elements.flat()]),
];

export const amlBuffer = (bytes: Aml): Aml => [
  opcode.buffer,
  ...withLength([...amlInteger(bytes.length), ...bytes]),
];

export function amlInteger(value: number): Aml {
  if (value === 0) {
    return [opcode.zero];
  }
  if (value === 1) {
    return [opcode.one];
  }
  if (value < 0x100) {
    return [opcode.bytePrefix, value];
  }
  return value < 0x1_0000
    ? [opcode.wordPrefix, ...littleEndian(value, 2)]
    : [opcode.dwordPrefix, ...littleEndian(value, 4)];
}

/** "PNP0A03" and its like: three letters of 5 bits and four hexadecimal digits, most significant byte first. */
export function amlEisaId(id: string): Aml {
  const letters = [...id.slice(0, 3)].reduce(
    (sum, letter) => (sum << 5) | (letter.charCodeAt(0) - 0x40),
    0,
  );
  const product = Number.parseInt(id.slice(3), 16);
  return [opcode.dwordPrefix, letters >>> 8, letters & 0xff, product >>> 8, product & 0xff];
}

/** Resource descriptors. */
const descriptor = { word: 0x88, dword: 0x87, port: 0x47, end: 0x79 } as const;
export const ResourceType = { Memory: 0, Io: 1, BusNumber: 2 } as const;
/** Both ends are fixed. */
const fixedRange = 0x0c;
const entireRange = 0x03;
const cacheableReadWrite = 0x03;

/** A range that a bridge passes on: 16-bit bus numbers and I/O ports, 32-bit memory. Ends are inclusive. */
export function amlWindow(type: number, first: number, last: number): Aml {
  const width = type === ResourceType.Memory ? 4 : 2;
  const typeFlags = [cacheableReadWrite, entireRange, 0][type] ?? 0;
  const numbers = [0, first, last, 0, last - first + 1].flatMap((n) => littleEndian(n, width));
  return [
    width === 4 ? descriptor.dword : descriptor.word,
    ...littleEndian(3 + numbers.length, 2),
    type,
    fixedRange,
    typeFlags,
    ...numbers,
  ];
}

/** Ports that a device occupies itself. */
export function amlPorts(first: number, count: number): Aml {
  const decodes16Bits = 1;
  return [
    descriptor.port,
    decodes16Bits,
    ...littleEndian(first, 2),
    ...littleEndian(first, 2),
    1,
    count,
  ];
}

/** The buffer that _CRS gives. A checksum of 0 is not checked. */
export const amlResources = (resources: readonly Aml[]): Aml =>
  amlBuffer([...resources.flat(), descriptor.end, 0]);

function littleEndian(value: number, bytes: number): Aml {
  return Array.from({ length: bytes }, (_, n) => (value >>> (8 * n)) & 0xff);
}
