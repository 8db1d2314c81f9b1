import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";

/** Little-endian reads from a file that may end too early. */
export class ByteReader {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get length(): number {
    return this.bytes.length;
  }

  u8(offset: number, what: string): number {
    this.#check(offset, 1, what);
    return this.#view.getUint8(offset);
  }
  u16(offset: number, what: string): number {
    this.#check(offset, 2, what);
    return this.#view.getUint16(offset, true);
  }
  u32(offset: number, what: string): number {
    this.#check(offset, 4, what);
    return this.#view.getUint32(offset, true);
  }
  /** Values beyond 2^53 lose low bits: every address or size that large is refused anyway. */
  u64(offset: number, what: string): number {
    return this.u32(offset, what) + this.u32(offset + 4, what) * 2 ** 32;
  }

  /** The bytes of one part of the file. */
  slice(offset: number, size: number, what: string): Uint8Array {
    this.#check(offset, size, what);
    return this.bytes.subarray(offset, offset + size);
  }

  #check(offset: number, size: number, what: string): void {
    if (offset + size > this.length) {
      throw new UserError(
        `${this.name}: truncated: ${what} needs bytes ${hexadecimal(offset)} to ${hexadecimal(offset + size)}, ` +
          `the file ends at ${hexadecimal(this.length)}`,
      );
    }
  }
}
