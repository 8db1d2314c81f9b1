import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { PagingMode } from "../../src/cpu/paging.ts";
import { ax, bx, cr0, cr3, ds, eax, far, mem16, mem32 } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { place, selector } from "../cpu/test-machine.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root();
  restore = m.checkpoint();
});
beforeEach(() => restore());

const cr0Fixed = 0x20;
const start = vmxPlace.guestCode;

/** The guest is outside IA-32e mode, with a flat 32-bit code segment. */
function narrow(): void {
  m.disable("entry.ia32eModeGuest").set("guestCr4", 0x2000);
  m.set("guestCsSelector", selector.code32).set("guestCsAccessRights", 0xc09b);
}
/** 32-bit protected mode without paging. */
function unpaged(): void {
  narrow();
  m.useEpt()
    .enable("secondary.unrestrictedGuest")
    .set("guestCr0", cr0Fixed | 1);
}
function realMode(): void {
  unpaged();
  m.set("guestCr0", cr0Fixed);
  for (const name of ["Cs", "Ss", "Ds", "Es", "Fs", "Gs"] as const) {
    m.set(`guest${name}Selector`, 0).set(`guest${name}Base`, 0);
    m.set(`guest${name}Limit`, 0xffff);
    m.set(`guest${name}AccessRights`, name === "Cs" ? 0x9b : 0x93);
  }
  // The program lies beyond the reach of offsets of 16 bits from base 0.
  m.set("guestCsSelector", start >>> 4)
    .set("guestCsBase", start)
    .set("guestRip", 0);
}
/** PAE paging: four PDPTEs, and 2 MiB pages onto themselves. */
const pae = { pdptes: 0x5_0000, directory: 0x5_1000 } as const;
function paePaged(): void {
  narrow();
  m.set("guestCr4", 0x2020).set("guestCr3", pae.pdptes);
  m.write64(pae.directory, 0xe7n);
  m.write64(pae.directory + 8, 0x20_00e7n);
  m.write64(pae.pdptes, BigInt(pae.directory | 1));
}

describe("a guest in 32-bit protected mode", () => {
  it("runs unpaged when it is unrestricted", () => {
    unpaged();
    m.guest((asm) => {
      asm.mov(eax, 0x1234_5678);
      asm.mov(mem32(vmxPlace.pointers), eax);
      asm.vmcall();
    }, 32);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.read32(vmxPlace.pointers)).toBe(0x1234_5678);
    expect(m.lp.is64Bit).toBe(true);
  });

  it("has its own paging structures", () => {
    narrow();
    const directory = 0x5_0000;
    m.write32(directory, 0xe7);
    m.set("guestCr3", directory).set("guestCr4", 0x2010);
    m.guest((asm) => asm.vmcall(), 32);
    expect(m.launch()).toMatchObject({ reason: exitReason.vmcall, rip: BigInt(start) });
  });

  it("takes its PDPTEs from memory without EPT", () => {
    paePaged();
    m.guest((asm) => asm.vmcall(), 32);
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });

  it("takes its PDPTEs from the VMCS with EPT, and they are saved there", () => {
    paePaged();
    m.useEpt();
    m.write64(pae.pdptes, 0n);
    m.set("guestPdpte0", pae.directory | 1);
    m.guest((asm) => asm.vmcall(), 32);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.lp.walker.mode).toBe(PagingMode.fourLevel);
    m.set("guestPdpte0", 0);
    m.write64(pae.pdptes, BigInt(pae.directory | 1));
    m.set("guestPdpte0", pae.directory | 1).set("guestRip", start);
    m.guest((asm) => {
      asm.mov(eax, pae.pdptes);
      asm.mov(cr3, eax);
      asm.vmcall();
    }, 32);
    m.write64(pae.pdptes + 8, BigInt(pae.directory | 1));
    expect(m.resume().reason).toBe(exitReason.vmcall);
    expect(m.get("guestPdpte1")).toBe(BigInt(pae.directory | 1));
  });

  it("in compatibility mode sees VMCALL exit", () => {
    m.set("guestCsSelector", selector.code32).set("guestCsAccessRights", 0xc09b);
    m.guest((asm) => asm.vmcall(), 32);
    expect(m.launch()).toMatchObject({ reason: exitReason.vmcall, length: 3 });
  });
});

describe("a guest in real mode", () => {
  it("runs, and turns protection on by itself", () => {
    realMode();
    m.guest((asm) => {
      asm.mov(bx, 0x4321);
      asm.mov(eax, cr0);
      asm.inc(eax);
      asm.mov(cr0, eax);
      asm.vmcall();
    }, 16);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr32(3) & 0xffff).toBe(0x4321);
    expect(m.get("guestCr0")).toBe(BigInt(cr0Fixed | 1 | 0x10));
  });

  it("has addresses of 16 times the selector", () => {
    realMode();
    m.guest((asm) => {
      asm.mov(ax, vmxPlace.pointers >>> 4);
      asm.mov(ds, ax);
      asm.mov(mem16(2), ax);
      asm.vmcall();
    }, 16);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.read16(vmxPlace.pointers + 2)).toBe(vmxPlace.pointers >>> 4);
    expect(m.get("guestDsBase")).toBe(BigInt(vmxPlace.pointers));
  });

  it("takes injected interrupts through its vector table", () => {
    realMode();
    m.set("guestIdtrBase", 0).set("guestIdtrLimit", 0x3ff).set("guestRflags", 0x202);
    m.set("guestRsp", 0x7000).set("entryInterruptionInformation", 0x8000_0020);
    m.write32(0x20 * 4, (start >>> 4) * 0x1_0000 + 0x100);
    m.assemble(16, (asm) => asm.vmcall(), start + 0x100);
    expect(m.launch()).toMatchObject({ reason: exitReason.vmcall, rip: 0x100n });
    expect(m.get("guestRsp")).toBe(0x6ffan);
  });
});

describe("a guest in virtual-8086 mode", () => {
  it("runs at privilege level 3", () => {
    paePaged();
    m.set("guestRflags", 0x2_0002);
    for (const name of ["Cs", "Ss", "Ds", "Es", "Fs", "Gs"] as const) {
      const base = name === "Cs" ? start : 0;
      m.set(`guest${name}Selector`, base >>> 4).set(`guest${name}Base`, base);
      m.set(`guest${name}Limit`, 0xffff).set(`guest${name}AccessRights`, 0xf3);
    }
    m.set("guestRip", 0);
    m.guest((asm) => {
      asm.mov(bx, 0x1111);
      asm.vmcall();
    }, 16);
    expect(m.launch()).toMatchObject({ reason: exitReason.vmcall, rip: 3n });
    expect(m.number("guestSsAccessRights")).toBe(0xf3);
  });
});

describe("task switches", () => {
  it.each([
    ["JMP", 2],
    ["CALL", 0],
  ])("exit: %s", (name, source) => {
    unpaged();
    m.set("guestTrSelector", selector.tss).set("guestTrAccessRights", 0x8b);
    m.guest((asm) => {
      const target = far(selector.otherTss, 0);
      if (name === "JMP") {
        asm.jmp(target);
      } else {
        asm.call(target);
      }
    }, 32);
    expect(m.launch()).toMatchObject({
      reason: exitReason.taskSwitch,
      qualification: BigInt(selector.otherTss) | (BigInt(source) << 30n),
      rip: BigInt(start),
      length: 7,
    });
  });

  it("exit: a task gate in the IDT, during the delivery of an exception", () => {
    unpaged();
    m.write32(place.idt + 6 * 8, selector.otherTss << 16);
    m.write32(place.idt + 6 * 8 + 4, 0x8500);
    m.guest((asm) => asm.ud2(), 32);
    const exit = m.launch();
    expect(exit).toMatchObject({
      reason: exitReason.taskSwitch,
      qualification: BigInt(selector.otherTss) | (3n << 30n),
      vectoring: 0x8000_0306,
    });
  });
});

describe("EFER and PAT", () => {
  it("are loaded and saved as the controls say", () => {
    m.enable("entry.loadIa32Pat").enable("exit.saveIa32Pat").enable("exit.loadIa32Pat");
    m.enable("entry.loadIa32Efer").enable("exit.saveIa32Efer").enable("exit.loadIa32Efer");
    m.set("guestIa32Pat", 0x0606_0606_0606_0606n).set("hostIa32Pat", 0x0404_0404_0404_0404n);
    m.set("guestIa32Efer", 0xd00);
    m.guest((asm) => asm.vmcall());
    m.launch();
    expect(m.get("guestIa32Pat")).toBe(0x0606_0606_0606_0606n);
    expect(m.state.get("pat")).toBe(0x0404_0404_0404_0404n);
    expect(m.get("guestIa32Efer")).toBe(0xd00n);
    expect(m.state.low("efer")).toBe(m.number("hostIa32Efer"));
  });

  it("EFER follows the entry control when no field holds it", () => {
    unpaged();
    m.guest((asm) => asm.vmcall(), 32);
    m.enable("exit.saveIa32Efer");
    m.launch();
    expect(m.number("guestIa32Efer") & 0x400).toBe(0);
    expect(m.lp.isLongMode).toBe(true);
  });

  it("the entry control follows LMA at the exit", () => {
    m.guest((asm) => asm.vmcall()).launch();
    expect(m.number("entryControls") & 0x200).toBe(0x200);
  });
});
