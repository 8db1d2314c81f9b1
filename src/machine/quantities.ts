/** How sizes and addresses are written in messages. */
export function hexadecimal(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

const units = [
  { bytes: 1024 ** 3, name: "GiB" },
  { bytes: 1024 ** 2, name: "MiB" },
  { bytes: 1024, name: "KiB" },
] as const;

/** A byte count in the largest unit that divides it: `128 MiB`, `1000 bytes`. */
export function byteCount(bytes: number): string {
  const unit = units.find((candidate) => bytes >= candidate.bytes && bytes % candidate.bytes === 0);
  return unit === undefined ? `${bytes} bytes` : `${bytes / unit.bytes} ${unit.name}`;
}
