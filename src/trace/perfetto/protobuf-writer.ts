const wireVarint = 0;
const wireFixed64 = 1;
const wireBytes = 2;

const bytesAtFirst = 1024;
const varintBytesMax = 10;
const utf8 = new TextEncoder();

/** Encodes a message of Protocol Buffers field by field. Numbers of fields are the caller's business. */
export class ProtobufWriter {
  #bytes = new Uint8Array(bytesAtFirst);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** What has been written so far. Valid until the next write. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  get length(): number {
    return this.#length;
  }

  /** Empties it; its memory stays. */
  clear(): this {
    this.#length = 0;
    return this;
  }

  /** An int64 or uint64, any whole number a double can hold. */
  integer(field: number, value: number): this {
    this.#key(field, wireVarint);
    if (value < 0) this.#negative(value);
    else this.#varint(value);
    return this;
  }

  fixed64(field: number, value: number): this {
    this.#key(field, wireFixed64);
    this.#reserve(8);
    this.#view.setUint32(this.#length, value % 2 ** 32, true);
    this.#view.setUint32(this.#length + 4, Math.floor(value / 2 ** 32), true);
    this.#length += 8;
    return this;
  }

  double(field: number, value: number): this {
    this.#key(field, wireFixed64);
    this.#reserve(8);
    this.#view.setFloat64(this.#length, value, true);
    this.#length += 8;
    return this;
  }

  string(field: number, text: string): this {
    return this.raw(field, utf8.encode(text));
  }

  /** A nested message that another writer holds. */
  message(field: number, nested: ProtobufWriter): this {
    return this.raw(field, nested.bytes);
  }

  raw(field: number, bytes: Uint8Array): this {
    this.#key(field, wireBytes);
    this.#varint(bytes.length);
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  #key(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }

  #varint(value: number): void {
    this.#reserve(varintBytesMax);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  /** Two's complement in 64 bits: ten bytes. */
  #negative(value: number): void {
    this.#reserve(varintBytesMax);
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest >= 0x80n) {
      this.#bytes[this.#length++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + bytes));
    larger.set(this.bytes);
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
