import { LogHistogram } from "../../base/log-histogram.ts";
import { firstBlockedIndex } from "../../hypervisor/posting/device-routes.ts";
import {
  type Disturbance,
  disturbances,
  type PostingObserver,
  type PostSource,
} from "../../hypervisor/posting/observer.ts";
import { descriptorOf, hostVector, request } from "../../hypervisor/posting/posting-memory.ts";
import { LineOracle } from "./line-oracle.ts";
import type { PostingCounts, PostingFinding } from "./posting-result.ts";
import { PostingView } from "./posting-view.ts";
import { StepRing, softwareSource } from "./step-ring.ts";
import { Timeline } from "./timeline.ts";
import { UnitOracle } from "./unit-oracle.ts";

const vectors = 256;
const descriptorBytes = 64;
const firstDescriptor = Number(descriptorOf(0));
const outstanding = 1;
const suppressed = 2;
/** Cycles after which what should happen soon has not happened. */
const patience = 60_000;
/** Cycles between two looks for what is late. */
const tickCycles = 5000;
const findingsMax = 20;
const stepsShown = 60;
const never = -1;
/** A finding that concerns no vCPU. */
const nobody = -1;

export interface OracleOptions {
  readonly seed: number;
  readonly vcpus: number;
  readonly lps: number;
  readonly apicIds: readonly number[];
  /** Invariants to watch; undefined: all. */
  readonly check: readonly number[] | undefined;
}

/** Where a vCPU is, as far as the hypervisor has said. */
interface Whereabouts {
  /** LP in whose guest it is. */
  inGuest: number;
  since: number;
  asleep: boolean;
  listedOn: number;
  synchronizing: boolean;
  /** Posts whose posters have not finished. */
  posting: number;
  told: boolean;
  /** Place of the last exchange of its control word in the order of things. */
  changedAt: number;
}

/**
 * Keeps account of every post. Posts of a vector that have not been delivered form two groups: those whose bit is in PIR, and
 * those that have been taken from there, whose bit is in VIRR. A delivery is for all that have been taken: one of them is
 * delivered, the others were coalesced. The bits themselves are looked at in the machine's memory at every post and every
 * delivery; a group whose bit is gone without a delivery is lost.
 */
export class PostingOracle implements PostingObserver {
  readonly #options: OracleOptions;
  readonly #ring = new StepRing();
  readonly #view: PostingView;
  readonly lines: LineOracle;
  readonly unit: UnitOracle;
  /** The machine's clock. */
  now: () => number = () => 0;
  readonly #inPir: Int32Array;
  readonly #taken: Int32Array;
  /** Time of the oldest post of the two groups, and of the one being handled. */
  readonly #pirSince: Float64Array;
  readonly #takenSince: Float64Array;
  readonly #handledSince: Float64Array;
  readonly #whereabouts: Whereabouts[];
  readonly #running: number[];
  /** Counts what follows each other: times of different LPs may differ by an operation. */
  #order = 0;
  /** Place of the last interrupt of the wake-up vector in that order, by APIC id. */
  readonly #wakeSentAt: number[] = [];
  /** Where the entry of an index may post: what was written last, and what has not been given up. */
  readonly #routes: { readonly vcpu: number; readonly vector: number }[][] = [];
  readonly #formerRoutes = new Set<string>();
  /** By vCPU and vector: posts by guests; those of them that have been taken; those that have been delivered. */
  readonly #letters: Int32Array;
  readonly #lettersTaken: Int32Array;
  readonly #lettersDelivered: Int32Array;
  #nextTick = 0;
  readonly latency = new LogHistogram();
  readonly timeline = new Timeline();
  readonly perLp: number[];
  readonly bySource: Record<PostSource, number> = {
    hypervisor: 0,
    request: 0,
    guest: 0,
    device: 0,
    line: 0,
  };
  readonly disturbances = Object.fromEntries(disturbances.map((how) => [how, 0])) as Record<
    Disturbance,
    number
  >;
  readonly findings: PostingFinding[] = [];
  posts = 0;
  deliveries = 0;
  coalesced = 0;
  pending = 0;
  lost = 0;
  spurious = 0;
  notifications = 0;
  wakeUps = 0;
  migrations = 0;

  constructor(options: OracleOptions) {
    this.#options = options;
    const { vcpus, lps } = options;
    this.#view = new PostingView(vcpus);
    const parts = {
      view: this.#view,
      now: () => this.now(),
      violated: (invariant: number, vcpu: number, message: string) =>
        this.#violated(invariant, vcpu, message),
      step: (kind: string, detail: Readonly<Record<string, unknown>>) => this.#step(kind, detail),
    };
    this.lines = new LineOracle(parts, vcpus);
    this.unit = new UnitOracle(parts, firstBlockedIndex);
    this.#letters = new Int32Array(vcpus * vectors);
    this.#lettersTaken = new Int32Array(vcpus * vectors);
    this.#lettersDelivered = new Int32Array(vcpus * vectors);
    this.#inPir = new Int32Array(vcpus * vectors);
    this.#taken = new Int32Array(vcpus * vectors);
    this.#pirSince = new Float64Array(vcpus * vectors);
    this.#takenSince = new Float64Array(vcpus * vectors);
    this.#handledSince = new Float64Array(vcpus * vectors).fill(never);
    this.#running = Array.from({ length: lps }, () => never);
    this.perLp = Array.from({ length: lps }, () => 0);
    this.#whereabouts = Array.from({ length: vcpus }, () => ({
      inGuest: never,
      since: 0,
      asleep: false,
      listedOn: never,
      synchronizing: false,
      posting: 0,
      told: false,
      changedAt: 0,
    }));
  }

  /** The machine has been loaded. @param memory its own, from address 0 */
  attach(memory: ArrayBufferLike): void {
    this.#view.attach(memory);
  }

  // ——— what the machine says

  /** An event of the machine's trace. */
  hear(source: number, kind: string, detail: Readonly<Record<string, unknown>>): void {
    this.#ring.add(this.now(), source, kind, detail);
    if (kind === "virtual-interrupt") this.#delivered(source, Number(detail["vector"]));
    else if (kind === "ipi") this.#sent(Number(detail["vector"]), Number(detail["destination"]));
    else if (kind === "interrupt-posting") this.#devicePosts(detail);
    else this.unit.hear(kind, detail);
  }
  /** The VT-d unit posts: bit, ON and notification in one step of the machine. */
  #devicePosts(detail: Readonly<Record<string, unknown>>): void {
    const vcpu = (Number(detail["descriptor"]) - firstDescriptor) / descriptorBytes;
    const vector = Number(detail["vector"]);
    if (!Number.isInteger(vcpu) || vcpu < 0 || vcpu >= this.#options.vcpus) {
      const address = Number(detail["descriptor"]).toString(16);
      this.#violated(32, nobody, `entry ${detail["index"]} posts to 0x${address}: no descriptor`);
      return;
    }
    this.#checkRoute(Number(detail["index"]), vcpu, vector);
    const control = this.#view.control(vcpu);
    const blocking = detail["urgent"] === true ? outstanding : outstanding | suppressed;
    if ((control & blocking) === 0) {
      this.#sent((control >>> 16) & 0xff, this.#view.destination(vcpu));
    }
    this.#count(vcpu, vector, "device");
  }
  #checkRoute(index: number, vcpu: number, vector: number): void {
    const routes = this.#routes[index] ?? [];
    const isCurrent = routes.some((route) => route.vcpu === vcpu && route.vector === vector);
    if (isCurrent) return;
    const target = `entry ${index} posts vector ${vector}`;
    const wasOnce = this.#formerRoutes.has(`${index} ${vcpu} ${vector}`);
    if (wasOnce) this.#violated(29, vcpu, `${target}, which has been given up`);
    else this.#violated(28, vcpu, `${target}, which nobody has ever written to it`);
  }
  #sent(vector: number, destination: number): void {
    if (vector === hostVector.wakeUp) this.#wakeSentAt[destination] = ++this.#order;
    else if (vector !== hostVector.active) return;
    this.notifications += 1;
  }

  // ——— posts and deliveries

  posting(vcpu: number, vector: number, from: PostSource): void {
    this.#step("post", { vcpu, vector, from });
    this.#of(vcpu).posting += 1;
    if (from === "line") this.lines.posting(vcpu, vector);
    this.#count(vcpu, vector, from);
  }
  #count(vcpu: number, vector: number, from: PostSource): void {
    const at = vcpu * vectors + vector;
    this.posts += 1;
    this.bySource[from] += 1;
    if (!this.#view.isInPir(vcpu, vector)) {
      this.#leftPir(at);
      this.#pirSince[at] = this.now();
      this.#lookForLoss(vcpu, vector);
    }
    this.#inPir[at] = (this.#inPir[at] ?? 0) + 1;
    if (from === "guest") this.#letters[at] = (this.#letters[at] ?? 0) + 1;
    this.timeline.at(this.now(), this);
  }
  posted(vcpu: number, from: PostSource): void {
    this.#of(vcpu).posting -= 1;
    this.#step("posted", { vcpu, from });
  }

  /** What was in PIR has been taken. */
  #leftPir(at: number): void {
    const count = this.#inPir[at] ?? 0;
    if (count === 0) return;
    if ((this.#taken[at] ?? 0) === 0) this.#takenSince[at] = this.#pirSince[at] ?? 0;
    this.#taken[at] = (this.#taken[at] ?? 0) + count;
    this.#inPir[at] = 0;
    this.#lettersTaken[at] = this.#letters[at] ?? 0;
  }

  #lookForLoss(vcpu: number, vector: number): void {
    const at = vcpu * vectors + vector;
    const count = this.#taken[at] ?? 0;
    if (count === 0 || this.#view.isInVirr(vcpu, vector) || this.#of(vcpu).synchronizing) return;
    this.#taken[at] = 0;
    this.lost += count;
    this.#find("lost", vcpu, `vector ${vector}: ${count} posts are in neither PIR nor VIRR`);
  }

  #delivered(lp: number, vector: number): void {
    const vcpu = this.#running[lp] ?? never;
    if (vcpu === never) return;
    const at = vcpu * vectors + vector;
    if (!this.#view.isInPir(vcpu, vector)) this.#leftPir(at);
    const count = this.#taken[at] ?? 0;
    if (count === 0) {
      this.spurious += 1;
      this.#find("spurious", vcpu, `vector ${vector} is delivered and nobody has posted it`);
      return;
    }
    this.deliveries += 1;
    this.coalesced += count - 1;
    this.perLp[lp] = (this.perLp[lp] ?? 0) + 1;
    this.#taken[at] = 0;
    this.#lettersDelivered[at] = this.#lettersTaken[at] ?? 0;
    this.#handledSince[at] = this.#takenSince[at] ?? 0;
  }

  handling(vcpu: number, vector: number): void {
    const at = vcpu * vectors + vector;
    const since = this.#handledSince[at] ?? never;
    if (since === never) {
      this.#find("spurious", vcpu, `vector ${vector} is handled and was not delivered`);
      return;
    }
    this.#handledSince[at] = never;
    this.latency.add(this.now() - since);
  }

  lettersSeen(vcpu: number, vector: number, letters: number): void {
    const sent = this.#lettersDelivered[vcpu * vectors + vector] ?? 0;
    if (letters >= sent) return;
    this.#violated(
      23,
      vcpu,
      `the handler of vector ${vector} sees ${letters} letters; ${sent} were announced`,
    );
  }
  disturbing(how: Disturbance): void {
    this.disturbances[how] += 1;
  }

  routing(index: number, vcpu: number, vector: number): void {
    this.#step("route", { index, vcpu, vector });
    const routes = this.#routes[index];
    if (routes === undefined) this.#routes[index] = [{ vcpu, vector }];
    else routes.push({ vcpu, vector });
  }
  routed(index: number): void {
    this.#step("routed", { index });
    const given = this.#routes[index]?.splice(0, (this.#routes[index]?.length ?? 1) - 1) ?? [];
    for (const { vcpu, vector } of given) this.#formerRoutes.add(`${index} ${vcpu} ${vector}`);
  }

  synchronizing(vcpu: number): void {
    this.#of(vcpu).synchronizing = true;
    this.#step("synchronize", { vcpu });
  }
  synchronized(vcpu: number): void {
    this.#of(vcpu).synchronizing = false;
  }

  // ——— where vCPUs are, and what must hold there

  controlChanging(vcpu: number, seen: bigint, next: bigint): void {
    const [low, high] = [this.#view.control(vcpu), this.#view.destination(vcpu)];
    const isCurrent = seen === (BigInt(high) << 32n) + BigInt(low);
    if (!isCurrent) return;
    this.#of(vcpu).changedAt = ++this.#order;
    this.#step("control", { vcpu, seen, next });
    if ((seen & 1n) !== (next & 1n)) this.#violated(18, vcpu, "an update changes ON");
    const destination = Number(next >> 32n);
    if (!this.#options.apicIds.includes(destination)) {
      this.#violated(17, vcpu, `NDST becomes ${destination}: there is no such LP`);
    }
  }
  listed(vcpu: number, lp: number | undefined): void {
    this.#of(vcpu).listedOn = lp ?? never;
    this.#step(lp === undefined ? "unlisted" : "listed", { vcpu, on: lp ?? never });
  }
  loaded(vcpu: number, lp: number): void {
    const at = this.#of(vcpu);
    at.asleep = false;
    this.#step("load", { vcpu, lp });
    this.#checkList(vcpu);
  }
  unloaded(vcpu: number, lp: number, asleep: boolean): void {
    const at = this.#of(vcpu);
    this.#step("unload", { vcpu, lp, asleep });
    if (asleep) {
      if ((this.#view.control(vcpu) & suppressed) !== 0)
        this.#violated(16, vcpu, "asleep with SN set");
      this.#checkList(vcpu);
    }
    at.since = this.now();
    at.told = false;
    // A waker may have been faster than the rest of going to sleep.
    at.asleep = asleep && this.#view.state(vcpu) === 0;
    if (at.asleep) this.#checkWakeUp(vcpu);
  }
  /** Falling asleep with ON set: somebody must have used the wake-up vector since it is the one. */
  #checkWakeUp(vcpu: number): void {
    const at = this.#of(vcpu);
    const control = this.#view.control(vcpu);
    const isSet = (control & outstanding) !== 0;
    if (!isSet || at.posting > 0 || ((control >>> 16) & 0xff) !== hostVector.wakeUp) return;
    if ((this.#wakeSentAt[this.#view.destination(vcpu)] ?? never) >= at.changedAt) return;
    this.#violated(
      10,
      vcpu,
      `it falls asleep with ${this.#describeControl(vcpu)}, and no wake-up is under way`,
    );
  }
  swallowed(lp: number): void {
    for (let vcpu = 0; vcpu < this.#options.vcpus; vcpu++) {
      const at = this.#of(vcpu);
      if (!at.asleep || at.posting > 0) continue;
      const control = this.#view.control(vcpu);
      const isFor =
        (control & outstanding) !== 0 &&
        ((control >>> 16) & 0xff) === hostVector.active &&
        this.#view.destination(vcpu) === this.#options.apicIds[lp];
      if (!isFor) continue;
      this.#violated(
        24,
        vcpu,
        `asleep with ${this.#describeControl(vcpu)}, and LP ${lp} drops the notification`,
      );
    }
  }
  woken(vcpu: number): void {
    this.wakeUps += 1;
    this.#of(vcpu).asleep = false;
    this.#step("wake", { vcpu });
  }
  migrated(vcpu: number, from: number, to: number): void {
    this.migrations += 1;
    this.#step("migrate", { vcpu, from, to });
  }

  #checkList(vcpu: number): void {
    const control = this.#view.control(vcpu);
    const destination = this.#view.destination(vcpu);
    const { listedOn } = this.#of(vcpu);
    const isWakeUp = ((control >>> 16) & 0xff) === hostVector.wakeUp;
    const listedId = listedOn === never ? never : (this.#options.apicIds[listedOn] ?? never);
    if (isWakeUp ? listedId !== destination : listedOn !== never) {
      const list = listedOn === never ? "no list" : `the list of LP ${listedOn}`;
      this.#violated(14, vcpu, `${this.#describeControl(vcpu)}, and it is on ${list}`);
    }
  }

  entering(vcpu: number, lp: number): void {
    const at = this.#of(vcpu);
    const control = this.#view.control(vcpu);
    if (at.inGuest !== never && at.inGuest !== lp) {
      this.#violated(1, vcpu, `it enters its guest on LP ${lp} and is in it on LP ${at.inGuest}`);
    }
    at.inGuest = lp;
    at.since = this.now();
    at.told = false;
    this.#running[lp] = vcpu;
    this.#step("enter", { vcpu, lp });
    const vector = (control >>> 16) & 0xff;
    const isHere =
      this.#view.destination(vcpu) === this.#options.apicIds[lp] && vector === hostVector.active;
    if (!isHere || (control & suppressed) !== 0) {
      this.#violated(
        15,
        vcpu,
        `it enters its guest on LP ${lp} with ${this.#describeControl(vcpu)}`,
      );
    }
    if ((control & outstanding) === 0 && at.posting === 0 && this.#view.hasPir(vcpu)) {
      this.#violated(11, vcpu, "it enters its guest with requests in PIR and ON clear");
    }
    this.lines.entering(vcpu);
  }
  left(vcpu: number, lp: number): void {
    const at = this.#of(vcpu);
    if (at.inGuest === lp) at.inGuest = never;
    if (this.#running[lp] === vcpu) this.#running[lp] = never;
    this.#step("left", { vcpu, lp });
  }

  requesting(vcpu: number): void {
    this.#step("request", { vcpu });
  }
  requested(vcpu: number, kicked: boolean): void {
    const isSet = (this.#view.asked(vcpu) & Number(request.interrupts)) !== 0;
    if (!kicked && isSet && this.#of(vcpu).inGuest !== never) {
      this.#violated(
        22,
        vcpu,
        "it has entered its guest with a request that nobody will tell it of",
      );
    }
  }

  /** Now and then: what should have happened long ago has happened. */
  tick(): void {
    if (this.now() < this.#nextTick) return;
    this.#nextTick = this.now() + tickCycles;
    for (let vcpu = 0; vcpu < this.#options.vcpus; vcpu++) this.#lookForDelay(vcpu);
    this.lines.tick();
  }
  #lookForDelay(vcpu: number): void {
    const at = this.#of(vcpu);
    const late = this.now() - patience;
    if (at.told || at.since > late) return;
    if (at.asleep && this.#isDeliverable(vcpu, late)) {
      this.#violated(13, vcpu, "asleep, with interrupts that nobody will wake it for");
      at.told = true;
    } else if (at.inGuest !== never && this.#hasOldPir(vcpu, late)) {
      const isSet = (this.#view.control(vcpu) & outstanding) !== 0;
      this.#violated(
        isSet ? 10 : 11,
        vcpu,
        `in its guest with requests in PIR, ON ${isSet ? "set and no notification under way" : "clear"}`,
      );
      at.told = true;
    }
  }

  settled(vcpu: number): void {
    const late = this.now() - patience;
    for (let vector = 0; vector < vectors; vector++) {
      const at = vcpu * vectors + vector;
      const isOld = (this.#taken[at] ?? 0) > 0 && (this.#takenSince[at] ?? 0) < late;
      if (isOld) {
        this.#violated(12, vcpu, `vector ${vector} has waited for ${patience} cycles and more`);
        return;
      }
    }
  }

  /** Nothing moves any more: whatever has not been delivered is pending or lost. @param asleep all vCPUs are */
  quiet(asleep: boolean): void {
    if (!asleep) this.#find("failed", nobody, "the machine has not come to rest");
    for (let vcpu = 0; vcpu < this.#options.vcpus; vcpu++) {
      if (asleep && this.#isDeliverable(vcpu, this.now())) {
        this.#violated(13, vcpu, "asleep for good, with interrupts that nobody will wake it for");
      }
      for (let vector = 0; vector < vectors; vector++) this.#close(vcpu, vector);
    }
    this.lines.quiet();
    this.timeline.end(this.now(), this);
  }
  #close(vcpu: number, vector: number): void {
    const at = vcpu * vectors + vector;
    if (!this.#view.isInPir(vcpu, vector)) this.#leftPir(at);
    const taken = this.#taken[at] ?? 0;
    const inPir = this.#inPir[at] ?? 0;
    if (taken > 0 && !this.#view.isInVirr(vcpu, vector)) {
      this.lost += taken;
      this.#find("lost", vcpu, `vector ${vector}: ${taken} posts have vanished`);
    } else if (taken > 0) {
      this.pending += 1;
      this.coalesced += taken - 1;
    }
    if (inPir > 0) {
      this.pending += 1;
      this.coalesced += inPir - 1;
    }
  }

  /** Posts that have come to nothing yet. */
  get outstanding(): number {
    return this.posts - this.deliveries - this.coalesced - this.lost;
  }

  /** All sums but those that the machine's statistics hold. */
  counts(): Omit<PostingCounts, "exits"> {
    const { posts, deliveries, coalesced, pending, lost, spurious } = this;
    const { notifications, wakeUps, migrations } = this;
    return {
      ...{ posts, deliveries, coalesced, pending, lost, spurious },
      ...{ notifications, wakeUps, migrations },
    };
  }

  // ——— memory

  #hasOldPir(vcpu: number, late: number): boolean {
    if (!this.#view.hasPir(vcpu)) return false;
    for (let vector = 0; vector < vectors; vector++) {
      const isOld = (this.#pirSince[vcpu * vectors + vector] ?? 0) < late;
      if (isOld && this.#view.isInPir(vcpu, vector)) return true;
    }
    return false;
  }
  /** Something posted before `late` would interrupt the guest. */
  #isDeliverable(vcpu: number, late: number): boolean {
    const priority = this.#view.processorPriority(vcpu);
    for (let vector = (priority & 0xf0) + 16; vector < vectors; vector++) {
      const at = vcpu * vectors + vector;
      const waits = this.#view.isInPir(vcpu, vector)
        ? (this.#pirSince[at] ?? 0) < late
        : this.#view.isInVirr(vcpu, vector) && (this.#takenSince[at] ?? 0) < late;
      if (waits) return true;
    }
    return false;
  }

  // ——— findings

  #of(vcpu: number): Whereabouts {
    const at = this.#whereabouts[vcpu];
    if (at === undefined) throw new Error(`there is no vCPU ${vcpu}`);
    return at;
  }
  #step(kind: string, detail: Readonly<Record<string, unknown>>): void {
    this.#ring.add(this.now(), softwareSource, kind, detail);
  }
  #violated(invariant: number, vcpu: number, message: string): void {
    const { check } = this.#options;
    if (check === undefined || check.includes(invariant)) {
      this.#find(String(invariant), vcpu, message);
    }
  }
  #find(invariant: string, vcpu: number, message: string): void {
    if (this.findings.length >= findingsMax) return;
    this.findings.push({
      seed: this.#options.seed,
      invariant,
      message: vcpu === nobody ? message : `vCPU ${vcpu}: ${message}`,
      steps: [...this.#ring.last(stepsShown, () => true), ...this.#describeAll()],
    });
  }
  /** Something the machine itself has found. */
  add(invariant: string, message: string): void {
    const steps = [...this.#ring.last(stepsShown, () => true), ...this.#describeAll()];
    this.findings.push({ seed: this.#options.seed, invariant, message, steps });
  }

  #describeControl(vcpu: number): string {
    const control = this.#view.control(vcpu);
    const destination = this.#view.destination(vcpu);
    const vector = (control >>> 16) & 0xff;
    return `ON ${control & 1}, SN ${(control >>> 1) & 1}, NV 0x${vector.toString(16)}, NDST ${destination}`;
  }
  #describeAll(): string[] {
    return this.#whereabouts.map((at, vcpu) => {
      const place =
        at.inGuest !== never
          ? `in its guest on LP ${at.inGuest}`
          : at.asleep
            ? "asleep"
            : "in root";
      const requests = [7, 6, 5, 4, 3, 2, 1, 0]
        .map((group) => (this.#view.requests(vcpu, group) >>> 0).toString(16).padStart(8, "0"))
        .join("");
      return `vCPU ${vcpu}: ${place}; ${this.#describeControl(vcpu)}; PIR ${requests.replace(/^0+(?=.)/, "")}`;
    });
  }
}
