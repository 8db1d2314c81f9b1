import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { mem64, rax } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;

const page = 0x6_0000;
const log = 0x6_1000;
const accessedDirty = 0x40;
const flag = { accessed: 0x100n, dirty: 0x200n } as const;

beforeAll(() => {
  m = new VmxMachine().root().useEpt(accessedDirty);
  m.enable("secondary.enablePml").set("pmlAddress", log).set("pmlIndex", 511);
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** The guest touches the page; its own tables and code are dirty or accessed before. */
function access(isWrite: boolean, resume = false): Exit {
  m.guest((asm) => {
    if (isWrite) {
      asm.mov(mem64(page + 8), rax);
    } else {
      asm.mov(rax, mem64(page + 8));
    }
    asm.vmcall();
  });
  m.set("guestRip", vmxPlace.guestCode);
  return resume ? m.resume() : m.launch();
}
const logged = (): bigint[] => {
  const first = (m.number("pmlIndex") + 1) & 0xffff;
  return Array.from({ length: 512 - first }, (_, n) => m.read64(log + (first + n) * 8));
};
const leaf = (): bigint => m.read64(m.eptEntry(page));

describe("the page-modification log", () => {
  it("holds the page when its dirty flag is set, from the end on", () => {
    expect(access(true).reason).toBe(exitReason.vmcall);
    const pages = logged();
    expect(pages[0]).toBe(BigInt(page));
    // Accesses to the guest's paging structures count as writes.
    expect(pages).toContain(m.get("guestCr3"));
    expect(new Set(pages).size).toBe(pages.length);
    expect(leaf() & flag.dirty).toBe(flag.dirty);
  });

  it("does not hold what was only read, nor what was dirty", () => {
    expect(access(false).reason).toBe(exitReason.vmcall);
    expect(logged()).not.toContain(BigInt(page));
    expect(leaf() & (flag.accessed | flag.dirty)).toBe(flag.accessed);
    m.write64(m.eptEntry(page), leaf() | flag.dirty);
    expect(access(true, true).reason).toBe(exitReason.vmcall);
    expect(logged()).not.toContain(BigInt(page));
  });

  it("does not exist without the control, nor without accessed and dirty flags", () => {
    m.disable("secondary.enablePml");
    expect(access(true).reason).toBe(exitReason.vmcall);
    expect(m.number("pmlIndex")).toBe(511);
    restore();
    m.set("eptPointer", vmxPlace.ept | 0x1e);
    expect(access(true).reason).toBe(exitReason.vmcall);
    expect(m.number("pmlIndex")).toBe(511);
  });

  it("holds the page again when its flag was cleared and an entry has forgotten the TLB", () => {
    access(true);
    m.write64(m.eptEntry(page), leaf() & ~flag.dirty);
    expect(access(true, true).reason).toBe(exitReason.vmcall);
    expect(logged().filter((at) => at === BigInt(page))).toHaveLength(2);
  });

  it("wraps round below its first entry, and is full then", () => {
    access(false);
    m.set("pmlIndex", 0);
    expect(access(true, true).reason).toBe(exitReason.vmcall);
    expect(m.number("pmlIndex")).toBe(0xffff);
    expect(m.read64(log)).toBe(BigInt(page));
  });

  it.each([0xffff, 512])("exits when it is full: index %i", (index) => {
    access(false);
    const before = leaf();
    m.set("pmlIndex", index);
    m.vmx.ept.invalidateAll();
    m.lp.addressSpace.invalidateAll();
    const exit = access(true, true);
    expect(exit).toMatchObject({
      reason: exitReason.pageModificationLogFull,
      qualification: 0n,
      rip: BigInt(vmxPlace.guestCode),
    });
    expect(m.number("guestRflags") & 0x1_0000).not.toBe(0);
    expect(leaf()).toBe(before);
    expect(m.number("pmlIndex")).toBe(index);
    m.set("pmlIndex", 511);
    expect(m.resume().reason).toBe(exitReason.vmcall);
    expect(logged()).toEqual([BigInt(page)]);
  });
});
