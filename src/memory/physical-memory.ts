import { assert } from "../base/assert.ts";

/** Bytes of a page, everywhere. */
export const pageBytes = 4096;
/** Most guest RAM: below the 32-bit MMIO hole, so that a RAM address is an address of the Wasm memory. */
export const ramBytesMax = 3 * 1024 ** 3;
export const ramBytesMin = 1024 ** 2;
/** Most LPs of a machine that runs an image. */
export const lpCountMax = 64;
/** Most LPs of a machine that runs scripts: one more, which may play what is outside the machine. */
export const scriptedLpCountMax = lpCountMax + 1;

const wasmPageBytes = 65536;
const controlBytes = 65536;

/** Bytes of information kept per page of RAM (see `execution/code-pages.ts`). */
export const pageInformationBytes = 16;

/** Where everything lies in the one shared memory. All values are byte addresses or byte counts. */
export interface MemoryLayout {
  readonly ramBytes: number;
  /** `pageInformationBytes` per page of RAM. */
  readonly pageInformation: number;
  /** Machine-wide control words (see `machine`). */
  readonly control: number;
  readonly controlBytes: number;
  /** Word that a locked operation holds which no single atomic access can do: window base of the LP that has the bus, else 0. */
  readonly busLock: number;
  readonly windows: number;
  readonly windowBytes: number;
  readonly lpCount: number;
  readonly totalBytes: number;
}

/** The bus lock has a cache line of its own. */
const lockBytes = 64;

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;

export function layOutMemory(ramBytes: number, lpCount: number, windowBytes: number): MemoryLayout {
  assert(
    ramBytes % pageBytes === 0 && ramBytes >= ramBytesMin && ramBytes <= ramBytesMax,
    "RAM size out of range",
  );
  assert(lpCount >= 1 && lpCount <= scriptedLpCountMax, "LP count out of range");
  const pageInformation = roundUp(ramBytes, wasmPageBytes);
  const control = roundUp(
    pageInformation + (ramBytes / pageBytes) * pageInformationBytes,
    wasmPageBytes,
  );
  const busLock = control + controlBytes;
  const windows = roundUp(busLock + lockBytes, pageBytes);
  const totalBytes = roundUp(windows + lpCount * windowBytes, wasmPageBytes);
  assert(totalBytes <= 2 ** 32, "machine does not fit the shared memory");
  return {
    ramBytes,
    pageInformation,
    control,
    controlBytes,
    busLock,
    windows,
    windowBytes,
    lpCount,
    totalBytes,
  };
}

export function windowBase(layout: MemoryLayout, lp: number): number {
  return layout.windows + lp * layout.windowBytes;
}

/** Creates the shared memory of a machine. RAM reads as zero. */
export function createMemory(layout: MemoryLayout): WebAssembly.Memory {
  const pages = layout.totalBytes / wasmPageBytes;
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
