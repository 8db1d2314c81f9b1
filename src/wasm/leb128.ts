/** LEB128, the integer encoding of the Wasm binary format. */

type Bytes = readonly number[];

function encodeUnsigned(value: number): Bytes {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return bytes;
}

/** Encodings of the numbers that nearly all indexes and offsets are. */
const small: readonly Bytes[] = Array.from({ length: 1024 }, (_, value) => encodeUnsigned(value));

export function unsigned(value: number): Bytes {
  return small[value] ?? encodeUnsigned(value);
}

export function signed(value: number | bigint): Bytes {
  return typeof value === "number" && value === (value | 0) ? signed32(value) : signed64(value);
}

function signed32(value: number): Bytes {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    const done = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) {
      return bytes;
    }
  }
}

function signed64(value: number | bigint): Bytes {
  const bytes: number[] = [];
  let rest = BigInt.asIntN(64, BigInt(value));
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const done = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    bytes.push(done ? low : low | 0x80);
    if (done) {
      return bytes;
    }
  }
}
