import { expect, test } from "vitest";
import { lpOffset } from "../../src/execution/lp-window.ts";

test("no two words of the window lie at the same place", () => {
  const names = new Map<number, string>();
  for (const [name, offset] of Object.entries(lpOffset)) {
    expect(names.get(offset), `${name} at 0x${offset.toString(16)}`).toBeUndefined();
    names.set(offset, name);
  }
});
