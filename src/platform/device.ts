/** I/O ports of one device. An access wider than `widest` bytes is split into bytes, each for its own port's device. */
export interface PortRange {
  readonly first: number;
  readonly count: number;
  readonly widest: 1 | 2 | 4;
}

export interface PortDevice {
  readonly ports: readonly PortRange[];
  /** @returns value of `size` bytes; higher bits are dropped */
  readPort(port: number, size: number): number;
  writePort(port: number, size: number, value: number): void;
}

export interface MmioRange {
  readonly start: number;
  readonly bytes: number;
}

export interface MmioDevice {
  readonly mmio: readonly MmioRange[];
  /** @param size 1, 2 or 4 bytes */
  readMmio(address: number, size: number): number;
  writeMmio(address: number, size: number, value: number): void;
}

/** A device that does things by itself as time passes. Nothing happens in it but through `poll`. */
export interface TimedDevice {
  /** Clock value at which `poll` will have something to do, undefined when it will not. */
  deadline(): number | undefined;
  /** Does everything that was due up to `now`. */
  poll(now: number): void;
}

/** Sets the level of an interrupt line. */
export type Line = (high: boolean) => void;

/** RAM as a device reaches it. Both answer false when the range is not all RAM. */
export interface DmaMemory {
  read(address: number, into: Uint8Array): boolean;
  write(address: number, from: Uint8Array): boolean;
}

/** What a port or address reads as that nobody answers: all ones. */
export function allOnes(size: number): number {
  return size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1;
}

/** The low `size` bytes of a value. */
export function lowBytes(value: number, size: number): number {
  return (value & allOnes(size)) >>> 0;
}
