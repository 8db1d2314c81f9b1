import { describe, expect, it } from "vitest";
import {
  descriptorOf,
  hostVector,
  place,
  virtualApicOf,
} from "../../../src/hypervisor/posting/posting-memory.ts";
import { PostingOracle } from "../../../src/machine/stress/posting-oracle.ts";

const vector = 0x41;
const interruptRequest = 0x200;

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
  #set(index: number, set: boolean): void {
    const bit = 1 << (vector & 31);
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
});
