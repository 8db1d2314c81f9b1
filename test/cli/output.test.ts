import { closeSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { OutputPort } from "../../src/cli/standard-output.ts";
import { formatTable } from "../../src/cli/table.ts";

it("writes in order, each promise kept when its bytes are out", async () => {
  const path = join(tmpdir(), `vmxon-output-${process.pid}`);
  const file = openSync(path, "w");
  try {
    const port = new OutputPort(file);
    const large = new Uint8Array(300_000).fill(0x61);
    const writes = [large, Uint8Array.of(0x62), Uint8Array.of(0x63)].map((bytes) =>
      port.write(bytes),
    );
    await writes[1];
    expect(readFileSync(path).length).toBeGreaterThanOrEqual(300_001);
    await port.drain(10_000);
    expect(readFileSync(path).subarray(300_000).toString()).toBe("bc");
  } finally {
    closeSync(file);
    rmSync(path);
  }
});

it("says once that nobody takes the bytes, and keeps its promises all the same", async () => {
  const file = openSync("/dev/null", "r");
  try {
    const port = new OutputPort(file);
    let closed = 0;
    port.onClosed = () => {
      closed++;
    };
    await port.write(Uint8Array.of(1));
    await port.write(Uint8Array.of(2));
    expect(closed).toBe(1);
  } finally {
    closeSync(file);
  }
});

it("aligns the first column to the left and the others to the right", () => {
  expect(
    formatTable([
      ["a", "bb"],
      ["ccc", "d"],
    ]),
  ).toBe("a    bb\nccc   d\n");
});
