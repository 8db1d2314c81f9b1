import type { PostingSample } from "./posting-result.ts";

export interface TimelineSource {
  readonly posts: number;
  readonly deliveries: number;
  readonly coalesced: number;
  readonly outstanding: number;
}

const firstInterval = 20_000;
const samplesMax = 400;
const cyclesPerSecond = 1e9;

/** Sums over equal stretches of time. When there are too many, two become one, and stretches twice as long. */
export class Timeline {
  #samples: PostingSample[] = [];
  #interval = firstInterval;
  #end = firstInterval;
  #before = { posts: 0, deliveries: 0, coalesced: 0 };

  /** Something has happened at a time, in cycles. */
  at(time: number, source: TimelineSource): void {
    while (time >= this.#end) this.#close(this.#end, source);
  }
  end(time: number, source: TimelineSource): void {
    this.at(time, source);
    this.#close(time, source);
  }
  get samples(): readonly PostingSample[] {
    return this.#samples;
  }

  #close(time: number, { posts, deliveries, coalesced, outstanding }: TimelineSource): void {
    const before = this.#before;
    this.#samples.push({
      at: time / cyclesPerSecond,
      posts: posts - before.posts,
      deliveries: deliveries - before.deliveries,
      coalesced: coalesced - before.coalesced,
      outstanding,
    });
    this.#before = { posts, deliveries, coalesced };
    if (this.#samples.length > samplesMax) this.#halve();
    this.#end = time + this.#interval;
  }
  #halve(): void {
    const halved: PostingSample[] = [];
    for (let n = 1; n < this.#samples.length; n += 2) {
      const first = this.#samples[n - 1];
      const second = this.#samples[n];
      if (first === undefined || second === undefined) continue;
      halved.push({
        at: second.at,
        posts: first.posts + second.posts,
        deliveries: first.deliveries + second.deliveries,
        coalesced: first.coalesced + second.coalesced,
        outstanding: second.outstanding,
      });
    }
    this.#samples = halved;
    this.#interval *= 2;
  }
}
