import type { Layout } from "../../test/vectors/vector-format.ts";

/** Pages of code; a case's code never leaves them and neither do its branches. */
export const CODE_PAGES = [0x420000, 0x421000] as const;

/** Indices into `LAYOUTS`. */
export const LAYOUT = { inside: 0, crossing: 1, pageEnd: 2, pageStart: 3, low: 4 } as const;

/**
 * Placements of memory area and code: inside a page; across page boundaries (offset 128 of the area is the boundary, the
 * code starts at the end of its page); at the end of a page followed by an absent one; at the start of a page preceded by
 * an absent one; and below 64 KiB for 16-bit addressing.
 */
export const LAYOUTS: readonly Layout[] = [
  { memoryAddress: 0x410400, codeAddress: 0x420800, mappedPages: [0x410000, ...CODE_PAGES] },
  {
    memoryAddress: 0x430f80,
    codeAddress: 0x420ffe,
    mappedPages: [0x430000, 0x431000, ...CODE_PAGES],
  },
  { memoryAddress: 0x440f00, codeAddress: 0x420800, mappedPages: [0x440000, ...CODE_PAGES] },
  { memoryAddress: 0x450000, codeAddress: 0x420800, mappedPages: [0x450000, ...CODE_PAGES] },
  { memoryAddress: 0x6400, codeAddress: 0x420800, mappedPages: [0x6000, ...CODE_PAGES] },
];
