import { describe, expect, it } from "vitest";
import {
  descriptorOf,
  hostVector,
  lineVector,
  place,
  request,
  vcpuBlock,
  vcpuField,
  virtualApicOf,
} from "../../../src/hypervisor/posting/posting-memory.ts";
import { PostingOracle } from "../../../src/machine/stress/posting-oracle.ts";

const vector = 0x41;
const interruptRequest = 0x200;
const triggerMode = 0x180;

/** An oracle over memory that the test writes as a machine would. */
class Bench {
  readonly memory = new SharedArrayBuffer(place.guest);
  readonly words = new Int32Array(this.memory);
  readonly oracle = new PostingOracle({
    ...{ seed: 5, vcpus: 2, lps: 2, apicIds: [0, 1, 2], check: undefined },
  });
  constructor() {
    this.oracle.attach(this.memory);
    this.control(0, { vector: hostVector.active, destination: 0 });
    this.control(1, { vector: hostVector.active, destination: 1 });
  }
  control(
    vcpu: number,
    given: { vector: number; destination: number; on?: boolean; sn?: boolean },
  ): void {
    const at = (Number(descriptorOf(vcpu)) + 32) >>> 2;
    const { on = false, sn = false } = given;
    this.words[at] = (on ? 1 : 0) | (sn ? 2 : 0) | (given.vector << 16);
    this.words[at + 1] = given.destination;
  }
  pir(vcpu: number, set: boolean): void {
    this.#set((Number(descriptorOf(vcpu)) >>> 2) + (vector >>> 5), set);
  }
  virr(vcpu: number, set: boolean): void {
    const at = Number(virtualApicOf(vcpu)) + interruptRequest + (vector >>> 5) * 16;
    this.#set(at >>> 2, set);
  }
  /** TMR of the virtual-APIC page. */
  trigger(vcpu: number, which: number, level: boolean): void {
    const at = Number(virtualApicOf(vcpu)) + triggerMode + (which >>> 5) * 16;
    this.#set(at >>> 2, level, which);
  }
  /** The word in which something is asked of a vCPU. */
  ask(vcpu: number, what: bigint): void {
    this.words[Number(vcpuBlock(vcpu) + vcpuField.request) >>> 2] = Number(what);
  }
  #set(index: number, set: boolean, which = vector): void {
    const bit = 1 << (which & 31);
    const word = this.words[index] ?? 0;
    this.words[index] = set ? word | bit : word & ~bit;
  }
  post(vcpu = 0): void {
    this.oracle.posting(vcpu, vector, "hypervisor");
    this.pir(vcpu, true);
    this.oracle.posted(vcpu, "hypervisor");
  }
  /** PIR goes to VIRR, as a notification does it. */
  take(vcpu = 0): void {
    this.pir(vcpu, false);
    this.virr(vcpu, true);
  }
  deliver(vcpu = 0, lp = 0): void {
    this.oracle.hear(lp, "virtual-interrupt", { lp, vector });
    this.virr(vcpu, false);
    this.oracle.handling(vcpu, vector);
  }
  get invariants(): string[] {
    return this.oracle.findings.map(({ invariant }) => invariant);
  }
}

describe("accounts", () => {
  it("count a post that is delivered", () => {
    const bench = new Bench();
    bench.oracle.entering(0, 0);
    bench.post();
    bench.take();
    bench.deliver();
    expect(bench.oracle.counts()).toMatchObject({ posts: 1, deliveries: 1, coalesced: 0 });
    expect(bench.invariants).toEqual([]);
  });
  it("count posts of a set bit as coalesced", () => {
    const bench = new Bench();
    bench.oracle.entering(0, 0);
    for (let n = 0; n < 3; n++) bench.post();
    bench.take();
    bench.deliver();
    expect(bench.oracle.counts()).toMatchObject({ posts: 3, deliveries: 1, coalesced: 2 });
  });
  it("keep a post behind a delivery apart from those before it", () => {
    const bench = new Bench();
    bench.oracle.entering(0, 0);
    bench.post();
    bench.take();
    bench.post();
    bench.deliver();
    bench.take();
    bench.deliver();
    expect(bench.oracle.counts()).toMatchObject({ posts: 2, deliveries: 2, coalesced: 0 });
    expect(bench.invariants).toEqual([]);
  });
  it("call a post pending whose bit is still set at rest", () => {
    const bench = new Bench();
    bench.post();
    bench.post();
    bench.oracle.quiet(false);
    expect(bench.oracle.counts()).toMatchObject({ posts: 2, pending: 1, coalesced: 1, lost: 0 });
  });
  it("call a post lost whose bit has vanished", () => {
    const bench = new Bench();
    bench.post();
    bench.pir(0, false);
    bench.post();
    expect(bench.invariants).toEqual(["lost"]);
    expect(bench.oracle.counts().lost).toBe(1);
  });
  it("call a post lost that has vanished at rest", () => {
    const bench = new Bench();
    bench.post(1);
    bench.pir(1, false);
    bench.oracle.quiet(true);
    expect(bench.invariants).toEqual(["lost"]);
  });
  it("call a delivery spurious that nobody has posted", () => {
    const bench = new Bench();
    bench.oracle.entering(0, 0);
    bench.oracle.hear(0, "virtual-interrupt", { lp: 0, vector });
    expect(bench.invariants).toEqual(["spurious"]);
    expect(bench.oracle.counts()).toMatchObject({ spurious: 1, deliveries: 0 });
  });
});

describe("invariants", () => {
  it("11: no entry with requests in PIR and ON clear", () => {
    const bench = new Bench();
    bench.post();
    bench.oracle.entering(0, 0);
    expect(bench.invariants).toEqual(["11"]);
    const right = new Bench();
    right.post();
    right.control(0, { vector: hostVector.active, destination: 0, on: true });
    right.oracle.entering(0, 0);
    expect(right.invariants).toEqual([]);
  });
  it("15: in the guest NV is the active vector, NDST is here, SN is clear", () => {
    for (const wrong of [
      { vector: hostVector.wakeUp, destination: 0 },
      { vector: hostVector.active, destination: 1 },
      { vector: hostVector.active, destination: 0, sn: true },
    ]) {
      const bench = new Bench();
      bench.control(0, wrong);
      bench.oracle.entering(0, 0);
      expect(bench.invariants).toEqual(["15"]);
    }
  });
  it("14 and 16: asleep on the list of NDST's LP, with SN clear", () => {
    const bench = new Bench();
    bench.control(0, { vector: hostVector.wakeUp, destination: 1, sn: true });
    bench.oracle.listed(0, 0);
    bench.oracle.unloaded(0, 0, true);
    expect(bench.invariants).toEqual(["16", "14"]);
    const right = new Bench();
    right.control(0, { vector: hostVector.wakeUp, destination: 0 });
    right.oracle.listed(0, 0);
    right.oracle.unloaded(0, 0, true);
    expect(right.invariants).toEqual([]);
  });
  it("17 and 18: an update keeps ON, and NDST is an LP that there is", () => {
    const bench = new Bench();
    bench.control(0, { vector: hostVector.active, destination: 0, on: true });
    const seen = BigInt((hostVector.active << 16) | 1);
    bench.oracle.controlChanging(0, seen, seen & ~1n);
    bench.oracle.controlChanging(0, seen, seen | (77n << 32n));
    expect(bench.invariants).toEqual(["18", "17"]);
  });
  it("24: no notification for a sleeping vCPU is dropped", () => {
    const bench = new Bench();
    bench.oracle.unloaded(0, 0, true);
    bench.control(0, { vector: hostVector.active, destination: 0, on: true });
    bench.oracle.swallowed(1);
    expect(bench.invariants).toEqual([]);
    bench.oracle.swallowed(0);
    expect(bench.invariants).toEqual(["24"]);
  });
  it("28 and 29: an entry posts where it was last written to, or was and has not been given up", () => {
    const bench = new Bench();
    const posts = (vcpu: number, index = 3): void => {
      bench.oracle.hear(-1, "interrupt-posting", {
        ...{ index, vector, descriptor: Number(descriptorOf(vcpu)), urgent: false },
      });
      bench.pir(vcpu, true);
    };
    bench.oracle.routing(3, 0, vector);
    bench.oracle.routed(3);
    posts(0);
    bench.oracle.routing(3, 1, vector);
    posts(0);
    posts(1);
    expect(bench.invariants).toEqual([]);
    bench.oracle.routed(3);
    posts(0);
    posts(1, 4);
    expect(bench.invariants).toEqual(["29", "28"]);
  });
  it("20: an interrupt of a line is posted with the trigger mode in force in TMR", () => {
    for (const level of [true, false]) {
      for (const bit of [true, false]) {
        const bench = new Bench();
        const line = lineVector(1, 0);
        bench.oracle.lines.routed(1, { vcpu: 0, vector: line, level });
        bench.trigger(0, line, bit);
        bench.oracle.posting(0, line, "line");
        expect(bench.invariants).toEqual(bit === level ? [] : ["20"]);
      }
    }
  });
  it("20: the EOI-exit bitmap has the level-triggered vectors at each entry, unless a scan is asked for", () => {
    const bench = new Bench();
    const enters = (): void => {
      bench.oracle.entering(0, 0);
      bench.oracle.left(0, 0);
    };
    const line = lineVector(1, 0);
    enters();
    bench.oracle.lines.routed(1, undefined);
    bench.oracle.lines.bitmap(0, [line]);
    enters();
    bench.oracle.lines.routed(1, { vcpu: 0, vector: line, level: true });
    enters();
    bench.oracle.lines.routed(1, undefined);
    bench.oracle.lines.routed(1, { vcpu: 1, vector: line, level: true });
    bench.ask(0, request.scan);
    enters();
    expect(bench.invariants).toEqual([]);
    bench.ask(0, 0n);
    enters();
    expect(bench.invariants).toEqual(["20"]);
    bench.oracle.entering(1, 1);
    expect(bench.invariants).toEqual(["20", "20"]);
  });
  it("21: remote IRR stays set only while its vector is requested or in service", () => {
    const bench = new Bench();
    let now = 0;
    bench.oracle.now = () => now;
    bench.oracle.lines.routed(2, { vcpu: 0, vector, level: true });
    bench.oracle.lines.remote(2, true);
    bench.pir(0, true);
    for (now = 0; now < 300_000; now += 10_000) bench.oracle.tick();
    bench.take();
    bench.oracle.lines.quiet();
    expect(bench.invariants).toEqual([]);
    bench.virr(0, false);
    bench.oracle.tick();
    expect(bench.invariants).toEqual([]);
    now += 100_000;
    bench.oracle.tick();
    expect(bench.invariants).toEqual(["21"]);
  });
  it("23: a handler sees the letters of all IPIs it was delivered for", () => {
    const bench = new Bench();
    bench.oracle.entering(0, 0);
    for (let n = 0; n < 2; n++) {
      bench.oracle.posting(0, vector, "guest");
      bench.pir(0, true);
      bench.oracle.posted(0, "guest");
    }
    bench.take();
    bench.oracle.posting(0, vector, "guest");
    bench.pir(0, true);
    bench.deliver();
    bench.oracle.lettersSeen(0, vector, 2);
    expect(bench.invariants).toEqual([]);
    bench.oracle.lettersSeen(0, vector, 1);
    expect(bench.invariants).toEqual(["23"]);
  });
  it("32: an entry posts to a descriptor that there is", () => {
    const bench = new Bench();
    const posts = (descriptor: number): void =>
      bench.oracle.hear(-1, "interrupt-posting", { index: 3, vector, descriptor, urgent: false });
    bench.oracle.routing(3, 1, vector);
    posts(Number(descriptorOf(1)));
    expect(bench.invariants).toEqual([]);
    posts(Number(descriptorOf(1)) + 8);
    posts(Number(descriptorOf(2)));
    expect(bench.invariants).toEqual(["32", "32"]);
  });
});
