import type { SliceOptions, TraceWriter } from "./trace-writer.ts";

interface OpenSlice {
  /** What tells it from other open slices of its track. */
  readonly key: string;
  readonly name: string;
}

/**
 * Slices of tracks, made to nest strictly: a slice that ends while others are open within it closes those too, and they go on as new slices
 * unless they belong to what has ended.
 */
export class SliceStacks {
  readonly #writer: TraceWriter;
  readonly #stacks = new Map<number, OpenSlice[]>();

  constructor(writer: TraceWriter) {
    this.#writer = writer;
  }

  begin(time: number, track: number, key: string, name: string, options?: SliceOptions): void {
    const stack = this.#stacks.get(track) ?? [];
    this.#stacks.set(track, stack);
    stack.push({ key, name });
    this.#writer.beginSlice(time, track, name, options);
  }

  /**
   * Ends the innermost slice of that key; nothing if none is open.
   * @param alongWith whether a slice open within it ends for good
   */
  end(time: number, track: number, key: string, alongWith: (key: string) => boolean): void {
    const stack = this.#stacks.get(track) ?? [];
    const at = stack.findLastIndex((slice) => slice.key === key);
    if (at < 0) return;
    const within = stack.splice(at).slice(1);
    for (let n = 0; n <= within.length; n++) this.#writer.endSlice(time, track);
    for (const slice of within) {
      if (!alongWith(slice.key)) this.begin(time, track, slice.key, slice.name);
    }
  }

  endAll(time: number): void {
    for (const [track, stack] of this.#stacks) {
      for (let n = 0; n < stack.length; n++) this.#writer.endSlice(time, track);
      stack.length = 0;
    }
  }
}
