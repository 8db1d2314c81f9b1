/** Builders of small image files. */

export interface ElfSegment {
  readonly physical: number;
  readonly virtual?: number;
  readonly bytes: readonly number[];
  readonly memoryBytes?: number;
  readonly type?: number;
}

export interface ElfFields {
  readonly wide: boolean;
  readonly entry: number;
  readonly segments: readonly ElfSegment[];
  readonly machine?: number;
  readonly type?: number;
}

/** An ELF executable: header, program headers, then the segments' bytes. */
export function elfFile({ wide, entry, segments, machine, type }: ElfFields): Uint8Array {
  const headerBytes = wide ? 64 : 52;
  const stride = wide ? 56 : 32;
  const dataStart = headerBytes + segments.length * stride;
  const size = segments.reduce((sum, segment) => sum + segment.bytes.length, dataStart);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: number): void => {
    if (wide) view.setBigUint64(at, BigInt(value), true);
    else view.setUint32(at, value, true);
  };
  bytes.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  view.setUint16(16, type ?? 2, true);
  view.setUint16(18, machine ?? (wide ? 62 : 3), true);
  view.setUint32(20, 1, true);
  word(24, entry);
  word(wide ? 32 : 28, headerBytes);
  view.setUint16(wide ? 52 : 40, headerBytes, true);
  view.setUint16(wide ? 54 : 42, stride, true);
  view.setUint16(wide ? 56 : 44, segments.length, true);
  let data = dataStart;
  segments.forEach((segment, index) => {
    const at = headerBytes + index * stride;
    const values = [
      data,
      segment.virtual ?? segment.physical,
      segment.physical,
      segment.bytes.length,
      segment.memoryBytes ?? segment.bytes.length,
    ];
    view.setUint32(at, segment.type ?? 1, true);
    for (const [n, value] of values.entries()) word(at + (wide ? 8 + n * 8 : 4 + n * 4), value);
    bytes.set(segment.bytes, data);
    data += segment.bytes.length;
  });
  return bytes;
}

/** The twelve bytes of a Multiboot header, then the address fields given. */
export function multibootHeader(flags: number, addresses: readonly number[] = []): number[] {
  const magic = 0x1badb002;
  return [magic, flags, -(magic + flags), ...addresses].flatMap(littleEndian);
}

export function littleEndian(word: number): number[] {
  return [word & 0xff, (word >>> 8) & 0xff, (word >>> 16) & 0xff, word >>> 24];
}

/** A Multiboot image with address fields, loaded and entered at `load`, header first, then the code. */
export function multibootImage(code: readonly number[], load = 0x10_0000): Uint8Array {
  const headerBytes = 32;
  const end = load + headerBytes + code.length;
  return Uint8Array.from([
    ...multibootHeader(0x1_0000, [load, load, end, end, load + headerBytes]),
    ...code,
  ]);
}
