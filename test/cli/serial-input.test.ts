import { describe, expect, it } from "vitest";
import { keysForGuest } from "../../src/cli/serial-input.ts";

/** What the guest gets of these pieces, and whether the run was ended. */
async function typed(...pieces: readonly string[]): Promise<{ guest: string; quits: number }> {
  let quits = 0;
  const keys = async function* () {
    for (const piece of pieces) yield Buffer.from(piece, "latin1");
  };
  const guest: Uint8Array[] = [];
  for await (const bytes of keysForGuest(keys(), () => quits++)) guest.push(bytes);
  return { guest: Buffer.concat(guest).toString("latin1"), quits };
}

describe("keys at the terminal", () => {
  it("go to the guest as they are, Ctrl-C and bytes that are no characters too", async () => {
    expect(await typed("ls\r", "\x03\xff")).toEqual({ guest: "ls\r\x03\xff", quits: 0 });
  });
  it("Ctrl-A x ends the run, and nothing behind it is sent", async () => {
    expect(await typed("a", "\x01xb", "c")).toEqual({ guest: "a", quits: 1 });
  });
  it("a second Ctrl-A is one for the guest, also when they come apart", async () => {
    expect(await typed("\x01\x01x", "\x01", "\x01")).toEqual({ guest: "\x01x\x01", quits: 0 });
  });
  it("Ctrl-A and any other key is that key", async () => {
    expect(await typed("\x01q")).toEqual({ guest: "q", quits: 0 });
  });
});
