/** Who made the tables. */
export const oemId = "VMXON ";
const oemTableId = "VMXON   ";
const creatorId = "VMXN";
const tableRevision = 1;
const lengthOffset = 4;
const checksumOffset = 9;

const addressSpaceIo = 1;
/** Access sizes of a generic address: byte, word, doubleword. */
const accessSize: Readonly<Record<number, number>> = { 1: 1, 2: 2, 4: 3 };

/** Collects a table's fields, little-endian, in order. */
export class TableWriter {
  readonly #bytes: number[] = [];

  u8(value: number): this {
    return this.#integer(value, 1);
  }
  u16(value: number): this {
    return this.#integer(value, 2);
  }
  u32(value: number): this {
    return this.#integer(value, 4);
  }
  /** @param value below 2^53 */
  u64(value: number): this {
    return this.#integer(value, 8);
  }
  zeros(count: number): this {
    return this.bytes(new Uint8Array(count));
  }
  bytes(bytes: Iterable<number>): this {
    this.#bytes.push(...bytes);
    return this;
  }
  text(text: string, length: number): this {
    return this.bytes(Array.from({ length }, (_, n) => text.charCodeAt(n)));
  }

  /** Generic address structure of a register block in I/O space. */
  ioAddress(port: number, bytes: 1 | 2 | 4): this {
    return this.u8(addressSpaceIo)
      .u8(bytes * 8)
      .u8(0)
      .u8(accessSize[bytes] ?? 0)
      .u64(port);
  }
  /** Generic address structure of a block that does not exist. */
  noAddress(): this {
    return this.zeros(12);
  }

  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  #integer(value: number, bytes: number): this {
    for (let n = 0; n < bytes; n++) {
      this.#bytes.push(Math.floor(value / 2 ** (8 * n)) % 256);
    }
    return this;
  }
}

/** A table with the common header; `write` adds what follows it. */
export function buildTable(
  signature: string,
  revision: number,
  write: (table: TableWriter) => void,
): Uint8Array {
  const table = new TableWriter()
    .text(signature, 4)
    .u32(0)
    .u8(revision)
    .u8(0)
    .text(oemId, 6)
    .text(oemTableId, 8)
    .u32(tableRevision)
    .text(creatorId, 4)
    .u32(tableRevision);
  write(table);
  const bytes = table.toBytes();
  new DataView(bytes.buffer).setUint32(lengthOffset, bytes.length, true);
  bytes[checksumOffset] = checksum(bytes);
  return bytes;
}

/** What makes the bytes, the checksum itself being 0, add up to 0. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
