import { present } from "../../base/assert.ts";
import type { LineObserver, LineRoute } from "../../hypervisor/posting/observer.ts";
import {
  linePins,
  lineVector,
  lineVectorsPerPin,
  pinOfVector,
  request,
} from "../../hypervisor/posting/posting-memory.ts";
import type { PostingView } from "./posting-view.ts";

/** Cycles for which an end of interrupt may be nowhere: the hypervisor is about to hear of it. */
const patience = 60_000;

/** What an oracle of a part needs of the whole. */
export interface OracleParts {
  readonly view: PostingView;
  readonly now: () => number;
  readonly violated: (invariant: number, vcpu: number, message: string) => void;
  /** A step for the record that findings are told with. */
  readonly step: (kind: string, detail: Readonly<Record<string, unknown>>) => void;
}

interface Pin {
  route: LineRoute | undefined;
  remote: boolean;
  /** When an end of interrupt was last seen to be owed. */
  owedAt: number;
}

/** Watches the emulated I/O APIC's interrupts: invariants 20 and 21. */
export class LineOracle implements LineObserver {
  readonly #parts: OracleParts;
  readonly #pins: readonly Pin[] = Array.from({ length: linePins }, () => ({
    ...{ route: undefined, remote: false, owedAt: 0 },
  }));
  /** By vCPU, a bit for each vector that pins use: those in its EOI-exit bitmap, those that should be. */
  readonly #bitmaps: number[];
  readonly #wanted: number[];
  /** Vectors of pins that are being changed. */
  #changing = 0;
  /** Ends of interrupt that remote IRR has waited for. */
  ends = 0;

  constructor(parts: OracleParts, vcpus: number) {
    this.#parts = parts;
    this.#bitmaps = Array.from({ length: vcpus }, () => 0);
    this.#wanted = Array.from({ length: vcpus }, () => 0);
  }

  #pin(number: number): Pin {
    return present(this.#pins[number], `there is no pin ${number}`);
  }

  routed(pin: number, route: LineRoute | undefined): void {
    this.#pin(pin).route = route;
    this.#wanted.fill(0);
    for (const { route: each } of this.#pins) {
      if (each?.level)
        this.#wanted[each.vcpu] = (this.#wanted[each.vcpu] ?? 0) | bitOf(each.vector);
    }
    const own = vectorsOfPin(pin);
    this.#changing = route === undefined ? this.#changing | own : this.#changing & ~own;
    this.#parts.step("line", { pin, ...(route ?? { masked: true }) });
  }
  remote(pin: number, set: boolean): void {
    const at = this.#pin(pin);
    at.remote = set;
    if (!set) this.ends += 1;
    at.owedAt = this.#parts.now();
    this.#parts.step("remote IRR", { pin, set });
  }
  bitmap(vcpu: number, vectors: readonly number[]): void {
    this.#bitmaps[vcpu] = vectors.reduce((bits, vector) => bits | bitOf(vector), 0);
    this.#parts.step("bitmap", { vcpu, vectors: vectors.join(" ") });
  }

  /** An interrupt of a line is being posted. */
  posting(vcpu: number, vector: number): void {
    const { view, violated } = this.#parts;
    const isLevel = view.isLevel(vcpu, vector);
    const route = this.#routeOf(vcpu, vector);
    if (route === undefined || route.level === isLevel) return;
    const mode = (level: boolean): string => (level ? "level" : "edge");
    violated(
      20,
      vcpu,
      `vector ${vector} is posted ${mode(route.level)}-triggered, TMR says ${mode(isLevel)}`,
    );
  }

  /** A vCPU enters its guest. */
  entering(vcpu: number): void {
    const { view, violated } = this.#parts;
    if ((view.asked(vcpu) & Number(request.scan)) !== 0) return;
    const has = (this.#bitmaps[vcpu] ?? 0) & ~this.#changing;
    const wanted = (this.#wanted[vcpu] ?? 0) & ~this.#changing;
    if (has === wanted) return;
    violated(
      20,
      vcpu,
      `it enters its guest with EOI exits for [${vectorsOf(has)}]; level-triggered are [${vectorsOf(wanted)}]`,
    );
  }

  tick(): void {
    for (const [number, pin] of this.#pins.entries()) {
      const { remote, route } = pin;
      if (!remote || route === undefined) continue;
      if (this.#isOwed(route)) pin.owedAt = this.#parts.now();
      else if (pin.owedAt < this.#parts.now() - patience) this.#tellStuck(number, pin, route);
    }
  }
  /** Nothing moves any more. */
  quiet(): void {
    for (const [number, pin] of this.#pins.entries()) {
      const { remote, route } = pin;
      if (remote && route !== undefined && !this.#isOwed(route)) {
        this.#tellStuck(number, pin, route);
      }
    }
  }

  #tellStuck(number: number, pin: Pin, { vcpu, vector }: LineRoute): void {
    pin.remote = false;
    const message = `pin ${number} waits for the end of vector ${vector}, which is neither requested nor in service`;
    this.#parts.violated(21, vcpu, message);
  }
  #isOwed({ vcpu, vector }: LineRoute): boolean {
    const { view } = this.#parts;
    return (
      view.isInPir(vcpu, vector) || view.isInVirr(vcpu, vector) || view.isInService(vcpu, vector)
    );
  }
  #routeOf(vcpu: number, vector: number): LineRoute | undefined {
    const pin = this.#pins.find(({ route }) => route?.vcpu === vcpu && route.vector === vector);
    return pin?.route;
  }
}

const bitsOfPin = (1 << lineVectorsPerPin) - 1;
const vectorsOfPin = (pin: number): number => bitsOfPin << (pin * lineVectorsPerPin);
function bitOf(vector: number): number {
  const pin = pinOfVector(vector) ?? 0;
  return 1 << (pin * lineVectorsPerPin + vector - lineVector(pin, 0));
}
const vectorsOf = (bits: number): string =>
  Array.from({ length: 32 }, (_, bit) => bit)
    .filter((bit) => ((bits >>> bit) & 1) !== 0)
    .map((bit) => lineVector(Math.floor(bit / lineVectorsPerPin), bit % lineVectorsPerPin))
    .join(" ");
