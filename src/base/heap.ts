import { assert } from "./assert.ts";

/** Items by a key, the least first; among equal keys, the one added first. An item's key must not change while it is in. */
export class Heap<Item extends object> {
  readonly #key: (item: Item) => number;
  readonly #items: Item[] = [];
  readonly #keys: number[] = [];
  readonly #orders: number[] = [];
  readonly #places = new Map<Item, number>();
  #added = 0;

  constructor(key: (item: Item) => number) {
    this.#key = key;
  }

  get size(): number {
    return this.#items.length;
  }
  /** Key of the first item, infinity when there is none. */
  get least(): number {
    return this.#keys[0] ?? Number.POSITIVE_INFINITY;
  }
  get first(): Item | undefined {
    return this.#items[0];
  }

  add(item: Item): void {
    assert(!this.#places.has(item), "item is in the heap already");
    const at = this.#items.length;
    this.#items.push(item);
    this.#keys.push(this.#key(item));
    this.#orders.push(this.#added++);
    this.#places.set(item, at);
    this.#rise(at);
  }

  take(): Item | undefined {
    const { first } = this;
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** @returns whether it was there */
  remove(item: Item): boolean {
    const at = this.#places.get(item);
    if (at === undefined) return false;
    const last = this.#items.length - 1;
    this.#swap(at, last);
    this.#items.pop();
    this.#keys.pop();
    this.#orders.pop();
    this.#places.delete(item);
    if (at < last) {
      this.#rise(at);
      this.#sink(at);
    }
    return true;
  }

  #precedes(a: number, b: number): boolean {
    const keyA = this.#keys[a] ?? 0;
    const keyB = this.#keys[b] ?? 0;
    return keyA < keyB || (keyA === keyB && (this.#orders[a] ?? 0) < (this.#orders[b] ?? 0));
  }
  #rise(from: number): void {
    for (let at = from; at > 0; ) {
      const parent = (at - 1) >> 1;
      if (!this.#precedes(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }
  #sink(from: number): void {
    const count = this.#items.length;
    for (let at = from; ; ) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < count && this.#precedes(child, least)) least = child;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }
  #swap(a: number, b: number): void {
    if (a === b) return;
    const itemA = this.#items[a] as Item;
    const itemB = this.#items[b] as Item;
    this.#items[a] = itemB;
    this.#items[b] = itemA;
    [this.#keys[a], this.#keys[b]] = [this.#keys[b] ?? 0, this.#keys[a] ?? 0];
    [this.#orders[a], this.#orders[b]] = [this.#orders[b] ?? 0, this.#orders[a] ?? 0];
    this.#places.set(itemA, b);
    this.#places.set(itemB, a);
  }
}
