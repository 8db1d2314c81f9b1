/** Code as a tree: bytes and smaller pieces of code, in order. Pieces are shared, and flattened only where they are used. */
export type Code = readonly (number | Code)[];

/** Adds the bytes of a piece of code to those there are. */
export function flatten(code: Code, bytes: number[]): void {
  // Plain counting: this loop sees every byte of the interpreter while it is still run unoptimized.
  for (let n = 0; n < code.length; n++) {
    const part = code[n];
    if (typeof part === "number") {
      bytes.push(part);
    } else if (part !== undefined) {
      flatten(part, bytes);
    }
  }
}
