import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TickRate } from "../../src/base/tick-rate.ts";
import { LocalApic } from "../../src/cpu/local-apic/local-apic.ts";
import { lpMailbox } from "../../src/cpu/local-apic/lp-mailbox.ts";
import { ApicRegister } from "../../src/cpu/local-apic/registers.ts";
import { LpState } from "../../src/cpu/lp-state.ts";
import { lpWindowBytes } from "../../src/execution/lp-window.ts";
import { MailboxFabric } from "../../src/platform/interrupt-fabric.ts";
import {
  entryDeliveryMode,
  entryIsPin,
  entrySource,
  entryVector,
} from "../../src/protocol/interrupt-entry.ts";
import {
  DeliveryMode,
  type InterruptMessage,
  Shorthand,
} from "../../src/protocol/interrupt-message.ts";
import { mailboxCapacity } from "../../src/protocol/mailbox.ts";

/** Local APICs of several LPs and one fabric over their windows. */
class Bench {
  readonly apics: LocalApic[];
  readonly fabric: MailboxFabric;
  readonly words: Int32Array<ArrayBufferLike>;
  readonly windows: number[];
  fullCalls: number[] = [];

  constructor(ids: readonly number[]) {
    const pages = (ids.length * lpWindowBytes) / 65_536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.words = new Int32Array(memory.buffer);
    this.windows = ids.map((_, index) => index * lpWindowBytes);
    this.fabric = new MailboxFabric({
      words: this.words,
      windows: this.windows,
      whenFull: (target) => {
        this.fullCalls.push(target);
        this.drain(target);
      },
    });
    this.apics = ids.map((apicId, index) => {
      const apic = new LocalApic({
        state: new LpState(memory, this.windows[index] ?? 0),
        clock: { frequencyHz: 1e9, now: () => 0 },
        bus: { endOfInterrupt: () => undefined, acknowledgeExternal: () => 0 },
        fabric: this.fabric,
        index,
        apicId,
        bootProcessor: index === 0,
        features: { physicalAddressBits: 46, x2apic: true },
        timerRate: new TickRate(1, 1),
      });
      apic.reset();
      apic.writeMmio(ApicRegister.SpuriousVector, 4, 0x1ff);
      return apic;
    });
  }

  drain(lp: number): number[] {
    const entries: number[] = [];
    lpMailbox(this.words, this.windows[lp] ?? 0).drain((entry) => entries.push(entry));
    return entries;
  }

  /** LPs that a message reaches. */
  reached(fields: Partial<InterruptMessage>): number[] {
    this.fabric.send({ ...fixed, ...fields });
    return this.apics.flatMap((_, lp) => this.drain(lp).map(() => lp));
  }

  apic(lp: number): LocalApic {
    const apic = this.apics[lp];
    if (apic === undefined) {
      throw new Error("no such LP");
    }
    return apic;
  }
}

const fixed: InterruptMessage = {
  vector: 0x40,
  deliveryMode: DeliveryMode.Fixed,
  logical: false,
  level: false,
  assert: true,
  shorthand: Shorthand.None,
  destination: 0,
  wide: false,
  source: -1,
};

describe("the fabric", () => {
  test("posts what the sender said into the destination's mailbox", () => {
    const bench = new Bench([0, 1, 2]);
    bench.fabric.send({ ...fixed, destination: 2, vector: 0x55, source: 1 });
    const entries = bench.drain(2);
    expect(entries.map(entryVector)).toEqual([0x55]);
    expect(entries.map(entrySource)).toEqual([1]);
    expect(bench.drain(0)).toEqual([]);
  });

  test("reads ids, logical ids and modes as the LPs have set them", () => {
    const bench = new Bench([0, 1, 2]);
    bench.apic(1).writeMmio(ApicRegister.Id, 4, 7 << 24);
    expect(bench.reached({ destination: 1 })).toEqual([]);
    expect(bench.reached({ destination: 7 })).toEqual([1]);
    bench.apic(2).writeMmio(ApicRegister.LogicalDestination, 4, 0x1000_0000);
    expect(bench.reached({ destination: 0x10, logical: true })).toEqual([2]);
    bench.apic(2).writeBaseRegister(0xfee0_0c00n);
    expect(bench.reached({ destination: 0x10, logical: true })).toEqual([]);
    expect(bench.reached({ destination: 1 << 2, logical: true, wide: true })).toEqual([2]);
    bench.apic(0).writeBaseRegister(0xfee0_0000n);
    expect(bench.reached({ destination: 0xff })).toEqual([1, 2]);
  });

  test("several LPs with one id are all reached", () => {
    const bench = new Bench([0, 1, 2]);
    bench.apic(2).writeMmio(ApicRegister.Id, 4, 1 << 24);
    expect(bench.reached({ destination: 1 })).toEqual([1, 2]);
  });

  test("shorthands reach whom they say", () => {
    const bench = new Bench([0, 1, 2]);
    const to = (shorthand: Shorthand): number[] => bench.reached({ shorthand, source: 1 });
    expect(to(Shorthand.Self)).toEqual([1]);
    expect(to(Shorthand.AllIncludingSelf)).toEqual([0, 1, 2]);
    expect(to(Shorthand.AllExcludingSelf)).toEqual([0, 2]);
  });

  test("a full mailbox makes the sender wait, and loses nothing", () => {
    const bench = new Bench([0, 1]);
    for (let n = 0; n < mailboxCapacity; n++) {
      bench.fabric.send({ ...fixed, destination: 1 });
    }
    expect(bench.fullCalls).toEqual([]);
    bench.fabric.send({ ...fixed, destination: 1, vector: 0x99 });
    expect(bench.fullCalls).toEqual([1]);
    expect(bench.drain(1).map(entryVector)).toEqual([0x99]);
  });

  test("carries the level of a pin", () => {
    const bench = new Bench([0, 1]);
    bench.fabric.drivePin(1, 0, true);
    expect(bench.drain(1).map(entryIsPin)).toEqual([true]);
  });
});

describe("lowest-priority arbitration", () => {
  const lowest = { deliveryMode: DeliveryMode.LowestPriority, destination: 0xff };

  test("takes the lowest processor priority among the destinations", () => {
    const bench = new Bench([0, 1, 2]);
    bench.apic(0).cr8 = 5;
    bench.apic(1).cr8 = 2;
    bench.apic(2).cr8 = 9;
    expect(bench.reached(lowest)).toEqual([1]);
    expect(bench.reached(lowest)).toEqual([1]);
    bench.apic(1).writeMmio(ApicRegister.LogicalDestination, 4, 0x0200_0000);
    bench.apic(2).writeMmio(ApicRegister.LogicalDestination, 4, 0x0400_0000);
    expect(bench.reached({ ...lowest, logical: true, destination: 0x04 })).toEqual([2]);
  });

  test("goes round among equals", () => {
    const bench = new Bench([0, 1, 2]);
    const chosen = Array.from({ length: 7 }, () => bench.reached(lowest)).flat();
    expect(chosen).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });

  test("leaves out LPs whose APIC is software-disabled, and may find nobody", () => {
    const bench = new Bench([0, 1]);
    bench.apic(0).writeMmio(ApicRegister.SpuriousVector, 4, 0xff);
    expect(bench.reached(lowest)).toEqual([1]);
    bench.apic(1).writeMmio(ApicRegister.SpuriousVector, 4, 0xff);
    expect(bench.reached(lowest)).toEqual([]);
  });

  test("keeps its delivery mode on the way", () => {
    const bench = new Bench([0]);
    bench.fabric.send({ ...fixed, ...lowest });
    expect(bench.drain(0).map(entryDeliveryMode)).toEqual([DeliveryMode.LowestPriority]);
  });

  test("property: the same messages and priorities give the same choices, one choice each", () => {
    const round = fc.array(fc.integer({ min: 0, max: 15 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(fc.array(round, { maxLength: 12 }), (rounds) => {
        const run = (): number[][] => {
          const bench = new Bench([0, 1, 2, 3]);
          return rounds.map((priorities) => {
            for (const [lp, priority] of priorities.entries()) {
              bench.apic(lp).cr8 = priority;
            }
            const chosen = bench.reached(lowest);
            expect(chosen).toHaveLength(1);
            expect(priorities[chosen[0] ?? -1]).toBe(Math.min(...priorities));
            return chosen;
          });
        };
        expect(run()).toEqual(run());
      }),
      { numRuns: 20 },
    );
  });
});
