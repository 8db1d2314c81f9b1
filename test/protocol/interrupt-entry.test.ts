import fc from "fast-check";
import { expect, test } from "vitest";
import {
  entryDeliveryMode,
  entryIsAsserted,
  entryIsLevel,
  entryIsPin,
  entryPin,
  entrySource,
  entryVector,
  messageEntry,
  pinEntry,
} from "../../src/protocol/interrupt-entry.ts";
import { DeliveryMode, Shorthand } from "../../src/protocol/interrupt-message.ts";

test("property: an entry gives back what its message said, and fits 31 bits", () => {
  const message = fc.record({
    vector: fc.integer({ min: 0, max: 255 }),
    deliveryMode: fc.constantFrom(...Object.values(DeliveryMode)),
    level: fc.boolean(),
    assert: fc.boolean(),
    source: fc.integer({ min: -1, max: 63 }),
  });
  const addressing = { logical: false, shorthand: Shorthand.None, destination: 0, wide: false };
  fc.assert(
    fc.property(message, (fields) => {
      const entry = messageEntry({ ...addressing, ...fields });
      expect(entry).toBeGreaterThanOrEqual(0);
      expect({
        vector: entryVector(entry),
        deliveryMode: entryDeliveryMode(entry),
        level: entryIsLevel(entry),
        assert: entryIsAsserted(entry),
        source: entrySource(entry),
      }).toEqual(fields);
      expect(entryIsPin(entry)).toBe(false);
    }),
  );
});

test("a pin entry is told apart from every message", () => {
  for (const pin of [0, 1] as const) {
    for (const high of [true, false]) {
      const entry = pinEntry(pin, high);
      expect([entryIsPin(entry), entryPin(entry), entryIsAsserted(entry)]).toEqual([
        true,
        pin,
        high,
      ]);
    }
  }
});
