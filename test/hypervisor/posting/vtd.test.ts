import { describe, expect, it } from "vitest";
import { descriptorOf } from "../../../src/hypervisor/posting/posting-memory.ts";
import { routeEntry } from "../../../src/hypervisor/posting/vtd.ts";
import {
  EntryBit,
  entryVector,
  isEntryReserved,
  isSourceValid,
} from "../../../src/platform/vtd/interrupt-entry.ts";

describe("an entry for a route", () => {
  it("is one that the unit understands", () => {
    for (const urgent of [false, true]) {
      const halves = routeEntry({ vcpu: 5, vector: 0x71, urgent }, 0x21);
      const words = new Int32Array(new BigUint64Array(halves).buffer);
      const [first = 0, second = 0, third = 0, fourth = 0] = words;
      expect(isEntryReserved(words, 0, { wide: true, posting: true })).toBe(false);
      expect(first & EntryBit.Present).not.toBe(0);
      expect(first & EntryBit.Posted).not.toBe(0);
      expect((first & EntryBit.Urgent) !== 0).toBe(urgent);
      expect(entryVector(first)).toBe(0x71);
      expect((second >>> 0) + (fourth >>> 0) * 2 ** 32).toBe(Number(descriptorOf(5)));
      expect(isSourceValid(third, 0x21)).toBe(true);
      expect(isSourceValid(third, 0x22)).toBe(false);
    }
  });
});
