/**
 * The part of low RAM that holds what the loader leaves for the image: reclaimable by it as soon as it has read what it needs.
 * Top of conventional memory, clear of the places where start-up code of other LPs usually goes.
 */
export const bootArea = {
  start: 0x9_0000,
  end: 0x9_fc00,
  /** Identity map of the first 4 GiB in 2 MiB pages: PML4, PDPT, four page directories. */
  pageTables: 0x9_0000,
  /** Multiboot information, memory map, module list and strings. */
  information: 0x9_6000,
  informationEnd: 0x9_f000,
  /** Segment descriptors that the initial segment registers were loaded from. */
  descriptors: 0x9_f000,
} as const;

/** Selectors into those descriptors. */
export const bootSelector = { code32: 0x08, data: 0x10, code64: 0x18 } as const;

const descriptors = [
  0n,
  /** 32-bit code, read and execute, flat. */
  0x00cf_9b00_0000_ffffn,
  /** Data, read and write, flat. */
  0x00cf_9300_0000_ffffn,
  /** 64-bit code. */
  0x00af_9b00_0000_ffffn,
] as const;

export const bootDescriptorsLimit = descriptors.length * 8 - 1;

export function writeBootDescriptors(ram: Uint8Array): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  descriptors.forEach((descriptor, index) => {
    view.setBigUint64(bootArea.descriptors + index * 8, descriptor, true);
  });
}

const page = 4096;
const entriesPerTable = 512;
const present = 1n;
const writable = 2n;
const largePage = 0x80n;

/** Maps linear 0 to 4 GiB onto itself. */
export function writeIdentityMap(ram: Uint8Array): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const pointers = bootArea.pageTables + page;
  const directories = pointers + page;
  const link = (table: number): bigint => BigInt(table) | present | writable;
  view.setBigUint64(bootArea.pageTables, link(pointers), true);
  for (let gigabyte = 0; gigabyte < 4; gigabyte++) {
    view.setBigUint64(pointers + gigabyte * 8, link(directories + gigabyte * page), true);
  }
  for (let n = 0; n < 4 * entriesPerTable; n++) {
    view.setBigUint64(
      directories + n * 8,
      (BigInt(n) << 21n) | present | writable | largePage,
      true,
    );
  }
}
