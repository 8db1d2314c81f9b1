import type { RequesterPort } from "../../requester.ts";

/** A buffer in guest memory. */
export interface BufferPiece {
  readonly address: number;
  readonly length: number;
}

/** What the driver has made available: buffers for the device to read, then buffers for it to write. */
export interface DescriptorChain {
  /** Number of its first descriptor: the name it is given back by. */
  readonly head: number;
  readonly readable: readonly BufferPiece[];
  readonly writable: readonly BufferPiece[];
}

export function bytesOf(pieces: readonly BufferPiece[]): number {
  let bytes = 0;
  for (const piece of pieces) {
    bytes += piece.length;
  }
  return bytes;
}

/** Reads `into.length` bytes that begin `offset` bytes into the buffers. @returns false: not there, or blocked */
export function readPieces(
  port: RequesterPort,
  pieces: readonly BufferPiece[],
  offset: number,
  into: Uint8Array,
): boolean {
  return eachPart(pieces, offset, into, (address, part) => port.read(address, part));
}

/** Writes bytes from `offset` on. @returns false: there is no such room, or it is blocked; a part may then be written */
export function writePieces(
  port: RequesterPort,
  pieces: readonly BufferPiece[],
  offset: number,
  from: Uint8Array,
): boolean {
  return eachPart(pieces, offset, from, (address, part) => port.write(address, part));
}

/** Calls `act` for each part of `bytes` that lies in one buffer. */
function eachPart(
  pieces: readonly BufferPiece[],
  offset: number,
  bytes: Uint8Array,
  act: (address: number, part: Uint8Array) => boolean,
): boolean {
  let skip = offset;
  let done = 0;
  for (const { address, length } of pieces) {
    if (done === bytes.length) {
      return true;
    }
    if (skip >= length) {
      skip -= length;
      continue;
    }
    const count = Math.min(length - skip, bytes.length - done);
    if (!act(address + skip, bytes.subarray(done, done + count))) {
      return false;
    }
    done += count;
    skip = 0;
  }
  return done === bytes.length;
}
