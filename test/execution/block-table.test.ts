import { describe, expect, it } from "vitest";
import { codeMode } from "../../src/execution/code-mode.ts";
import {
  blockEntries,
  blockEntryBytes,
  blockEntryOffset,
  lpOffset,
} from "../../src/execution/lp-window.ts";
import { CoreHarness } from "./core-harness.ts";
import { load, programBase } from "./program.ts";

/** Decode modes under which the table knows a block at an address. */
function modesKnown(harness: CoreHarness, rip: bigint): number[] {
  const modes: number[] = [];
  for (let n = 0; n < blockEntries; n++) {
    const entry = lpOffset.blocks + n * blockEntryBytes;
    if (harness.get64(entry + blockEntryOffset.rip) === rip) {
      modes.push(harness.get32(entry + blockEntryOffset.key + 4));
    }
  }
  return modes;
}

describe("the table of decoded blocks", () => {
  it("keeps a block while the same code is stepped through", () => {
    const harness = new CoreHarness();
    // INC EAX; JMP to itself.
    load(harness, "ffc0 ebfc");
    harness.run(100);
    harness.rip = BigInt(programBase);
    harness.run(1);
    const modes = modesKnown(harness, BigInt(programBase));
    expect(modes.sort((a, b) => a - b)).toEqual([
      codeMode.bits64,
      codeMode.bits64 | codeMode.single,
    ]);
  });
});
