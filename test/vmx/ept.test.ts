import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { haswell } from "../../src/cpu/models/haswell.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { mem64, mem128, rax, rcx, rdx } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { place } from "../cpu/test-machine.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root().useEpt();
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** A page for the guest's accesses, apart from its code, stack and tables. */
const page = 0x6_0000;
const Right = { read: 1n, write: 2n, execute: 4n } as const;
const all = 7n;
const writeBack = 0x30n;

type Access = "read" | "write" | "fetch";

/** The guest reads, writes or executes the page, and then calls. */
function access(kind: Access, resume = false): Exit {
  m.state.u8[page] = 0xc3;
  m.guest((asm) => {
    if (kind === "read") {
      asm.mov(rax, mem64(page));
    } else if (kind === "write") {
      asm.mov(mem64(page + 8), rax);
    } else {
      asm.mov(rax, BigInt(page));
      asm.call(rax);
    }
    asm.vmcall();
  });
  m.set("guestRip", vmxPlace.guestCode).set("guestRsp", vmxPlace.guestStack);
  return resume ? m.resume() : m.launch();
}
function entry(value: bigint, level = 0, guestPhysical = page): void {
  m.write64(m.eptEntry(guestPhysical, level), value);
}
/** Qualification of an access through a page that the guest maps for user mode, writable. */
const translated = 0x780n;
const leaf = (low: bigint): bigint => BigInt(page) | low;

describe("rights", () => {
  const qualificationOf: Record<Access, bigint> = { read: 1n, write: 2n, fetch: 4n };
  const wanted: Record<Access, bigint> = {
    read: Right.read,
    write: Right.write,
    fetch: Right.execute,
  };
  const kinds: readonly Access[] = ["read", "write", "fetch"];
  const rights = [0n, 1n, 3n, 4n, 5n, 7n];

  describe.each(rights)("%i", (right) => {
    it.each(kinds)("for a %s", (kind) => {
      entry(leaf(right === 0n ? 0n : right | writeBack));
      const exit = access(kind);
      if ((right & wanted[kind]) !== 0n) {
        expect(exit.reason).toBe(exitReason.vmcall);
        return;
      }
      const offset = kind === "write" ? 8 : 0;
      expect(exit.reason).toBe(exitReason.eptViolation);
      expect(exit.qualification).toBe(qualificationOf[kind] | (right << 3n) | translated);
      expect(m.get("guestPhysicalAddress")).toBe(BigInt(page + offset));
      expect(m.get("guestLinearAddress")).toBe(BigInt(page + offset));
      expect(m.number("guestRflags") & 0x1_0000).not.toBe(0);
    });
  });

  it("of all levels count together", () => {
    entry(BigInt(vmxPlace.ept + 0x3000) | Right.read | Right.execute, 1);
    m.write64(m.eptEntry(page), leaf(all | writeBack));
    const exit = access("write");
    expect(exit.reason).toBe(exitReason.eptViolation);
    // The guest's stack and code lie under the same entry: reads and fetches pass.
    expect(exit.qualification & 0x3fn).toBe(0x2bn);
  });

  it("that were granted hold until they are invalidated", () => {
    m.disable("secondary.enableVpid").enable("secondary.enableVpid").set("vpid", 1);
    expect(access("read").reason).toBe(exitReason.vmcall);
    entry(0n);
    expect(access("read", true).reason).toBe(exitReason.vmcall);
    m.state.setGpr(2, 1n);
    m.write64(vmxPlace.pointers, BigInt(vmxPlace.ept | 0x1e));
    expect(m.execute((asm) => asm.invept(rdx, mem128(vmxPlace.pointers)))).toBe("succeed");
    expect(access("read", true).reason).toBe(exitReason.eptViolation);
  });

  it("that were refused are looked up again", () => {
    entry(0n);
    expect(access("read").reason).toBe(exitReason.eptViolation);
    entry(leaf(all | writeBack));
    expect(access("read", true).reason).toBe(exitReason.vmcall);
  });
});

describe("misconfigurations", () => {
  const beyond = 1n << BigInt(skylakeServer.physicalAddressBits);
  it.each<[string, bigint, number]>([
    ["write without read", leaf(2n | writeBack), 0],
    ["write and execute without read", leaf(6n | writeBack), 0],
    ["memory type 2", leaf(all | (2n << 3n)), 0],
    ["memory type 3", leaf(all | (3n << 3n)), 0],
    ["memory type 7", leaf(all | (7n << 3n)), 0],
    ["an address beyond the width", beyond | all | writeBack, 0],
    ["a table entry with a memory type", BigInt(vmxPlace.ept + 0x3000) | all | writeBack, 1],
    ["a large page that is not aligned", 0x1000n | all | writeBack | 0x80n, 1],
    ["bit 7 of the top level", BigInt(vmxPlace.ept + 0x1000) | all | 0x80n, 3],
    ["bit 6 of a table entry", BigInt(vmxPlace.ept + 0x2000) | all | 0x40n, 2],
  ])("%s", (_what, value, level) => {
    entry(value, level);
    const exit = access("read");
    expect(exit).toMatchObject({ reason: exitReason.eptMisconfiguration, qualification: 0n });
  });

  it.each<[string, bigint]>([
    ["ignored bits", leaf(all | writeBack | (1n << 11n) | (0x7ffn << 52n))],
    ["memory type 0", leaf(all)],
    ["ignore PAT", leaf(all | writeBack | 0x40n)],
    ["bit 7 of a page's entry", leaf(all | writeBack | 0x80n)],
  ])("are not: %s", (_what, value) => {
    entry(value);
    expect(access("read").reason).toBe(exitReason.vmcall);
  });

  it("of a not-present entry do not exist: it is a violation", () => {
    entry(beyond | (7n << 3n));
    expect(access("read").reason).toBe(exitReason.eptViolation);
  });

  it("come before a violation further up", () => {
    // The first access sets the flags in the guest's tables, which lie under the same entry.
    access("write");
    entry(BigInt(vmxPlace.ept + 0x3000) | Right.read | Right.execute, 1);
    entry(leaf(2n | writeBack));
    m.vmx.ept.invalidateAll();
    m.lp.addressSpace.invalidateAll();
    expect(access("write", true).reason).toBe(exitReason.eptMisconfiguration);
  });
});

describe("large pages", () => {
  it("of 2 MiB", () => {
    entry(0n | all | writeBack | 0x80n, 1);
    m.write64(page, 0x1234n);
    expect(access("read").reason).toBe(exitReason.vmcall);
  });

  it("of 1 GiB", () => {
    entry(0n | all | writeBack | 0x80n, 2);
    expect(access("read").reason).toBe(exitReason.vmcall);
  });

  it("of 2 MiB translate every address within", () => {
    // Guest-physical 2 to 4 MiB are the same RAM as 0 to 2 MiB.
    m.write64(m.eptEntry(0x20_0000, 1), all | writeBack | 0x80n);
    m.map(BigInt(page), BigInt(page + 0x20_0000) | 7n);
    m.write64(page, 0x1111_2222n);
    m.guest((asm) => {
      asm.mov(rcx, mem64(page));
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr(1)).toBe(0x1111_2222n);
  });
});

describe("accessed and dirty flags", () => {
  const accessed = 0x100n;
  const dirty = 0x200n;
  const withFlags = 0x40;
  const flagsOf = (level: number): bigint => m.read64(m.eptEntry(page, level)) & (accessed | dirty);

  beforeEach(() => {
    m.useEpt(withFlags);
  });

  it("stay as they are when they are off", () => {
    m.useEpt(0);
    access("write");
    expect([0, 1, 2, 3].map(flagsOf)).toEqual([0n, 0n, 0n, 0n]);
  });

  it("are set by a read: accessed in every entry", () => {
    access("read");
    expect(flagsOf(0)).toBe(accessed);
    expect([1, 2, 3].map((level) => flagsOf(level) & accessed)).toEqual([
      accessed,
      accessed,
      accessed,
    ]);
  });

  it("are set by a write: dirty in the leaf", () => {
    access("write");
    expect(flagsOf(0)).toBe(accessed | dirty);
  });

  it("are set by a write that follows a read", () => {
    access("read");
    expect(flagsOf(0)).toBe(accessed);
    access("write", true);
    expect(flagsOf(0)).toBe(accessed | dirty);
  });

  it("mark the guest's paging structures dirty", () => {
    access("read");
    const table = m.entryOf(BigInt(page)) & ~0xfff;
    expect(m.read64(m.eptEntry(table)) & (accessed | dirty)).toBe(accessed | dirty);
  });

  it("are not set by an access that is refused", () => {
    entry(leaf(Right.read | writeBack));
    access("write");
    expect(flagsOf(0)).toBe(0n);
  });
});

describe("the guest's paging structures", () => {
  /** Guest-physical page that holds the lowest-level entry of the page's translation. */
  const table = (): number => m.entryOf(BigInt(page)) & ~0xfff;

  it("are read through EPT, and a violation there is told apart", () => {
    const at = table();
    entry(0n, 0, at);
    const exit = access("read");
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & 0x180n).toBe(0x80n);
    expect(exit.qualification & 7n).toBe(1n);
    expect(Number(m.get("guestPhysicalAddress")) & ~0xfff).toBe(at);
  });

  it("count as written when EPT has accessed and dirty flags", () => {
    m.useEpt(0x40);
    const at = table();
    entry(BigInt(at) | Right.read | writeBack, 0, at);
    const exit = access("read");
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & 7n).toBe(3n);
    expect(exit.qualification & 0x180n).toBe(0x80n);
  });

  it("need write permission only where a flag is to be set, without those", () => {
    const at = table();
    entry(BigInt(at) | Right.read | writeBack, 0, at);
    const exit = access("read");
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & 2n).toBe(2n);
  });
});

describe("violations during the delivery of an event", () => {
  it("tell the event", () => {
    m.set("guestRsp", page + 0x1000);
    entry(0n);
    m.guest((asm) => asm.ud2());
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.vectoring).toBe(0x8000_0300 + Vector.UD);
    expect(exit.rip).toBe(BigInt(vmxPlace.guestCode));
  });

  it("tell a software interrupt and its length", () => {
    m.set("guestRsp", page + 0x1000);
    entry(0n);
    m.guest((asm) => asm.int(0x80));
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.vectoring).toBe(0x8000_0480);
    expect(exit.length).toBe(2);
    expect(exit.rip).toBe(BigInt(vmxPlace.guestCode));
  });

  it("tell an injected event, and the guest has not begun", () => {
    m.set("guestRsp", page + 0x1000);
    m.set("entryInterruptionInformation", 0x8000_0306);
    entry(0n);
    m.guest((asm) => asm.vmcall());
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.vectoring).toBe(0x8000_0306);
    expect(exit.rip).toBe(BigInt(vmxPlace.guestCode));
    expect(m.number("entryInterruptionInformation")).toBe(0x306);
  });
});

describe("VPIDs", () => {
  /** Reads the page's linear address in the guest. */
  function read(resume: boolean): bigint {
    m.guest((asm) => {
      asm.mov(rcx, mem64(page));
      asm.vmcall();
    });
    m.set("guestRip", vmxPlace.guestCode);
    expect((resume ? m.resume() : m.launch()).reason).toBe(exitReason.vmcall);
    return m.state.gpr(1);
  }
  beforeEach(() => {
    m.write64(page, 0xaaaan);
    m.write64(page + 0x1000, 0xbbbbn);
  });
  const remap = (): void => m.map(BigInt(page), BigInt(page + 0x1000) | 7n);

  it("keep translations across exits and entries", () => {
    m.enable("secondary.enableVpid").set("vpid", 5);
    expect(read(false)).toBe(0xaaaan);
    remap();
    expect(read(true)).toBe(0xaaaan);
    m.set("vpid", 6);
    expect(read(true)).toBe(0xbbbbn);
  });

  it("without them an entry forgets what the guest's translations were", () => {
    expect(read(false)).toBe(0xaaaan);
    remap();
    expect(read(true)).toBe(0xbbbbn);
  });

  it.each([
    ["an address", 0n, 5n],
    ["a context", 1n, 5n],
    ["all contexts", 2n, 0n],
  ])("are invalidated by INVVPID: %s", (_what, type, vpid) => {
    m.enable("secondary.enableVpid").set("vpid", 5);
    read(false);
    remap();
    m.state.setGpr(2, type);
    m.write64(vmxPlace.pointers, vpid);
    m.write64(vmxPlace.pointers + 8, BigInt(page));
    expect(m.execute((asm) => asm.invvpid(rdx, mem128(vmxPlace.pointers)))).toBe("succeed");
    expect(read(true)).toBe(0xbbbbn);
  });

  it("of others are not touched by INVVPID of one", () => {
    m.enable("secondary.enableVpid").set("vpid", 5);
    read(false);
    remap();
    m.state.setGpr(2, 1n);
    m.write64(vmxPlace.pointers, 9n);
    expect(m.execute((asm) => asm.invvpid(rdx, mem128(vmxPlace.pointers)))).toBe("succeed");
    expect(read(true)).toBe(0xaaaan);
  });
});

describe("an instruction behind MOV SS that exits", () => {
  it("leaves single-step pending in the guest, and none in the host", () => {
    entry(leaf(0n));
    m.set("guestRflags", 0x102).set("guestInterruptibility", 2).set("guestPendingDebug", 0x4000);
    const raised = m.exceptions.length;
    const { reason } = access("write");
    expect(reason).toBe(exitReason.eptViolation);
    expect(m.number("guestPendingDebug")).toBe(0x4000);
    expect(m.number("guestInterruptibility")).toBe(2);
    expect(m.lp.pendingDebug).toBe(0);
    expect(m.exceptions).toHaveLength(raised);
  });
});

describe("advanced information on EPT violations", () => {
  const pageOf = (flags: bigint): bigint => BigInt(page) | flags;
  const noExecute = 1n << 63n;
  const advanced = 0xe00n;

  it.each([
    ["user mode, writable", 7n, 0x600n],
    ["supervisor mode, writable", 3n, 0x400n],
    ["user mode, read-only", 5n, 0x200n],
    ["user mode, writable, execute-disable", 7n | noExecute, 0xe00n],
  ])("tells of the guest's page: %s", (_name, flags, expected) => {
    m.map(BigInt(page), pageOf(flags));
    entry(0n);
    const exit = access("read");
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & advanced).toBe(expected);
  });

  it("is not there of an access by a page walk", () => {
    entry(0n, 0, place.pageTables);
    const exit = access("read");
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & 0x100n).toBe(0n);
    expect(exit.qualification & advanced).toBe(0n);
  });

  it("is not there on a model that does not report it", () => {
    const older = new VmxMachine(haswell).root().useEpt();
    older.write64(older.eptEntry(page), 0n);
    older.guest((asm) => asm.mov(rax, mem64(page)));
    const exit = older.launch();
    expect(exit.reason).toBe(exitReason.eptViolation);
    expect(exit.qualification & advanced).toBe(0n);
  });
});
