import { expect, it } from "vitest";
import { LineBuffer } from "../../src/machine/drivers/line-buffer.ts";

it("hands on whole lines, a line without an end in pieces, and what is left when asked", () => {
  const lines: string[] = [];
  const buffer = new LineBuffer((line) => lines.push(line));
  for (const byte of new TextEncoder().encode("one\n\ntwö\nrest")) buffer.add(byte);
  expect(lines).toEqual(["one", "twö"]);
  buffer.flush();
  buffer.flush();
  expect(lines).toEqual(["one", "twö", "rest"]);
  for (let n = 0; n < 2000; n++) buffer.add(0x41);
  expect(lines[3]).toBe("A".repeat(1024));
});
