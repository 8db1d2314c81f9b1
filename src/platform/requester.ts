/** How a device function reaches memory and the interrupt bus; everything passes the VT-d unit when there is one. */
export interface RequesterPort {
  /**
   * A DMA read of `into.length` bytes.
   * @returns false: the request was blocked, or not all of it is RAM (master abort); `into` is then untouched
   */
  read(address: number | bigint, into: Uint8Array): boolean;
  /** A DMA write. @returns false as for `read`; no byte of memory has then changed */
  write(address: number | bigint, from: Uint8Array): boolean;
  /** A message-signalled interrupt: a 32-bit write to the interrupt range. Elsewhere it is an ordinary write. */
  message(address: number | bigint, data: number): void;
}

/** What a function calls itself on the bus: bus 15:8, device 7:3, function 2:0. */
export function requesterId(bus: number, device: number, fn: number): number {
  return ((bus & 0xff) << 8) | ((device & 0x1f) << 3) | (fn & 7);
}
