import { afterEach, expect, it, vi } from "vitest";
import { AccessClass } from "../../src/cpu/address-space.ts";
import { CodePages } from "../../src/execution/code-pages.ts";
import { Tlb, TlbAccess } from "../../src/execution/tlb.ts";
import { place, TestMachine } from "./test-machine.ts";

afterEach(() => vi.restoreAllMocks());

/** Whether the TLB lets stores to the data page through. */
function mayStore(m: TestMachine): boolean {
  const context = m.lp.addressSpace.contexts[AccessClass.Current] ?? 0;
  return m.lp.core.tlb.lookup(place.data, 0, context, TlbAccess.Write) >= 0;
}

it("a store to a page of data enters write permission", () => {
  const m = new TestMachine().long64();
  m.lp.linear.write32(BigInt(place.data), 1, AccessClass.Current);
  expect(mayStore(m)).toBe(true);
});

it("permission is taken back when the page is claimed for decoding while it is being entered", () => {
  const m = new TestMachine().long64();
  const pages = new CodePages(m.memory, m.lp.layout);
  const fill = Tlb.prototype.fill;
  vi.spyOn(Tlb.prototype, "fill").mockImplementationOnce(function (this: Tlb, ...all) {
    fill.apply(this, all);
    // The other processor looks through the TLBs just before the entry is there.
    pages.mark(place.data, 64);
  });
  m.lp.linear.write32(BigInt(place.data), 1, AccessClass.Current);
  expect(mayStore(m)).toBe(false);
  expect(m.read32(place.data)).toBe(1);
});
