import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Mailbox, mailboxBytes, mailboxCapacity } from "../../src/protocol/mailbox.ts";

const doorbell = 64;
const doorbellBit = 1 << 3;
const ring = 128;

function newMailbox(): { words: Int32Array<SharedArrayBuffer>; mailbox: Mailbox } {
  const words = new Int32Array(new SharedArrayBuffer(ring + mailboxBytes));
  return { words, mailbox: new Mailbox({ words, ring, doorbell, doorbellBit }) };
}

function drained(mailbox: Mailbox): number[] {
  const entries: number[] = [];
  mailbox.drain((entry) => entries.push(entry));
  return entries;
}

describe("a mailbox", () => {
  test("is a few KiB: it fits its place in the LP window", () => {
    expect(mailboxBytes).toBeLessThanOrEqual(8192);
  });

  test("gives entries in the order they were posted, the all-zero one too", () => {
    const { mailbox } = newMailbox();
    for (const entry of [7, 0, 0x7fff_ffff]) {
      expect(mailbox.post(entry)).toBe(true);
    }
    expect(mailbox.length).toBe(3);
    expect(drained(mailbox)).toEqual([7, 0, 0x7fff_ffff]);
    expect(drained(mailbox)).toEqual([]);
  });

  test("rings the doorbell bit and leaves the word's other bits alone", () => {
    const { words, mailbox } = newMailbox();
    words[doorbell / 4] = 1;
    mailbox.post(1);
    expect(words[doorbell / 4]).toBe(1 | doorbellBit);
    drained(mailbox);
    expect(words[doorbell / 4]).toBe(1);
  });

  test("refuses an entry when full, and takes one again when there is room", () => {
    const { mailbox } = newMailbox();
    for (let n = 0; n < mailboxCapacity; n++) {
      expect(mailbox.post(n)).toBe(true);
    }
    expect(mailbox.post(1)).toBe(false);
    expect(mailbox.length).toBe(mailboxCapacity);
    expect(drained(mailbox)).toHaveLength(mailboxCapacity);
    expect(mailbox.post(1)).toBe(true);
  });

  test("a drain takes one ringful at most, and what is left stays announced", () => {
    const { words, mailbox } = newMailbox();
    mailbox.post(0);
    const taken = mailbox.drain((entry) => mailbox.post(entry + 1));
    expect(taken).toBe(mailboxCapacity);
    expect(words[doorbell / 4]).toBe(doorbellBit);
    expect(drained(mailbox)).toEqual([mailboxCapacity]);
  });

  test("may be drained from within a drain", () => {
    const { mailbox } = newMailbox();
    const seen: number[] = [];
    for (const entry of [1, 2, 3]) {
      mailbox.post(entry);
    }
    mailbox.drain((entry) => {
      seen.push(entry);
      mailbox.drain((inner) => seen.push(inner));
    });
    expect(seen).toEqual([1, 2, 3]);
  });

  test("an entry whose sender has not finished holds back those behind it, and nothing is lost", () => {
    const { words, mailbox } = newMailbox();
    // A sender that has taken ticket 0 and stopped there.
    Atomics.add(words, ring / 4, 1);
    mailbox.post(5);
    expect(drained(mailbox)).toEqual([]);
    // It goes on: fills its slot (the first, 32 words into the ring) and rings.
    Atomics.store(words, ring / 4 + 32, 4 | (1 << 31));
    expect(drained(mailbox)).toEqual([4, 5]);
  });

  test("property: behaves as a bounded queue, also when its counters wrap", () => {
    const operation = fc.oneof(
      fc.record({ post: fc.integer({ min: 0, max: 0x7fff_ffff }) }),
      fc.record({ drain: fc.constant(true) }),
      fc.record({ burst: fc.integer({ min: 1, max: 700 }) }),
    );
    const start = fc.constantFrom(0, 1000, 0x7fff_fff0, -5);
    fc.assert(
      fc.property(start, fc.array(operation, { maxLength: 60 }), (ticket, operations) => {
        const { words, mailbox } = newMailbox();
        words[ring / 4] = ticket;
        words[ring / 4 + 16] = ticket;
        let model: number[] = [];
        const post = (entry: number): void => {
          expect(mailbox.post(entry)).toBe(model.length < mailboxCapacity);
          model = [...model, entry].slice(0, mailboxCapacity);
        };
        for (const each of operations) {
          if ("post" in each) {
            post(each.post);
          } else if ("burst" in each) {
            for (let n = 0; n < each.burst; n++) {
              post(n);
            }
          } else {
            expect(drained(mailbox)).toEqual(model);
            model = [];
          }
        }
        expect(mailbox.length).toBe(model.length);
      }),
      { numRuns: 60 },
    );
  });
});
