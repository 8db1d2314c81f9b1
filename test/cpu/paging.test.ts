import { describe, expect, it } from "vitest";
import { AccessClass } from "../../src/cpu/address-space.ts";
import { cr0Bit, cr4Bit, eferBit, flagBit } from "../../src/cpu/register-bits.ts";
import { Activity, lpOffset } from "../../src/execution/lp-window.ts";
import { TlbAccess } from "../../src/execution/tlb.ts";
import {
  al,
  cr3,
  eax,
  ecx,
  edx,
  mem8,
  mem32,
  rax,
  rcx,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import { noExecute, PageFlag, place, TestMachine } from "./test-machine.ts";

const { present, writable, user, large } = PageFlag;
const accessed = 0x20;
const dirty = 0x40;
const page = place.data;
const error = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

type Access = "read" | "write" | "fetch";
interface Case {
  readonly name: string;
  readonly level: 0 | 3;
  readonly access: Access;
  readonly entry: number | bigint;
  readonly cr0?: number;
  readonly cr4?: number;
  readonly ac?: boolean;
  /** Undefined: no fault. */
  readonly error: number | undefined;
}

/** Rights of one page, after "Determination of Access Rights". */
const cases: readonly Case[] = [
  // Not present, whatever else.
  { name: "absent", level: 0, access: "read", entry: 0, error: 0 },
  { name: "absent", level: 0, access: "write", entry: 0, error: error.write },
  { name: "absent", level: 3, access: "read", entry: 0, error: error.user },
  { name: "absent", level: 3, access: "write", entry: 0, error: error.user | error.write },
  { name: "absent", level: 0, access: "fetch", entry: 0, error: error.fetch },
  // Supervisor pages.
  { name: "supervisor page", level: 0, access: "read", entry: present, error: undefined },
  {
    name: "supervisor page",
    level: 3,
    access: "read",
    entry: present | writable,
    error: error.present | error.user,
  },
  {
    name: "supervisor page",
    level: 3,
    access: "write",
    entry: present | writable,
    error: error.present | error.user | error.write,
  },
  {
    name: "supervisor page",
    level: 3,
    access: "fetch",
    entry: present | writable,
    error: error.present | error.user | error.fetch,
  },
  // Read-only pages and CR0.WP.
  {
    name: "read-only, WP",
    level: 0,
    access: "write",
    entry: present,
    cr0: cr0Bit.WP,
    error: error.present | error.write,
  },
  { name: "read-only, no WP", level: 0, access: "write", entry: present, cr0: 0, error: undefined },
  {
    name: "read-only user page, no WP",
    level: 3,
    access: "write",
    entry: present | user,
    cr0: 0,
    error: error.present | error.user | error.write,
  },
  {
    name: "read-only user page",
    level: 3,
    access: "read",
    entry: present | user,
    error: undefined,
  },
  {
    name: "writable user page",
    level: 3,
    access: "write",
    entry: present | user | writable,
    error: undefined,
  },
  // NX.
  {
    name: "NX",
    level: 0,
    access: "fetch",
    entry: BigInt(present) | noExecute,
    error: error.present | error.fetch,
  },
  {
    name: "NX user page",
    level: 3,
    access: "fetch",
    entry: BigInt(present | user) | noExecute,
    error: error.present | error.user | error.fetch,
  },
  {
    name: "NX does not stop reads",
    level: 0,
    access: "read",
    entry: BigInt(present) | noExecute,
    error: undefined,
  },
  // SMEP.
  {
    name: "SMEP",
    level: 0,
    access: "fetch",
    entry: present | user,
    cr4: cr4Bit.SMEP,
    error: error.present | error.fetch,
  },
  {
    name: "SMEP, supervisor page",
    level: 0,
    access: "fetch",
    entry: present,
    cr4: cr4Bit.SMEP,
    error: undefined,
  },
  { name: "no SMEP", level: 0, access: "fetch", entry: present | user, error: undefined },
  {
    name: "SMEP does not stop reads",
    level: 0,
    access: "read",
    entry: present | user,
    cr4: cr4Bit.SMEP,
    error: undefined,
  },
  {
    name: "SMEP at level 3",
    level: 3,
    access: "fetch",
    entry: present | user,
    cr4: cr4Bit.SMEP,
    error: undefined,
  },
  // SMAP.
  {
    name: "SMAP",
    level: 0,
    access: "read",
    entry: present | user,
    cr4: cr4Bit.SMAP,
    error: error.present,
  },
  {
    name: "SMAP",
    level: 0,
    access: "write",
    entry: present | user | writable,
    cr4: cr4Bit.SMAP,
    error: error.present | error.write,
  },
  {
    name: "SMAP with AC",
    level: 0,
    access: "write",
    entry: present | user | writable,
    cr4: cr4Bit.SMAP,
    ac: true,
    error: undefined,
  },
  {
    name: "SMAP with AC, read-only",
    level: 0,
    access: "write",
    entry: present | user,
    cr4: cr4Bit.SMAP,
    ac: true,
    error: error.present | error.write,
  },
  {
    name: "SMAP does not stop fetches",
    level: 0,
    access: "fetch",
    entry: present | user,
    cr4: cr4Bit.SMAP,
    error: undefined,
  },
  {
    name: "SMAP at level 3",
    level: 3,
    access: "read",
    entry: present | user,
    cr4: cr4Bit.SMAP,
    error: undefined,
  },
  // Reserved bits: above the physical-address width.
  {
    name: "reserved bit 46",
    level: 0,
    access: "read",
    entry: (1n << 46n) | 1n,
    error: error.present | error.reserved,
  },
  {
    name: "reserved bit 51 at level 3",
    level: 3,
    access: "write",
    entry: (1n << 51n) | 7n,
    error: error.present | error.reserved | error.user | error.write,
  },
];

/** A machine whose page `place.data` is mapped by the entry, and whose program makes the access. */
function attempt(test: Case, flags = 0): TestMachine {
  const m = new TestMachine().long64();
  const { state } = m;
  const kept = state.low("cr0") & ~cr0Bit.WP;
  state.setLow("cr0", kept | (test.cr0 ?? cr0Bit.WP));
  state.setLow("cr4", state.low("cr4") | (test.cr4 ?? 0));
  m.state.u8[page] = 0xf4;
  m.map(BigInt(page), BigInt(page | flags) | BigInt(test.entry));
  if (test.level === 0) {
    // What the program itself uses is out of SMEP's and SMAP's way.
    for (const at of [
      place.code,
      place.stack0 - 1,
      place.handlers,
      place.gdt,
      place.idt,
      place.tss,
    ]) {
      const base = BigInt(at & ~0xfff);
      m.map(base, base | BigInt(present | writable));
    }
    m.lp.loadControlState();
  } else {
    m.map(BigInt(place.handlers), BigInt(place.handlers | present | writable));
    m.map(
      BigInt(place.innerStack - 0x1000),
      BigInt((place.innerStack - 0x1000) | present | writable),
    );
    for (const at of [place.gdt, place.idt, place.tss]) {
      m.map(BigInt(at), BigInt(at | present | writable));
    }
    m.user();
  }
  if (test.ac === true) {
    m.lp.changeFlags(flagBit.AC, flagBit.AC);
  }
  m.run(64, (asm) => {
    if (test.access === "read") {
      asm.mov(al, mem8(page));
    } else if (test.access === "write") {
      asm.mov(mem8(page), 1);
    } else {
      asm.mov(rax, page);
      asm.jmp(rax);
    }
    asm.hlt();
  });
  return m;
}

describe("access rights of a page", () => {
  // With both flags set the generated walk decides, without them the complete one.
  const cold = cases.map((test) => [test, 0, "not yet accessed"] as const);
  const warm = cases.map((test) => [test, accessed | dirty, "accessed and dirty"] as const);
  for (const [test, flags, state] of [...cold, ...warm]) {
    const verdict = test.error === undefined ? "is allowed" : `faults with ${test.error}`;
    it(`${test.name}, ${state}: ${test.access} at level ${test.level} ${verdict}`, () => {
      const m = attempt(test, flags);
      const isProgramsOwnEnd = test.error === undefined && test.level === 0;
      if (isProgramsOwnEnd) {
        expect(m.finished).toBe(true);
        return;
      }
      const trap = m.trap();
      if (test.error === undefined) {
        // HLT at level 3.
        expect(trap.vector).toBe(13);
        return;
      }
      expect(trap).toMatchObject({ vector: 14, errorCode: test.error });
      expect(m.state.get("cr2")).toBe(BigInt(page));
    });
  }
});

describe("accessed and dirty flags", () => {
  const entry = (m: TestMachine): number => Number(m.read64(m.entryOf(BigInt(page))) & 0xfffn);

  it("a read sets accessed at every level", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.mov(eax, mem32(page));
      asm.hlt();
    });
    expect(entry(m) & (accessed | dirty)).toBe(accessed);
    for (const level of [1, 2, 3]) {
      expect(Number(m.read64(m.entryOf(BigInt(page), level))) & (accessed | dirty)).toBe(accessed);
    }
  });

  it("a write sets dirty, also after a read has filled the TLB", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.mov(eax, mem32(page));
      asm.mov(mem32(page), eax);
      asm.hlt();
    });
    expect(entry(m) & (accessed | dirty)).toBe(accessed | dirty);
  });

  it("a refused write sets nothing", () => {
    const m = new TestMachine().long64();
    m.map(BigInt(page), BigInt(page | present));
    m.run(64, (asm) => asm.mov(mem32(page), eax));
    expect(m.trap().vector).toBe(14);
    expect(entry(m) & (accessed | dirty)).toBe(0);
  });
});

describe("large pages", () => {
  it("2 MiB: translates, and INVLPG anywhere in it drops all of it", () => {
    const m = new TestMachine().long64();
    const linear = 0x4000_0000n;
    m.map(linear, BigInt(0x20_0000 | present | writable | large), 1);
    m.write32(0x20_1234, 0x1111);
    m.write32(0x1234, 0x2222);
    m.run(64, (asm) => {
      asm.mov(eax, mem32(0x4000_1234));
      // The page moves to 0.
      asm.mov(rcx, m.entryOf(linear, 1));
      asm.and(mem32(rcx), ~0x20_0000);
      asm.invlpg(mem8(0x401f_f000));
      asm.mov(edx, mem32(0x4000_1234));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0)).toBe(0x1111);
    expect(m.state.gpr32(2)).toBe(m.read32(0x1234));
  });

  it("1 GiB: translates", () => {
    const m = new TestMachine().long64();
    m.map(0x8000_0000n, BigInt(present | writable | large), 2);
    m.write32(0x30_0000, 0x3333);
    m.run(64, (asm) => {
      asm.mov(rcx, 0x8030_0000n);
      asm.mov(eax, mem32(rcx));
      asm.hlt();
    });
    expect(m.state.gpr32(0)).toBe(0x3333);
  });

  it("1 GiB: INVLPG anywhere in it drops all of it, and nothing else", () => {
    const m = new TestMachine().long64();
    const giant = 0x8000_0000;
    const flags = present | writable | large;
    m.map(BigInt(giant), BigInt(flags), 2);
    const known = (linear: number): boolean => {
      const context = m.lp.addressSpace.contexts[AccessClass.Current] ?? 0;
      return m.lp.core.tlb.lookup(linear, 0, context, TlbAccess.Read) >= 0;
    };
    const [first, second] = [giant + 0x12_3000, giant + 0x30_4000];
    m.run(64, (asm) => {
      for (const linear of [first, second, place.data]) {
        asm.mov(rcx, BigInt(linear));
        asm.mov(eax, mem32(rcx));
      }
      asm.hlt();
    });
    expect([first, second, place.data].map(known)).toEqual([true, true, true]);
    m.state.activity = Activity.Active;
    m.run(64, (asm) => {
      asm.mov(rcx, BigInt(giant + 0x3fff_f000));
      asm.invlpg(mem8(rcx));
      asm.hlt();
    });
    expect([first, second, place.data].map(known)).toEqual([false, false, true]);
  });

  it("reserved address bits fault", () => {
    const m = new TestMachine().long64();
    m.map(0x4000_0000n, BigInt(0x20_0000 | 0x2000 | present | large), 1);
    m.run(64, (asm) => asm.mov(eax, mem32(0x4000_0000)));
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | error.reserved });
  });
});

describe("32-bit paging", () => {
  it("translates by two levels, faults, and knows no NX", () => {
    const m = new TestMachine().paged32(false);
    m.map(0x40_0000n, BigInt(page | present | writable));
    m.map(0x40_1000n, 0n);
    m.write32(page, 0x4444);
    m.run(32, (asm) => {
      asm.mov(eax, mem32(0x40_0000));
      asm.mov(mem32(0x40_1000), eax);
    });
    expect(m.state.gpr32(0)).toBe(0x4444);
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.write });
  });

  it("4 MiB pages: address bits 39:32 lie in 20:13, bit 21 is reserved", () => {
    const m = new TestMachine().paged32(false);
    m.map(0x80_0000n, BigInt(present | writable | large), 1);
    m.map(0xc0_0000n, BigInt(present | large | 0x20_0000), 1);
    m.write32(0x30_0000, 0x5555);
    m.run(32, (asm) => {
      asm.mov(eax, mem32(0x80_0000 + 0x30_0000));
      asm.mov(edx, mem32(0xc0_0000));
    });
    expect(m.state.gpr32(0)).toBe(0x5555);
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | error.reserved });
  });
});

describe("PAE paging", () => {
  it("translates through the PDPTE registers, with NX", () => {
    const m = new TestMachine().paged32(true);
    m.map(0x60_0000n, BigInt(page | present | writable));
    m.map(0x60_1000n, BigInt(page | present) | noExecute);
    m.write32(page, 0x6666);
    m.run(32, (asm) => {
      asm.mov(eax, mem32(0x60_0000));
      asm.mov(edx, 0x60_1000);
      asm.jmp(edx);
    });
    expect(m.state.gpr32(0)).toBe(0x6666);
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | error.fetch });
  });

  it("does not read the PDPTEs again until CR3 is loaded", () => {
    const m = new TestMachine().paged32(true);
    const pdpt = m.state.low("cr3");
    m.write64(pdpt + 8, BigInt(m.read32(pdpt)));
    m.write32(page, 0x7777);
    m.run(32, (asm) => {
      asm.mov(eax, cr3);
      asm.mov(cr3, eax);
      asm.mov(eax, mem32(0x4000_0000 + page));
      asm.hlt();
    });
    expect(m.state.gpr32(0)).toBe(0x7777);
    const stale = new TestMachine().paged32(true);
    stale.write64(stale.state.low("cr3") + 8, BigInt(stale.read32(stale.state.low("cr3"))));
    stale.run(32, (asm) => asm.mov(eax, mem32(0x4000_0000 + page)));
    expect(stale.trap()).toMatchObject({ vector: 14, errorCode: 0 });
  });

  it("a malformed PDPTE makes the load of CR3 fault", () => {
    const m = new TestMachine().paged32(true);
    m.write64(m.state.low("cr3") + 8, 0x1e7n);
    m.run(32, (asm) => {
      asm.mov(eax, cr3);
      asm.mov(cr3, eax);
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

describe("translations in the TLB", () => {
  const other = 0xc000;
  /** Reads the page, remaps it to another, does something, reads again. */
  function remapped(
    between: (m: TestMachine, asm: Parameters<Parameters<TestMachine["run"]>[1]>[0]) => void,
    prepare: (m: TestMachine) => void = () => {},
  ): number {
    const m = new TestMachine().long64();
    prepare(m);
    m.lp.loadControlState();
    m.write32(page, 1);
    m.write32(other, 2);
    const entry = m.entryOf(BigInt(page));
    m.run(64, (asm) => {
      asm.mov(eax, mem32(page));
      asm.mov(mem32(entry), other | present | writable | accessed | dirty);
      between(m, asm);
      asm.mov(edx, mem32(page));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0) & 0xff).not.toBe(2);
    return m.state.gpr32(2);
  }

  it("persist until invalidated", () => {
    expect(remapped(() => {})).toBe(1);
  });
  it("INVLPG drops one", () => {
    expect(remapped((_, asm) => asm.invlpg(mem8(page)))).toBe(2);
  });
  it("INVLPG of another page leaves it", () => {
    expect(remapped((_, asm) => asm.invlpg(mem8(place.stack0)))).toBe(1);
  });
  it("MOV CR3 drops them", () => {
    expect(
      remapped((_, asm) => {
        asm.mov(rcx, cr3);
        asm.mov(cr3, rcx);
      }),
    ).toBe(2);
  });
  it("MOV CR3 with bit 63 keeps them when PCIDs are on", () => {
    const keep = (_: TestMachine, asm: Parameters<Parameters<TestMachine["run"]>[1]>[0]): void => {
      asm.mov(rcx, cr3);
      asm.bts(rcx, 63);
      asm.mov(cr3, rcx);
    };
    const pcids = (m: TestMachine): void =>
      m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.PCIDE);
    expect(remapped(keep, pcids)).toBe(1);
  });
  it("another PCID has its own", () => {
    const m = new TestMachine().long64();
    m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.PCIDE);
    m.lp.loadControlState();
    m.write32(page, 1);
    m.write32(other, 2);
    m.run(64, (asm) => {
      asm.mov(eax, mem32(page));
      asm.mov(mem32(m.entryOf(BigInt(page))), other | 0x63);
      asm.mov(rcx, cr3);
      asm.or(rcx, 5);
      asm.mov(cr3, rcx);
      asm.mov(edx, mem32(page));
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(2)).toBe(2);
  });
  it("survive the running out of address-space ids", () => {
    const m = new TestMachine().long64();
    m.write32(page, 0x8888);
    m.run(64, (asm) => {
      asm.mov(ecx, 1500);
      const again = asm.here("again");
      asm.mov(rax, cr3);
      asm.mov(cr3, rax);
      asm.mov(edx, mem32(page));
      asm.dec(ecx);
      asm.jne(again);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(2)).toBe(0x8888);
  });
});

describe("turning modes on", () => {
  it("EFER.NXE makes bit 63 mean no-execute; without it the bit is reserved", () => {
    const m = new TestMachine().long64();
    m.state.setLow("efer", m.state.low("efer") & ~eferBit.NXE);
    m.lp.loadControlState();
    m.map(BigInt(page), BigInt(page | present) | noExecute);
    m.run(64, (asm) => asm.mov(eax, mem32(page)));
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | error.reserved });
  });
});

describe("non-canonical addresses", () => {
  it("raise #GP for data, #SS for the stack", () => {
    const data = new TestMachine().long64();
    data.run(64, (asm) => {
      asm.mov(rax, 0x8000_0000_0000n);
      asm.mov(eax, mem32(rax));
    });
    expect(data.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    const stack = new TestMachine().long64();
    stack.interruptGate(12, 0x8e, 1);
    stack.run(64, (asm) => {
      asm.mov(rsp, 0x9000_0000_0000n);
      asm.push(rax);
    });
    expect(stack.trap()).toMatchObject({ vector: 12, errorCode: 0 });
  });
  it("an instruction fetch raises #GP", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.mov(rax, 0x8000_0000_0000n);
      asm.jmp(rax);
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

describe("accesses that cross pages", () => {
  const edge = page + 0xffe;
  it("read and write both parts", () => {
    const m = new TestMachine().long64();
    // The next linear page lies elsewhere.
    m.map(BigInt(page + 0x1000), BigInt(0x3f_0000 | present | writable));
    m.write16(edge, 0x2211);
    m.write16(0x3f_0000, 0x4433);
    m.run(64, (asm) => {
      asm.mov(eax, mem32(edge));
      asm.mov(mem32(edge), 0x1234_5678);
      asm.hlt();
    });
    expect(m.state.gpr32(0)).toBe(0x4433_2211);
    expect([m.read16(edge), m.read16(0x3f_0000)]).toEqual([0x5678, 0x1234]);
  });
  it("a fault in the second part names its page, and nothing is written", () => {
    const m = new TestMachine().long64();
    m.map(BigInt(page + 0x1000), 0n);
    m.write16(edge, 0x2211);
    m.run(64, (asm) => asm.mov(mem32(edge), eax));
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.write });
    expect(m.state.get("cr2")).toBe(BigInt(page + 0x1000));
    expect(m.read16(edge)).toBe(0x2211);
  });
});

describe("devices", () => {
  it("are reached through the bus", () => {
    const m = new TestMachine().long64();
    m.map(0x5000_0000n, BigInt(0xf000_0000 + (present | writable)));
    m.mmio.set(0xf000_0010, 0x1234_5678);
    m.run(64, (asm) => {
      asm.mov(eax, mem32(0x5000_0010));
      asm.mov(mem32(0x5000_0020), 77);
      asm.add(mem32(0x5000_0020), 1);
      asm.hlt();
    });
    expect(m.state.gpr32(0)).toBe(0x1234_5678);
    expect(m.mmio.get(0xf000_0020)).toBe(78);
  });
  it("the local APIC page comes first", () => {
    const m = new TestMachine().long64();
    m.map(0x5000_0000n, BigInt(0xfee0_0000 + (present | writable)));
    m.run(64, (asm) => {
      asm.mov(mem32(0x5000_0080), 0x20);
      asm.mov(eax, mem32(0x5000_0080));
      asm.hlt();
    });
    expect(m.state.gpr32(0)).toBe(0x20);
    expect(m.mmio.size).toBe(0);
    expect(m.state.read32(lpOffset.apicFrame)).toBe(0xfee00);
  });
});
