import { expect, it } from "vitest";
import { readMappings } from "../../bench/footprint.ts";
import { median } from "../../bench/statistics.ts";

it("reads sizes and resident parts of mappings", () => {
  const text = [
    "7f0000000000-7f0008000000 rw-p 00000000 00:00 0",
    "Size:             131072 kB",
    "KernelPageSize:        4 kB",
    "Rss:               17000 kB",
    "Pss:               17000 kB",
    "7f1000000000-7f1000001000 r--p 00000000 08:01 12  /usr/bin/node",
    "Size:                  4 kB",
    "Rss:                   4 kB",
    "",
  ].join("\n");
  expect(readMappings(text)).toEqual([
    { size: 131072 * 1024, resident: 17000 * 1024 },
    { size: 4096, resident: 4096 },
  ]);
});

it("takes the middle of several runs", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeUndefined();
});
