import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../src/cpu/trap.ts";
import { Activity } from "../../src/execution/lp-window.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  al,
  ax,
  cr0,
  cr3,
  cr4,
  cr8,
  dr0,
  dr7,
  dx,
  eax,
  fs,
  mem,
  mem16,
  mem64,
  mem128,
  r9,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import type { ControlName } from "../../src/vmx/controls.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { encodingOf, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root();
  restore = m.checkpoint();
});
beforeEach(() => restore());

type Write = (asm: Assembler) => unknown;

/** Runs one instruction in the guest, and VMCALL after it. */
function runs(write: Write) {
  m.guest((asm) => {
    write(asm);
    asm.vmcall();
  });
  return m.launch();
}
const guestStart = BigInt(vmxPlace.guestCode);

/** Instructions whose exit a control decides: control, reason, qualification. */
const controlled: readonly (readonly [string, Write, ControlName, number, bigint])[] = [
  ["HLT", (asm) => asm.hlt(), "primary.hltExiting", exitReason.hlt, 0n],
  [
    "INVLPG",
    (asm) => asm.invlpg(mem(0x1234_5678)),
    "primary.invlpgExiting",
    exitReason.invlpg,
    0x1234_5678n,
  ],
  ["RDTSC", (asm) => asm.rdtsc(), "primary.rdtscExiting", exitReason.rdtsc, 0n],
  ["MWAIT", (asm) => asm.mwait(), "primary.mwaitExiting", exitReason.mwait, 0n],
  ["MONITOR", (asm) => asm.monitor(), "primary.monitorExiting", exitReason.monitor, 0n],
  ["PAUSE", (asm) => asm.pause(), "primary.pauseExiting", exitReason.pause, 0n],
  ["WBINVD", (asm) => asm.wbinvd(), "secondary.wbinvdExiting", exitReason.wbinvd, 0n],
  ["RDRAND", (asm) => asm.rdrand(rbx), "secondary.rdrandExiting", exitReason.rdrand, 0n],
  ["RDSEED", (asm) => asm.rdseed(rbx), "secondary.rdseedExiting", exitReason.rdseed, 0n],
  [
    "SGDT",
    (asm) => asm.sgdt(mem(vmxPlace.pointers)),
    "secondary.descriptorTableExiting",
    exitReason.gdtrOrIdtrAccess,
    BigInt(vmxPlace.pointers),
  ],
  [
    "SLDT",
    (asm) => asm.sldt(mem16(vmxPlace.pointers)),
    "secondary.descriptorTableExiting",
    exitReason.ldtrOrTrAccess,
    BigInt(vmxPlace.pointers),
  ],
  [
    "MOV from CR3",
    (asm) => asm.mov(rbx, cr3),
    "primary.cr3StoreExiting",
    exitReason.controlRegisterAccess,
    0x313n,
  ],
  [
    "MOV to CR8",
    (asm) => asm.mov(cr8, r9),
    "primary.cr8LoadExiting",
    exitReason.controlRegisterAccess,
    0x908n,
  ],
  [
    "MOV from CR8",
    (asm) => asm.mov(r9, cr8),
    "primary.cr8StoreExiting",
    exitReason.controlRegisterAccess,
    0x918n,
  ],
  ["MOV to DR7", (asm) => asm.mov(dr7, rax), "primary.movDrExiting", exitReason.movDr, 0x007n],
  ["MOV from DR0", (asm) => asm.mov(rdx, dr0), "primary.movDrExiting", exitReason.movDr, 0x210n],
];

describe.each(controlled)("%s", (_name, write, control, reason, qualification) => {
  it(`exits under ${control}`, () => {
    m.state.setGpr(0, 0x400n);
    m.enable(control);
    const exit = runs(write);
    expect(exit.reason).toBe(reason);
    expect(exit.qualification).toBe(qualification);
    expect(exit.rip).toBe(guestStart);
    expect(exit.length).toBeGreaterThan(0);
  });

  it("executes otherwise", () => {
    if (reason === exitReason.mwait || reason === exitReason.hlt) {
      m.state.setGpr(0, BigInt(vmxPlace.pointers));
      m.state.setGpr(1, 0n);
      m.state.setGpr(2, 0n);
      m.guest((asm) => {
        asm.monitor();
        write(asm);
      });
      m.run(64, (asm) => asm.vmlaunch());
      expect(m.vmx.unit.isNonRoot).toBe(true);
      expect(m.state.activity).not.toBe(Activity.Active);
      return;
    }
    m.state.setGpr(0, reason === exitReason.monitor ? BigInt(vmxPlace.pointers) : 0x400n);
    m.state.setGpr(1, 0n);
    m.state.setGpr(2, 0n);
    m.state.setGpr(9, 0n);
    m.disable("primary.cr3StoreExiting");
    expect(runs(write).reason).toBe(exitReason.vmcall);
  });
});

describe("instructions that always exit", () => {
  it.each<[string, Write, number]>([
    ["CPUID", (asm) => asm.cpuid(), exitReason.cpuid],
    ["INVD", (asm) => asm.invd(), exitReason.invd],
    ["VMCALL", (asm) => asm.vmcall(), exitReason.vmcall],
    ["VMLAUNCH", (asm) => asm.vmlaunch(), exitReason.vmlaunch],
    ["VMRESUME", (asm) => asm.vmresume(), exitReason.vmresume],
    ["VMXOFF", (asm) => asm.vmxoff(), exitReason.vmxoff],
    ["VMCLEAR", (asm) => asm.vmclear(mem64(0x10)), exitReason.vmclear],
    ["VMPTRLD", (asm) => asm.vmptrld(mem64(0x10)), exitReason.vmptrld],
    ["VMPTRST", (asm) => asm.vmptrst(mem64(0x10)), exitReason.vmptrst],
    ["VMXON", (asm) => asm.vmxon(mem64(0x10)), exitReason.vmxon],
    ["VMREAD", (asm) => asm.vmread(rax, rcx), exitReason.vmread],
    ["VMWRITE", (asm) => asm.vmwrite(rcx, rax), exitReason.vmwrite],
    ["INVEPT", (asm) => asm.invept(rax, mem128(0x10)), exitReason.invept],
    ["INVVPID", (asm) => asm.invvpid(rax, mem128(0x10)), exitReason.invvpid],
  ])("%s", (_name, write, reason) => {
    expect(runs(write)).toMatchObject({ reason, rip: guestStart, entryFailure: false });
  });

  it("XSETBV, once CR4.OSXSAVE is set", () => {
    m.set("exceptionBitmap", 1 << Vector.UD);
    expect(runs((asm) => asm.xsetbv()).reason).toBe(exitReason.exceptionOrNmi);
    restore();
    m.set("guestCr4", m.get("guestCr4") | (1n << 18n));
    expect(runs((asm) => asm.xsetbv()).reason).toBe(exitReason.xsetbv);
  });
});

describe("instructions that a control lets exist", () => {
  beforeEach(() => {
    m.set("exceptionBitmap", 1 << Vector.UD);
    m.pointTo(0);
  });
  it.each<[string, Write, ControlName]>([
    ["RDTSCP", (asm) => asm.rdtscp(), "secondary.enableRdtscp"],
    ["INVPCID", (asm) => asm.invpcid(rax, mem128(vmxPlace.pointers)), "secondary.enableInvpcid"],
    ["XSAVES", (asm) => asm.xsaves(mem(vmxPlace.ioBitmapA)), "secondary.enableXsavesXrstors"],
  ])("%s", (_name, write, control) => {
    m.set("guestCr4", m.get("guestCr4") | (1n << 18n));
    m.state.setGpr(0, 2n);
    m.state.setGpr(2, 0n);
    const undefinedThere = runs(write);
    expect(undefinedThere.reason).toBe(exitReason.exceptionOrNmi);
    expect(undefinedThere.interruption & 0xff).toBe(Vector.UD);
    restore();
    m.set("guestCr4", m.get("guestCr4") | (1n << 18n));
    m.state.setGpr(0, 2n);
    m.state.setGpr(2, 0n);
    m.pointTo(0);
    m.enable(control);
    expect(runs(write).reason).toBe(exitReason.vmcall);
  });

  it("RDTSCP and INVPCID exit with RDTSC and INVLPG", () => {
    m.enable("secondary.enableRdtscp").enable("primary.rdtscExiting");
    expect(runs((asm) => asm.rdtscp()).reason).toBe(exitReason.rdtscp);
    restore();
    m.enable("secondary.enableInvpcid").enable("primary.invlpgExiting");
    expect(runs((asm) => asm.invpcid(rbx, mem128(vmxPlace.pointers)))).toMatchObject({
      reason: exitReason.invpcid,
      qualification: BigInt(vmxPlace.pointers),
    });
  });

  it("XSAVES exits for the components its bitmap selects", () => {
    m.set("guestCr4", m.get("guestCr4") | (1n << 18n));
    m.enable("secondary.enableXsavesXrstors").set("xssExitingBitmap", 1);
    m.state.setGpr(0, 3n);
    m.state.setGpr(2, 0n);
    expect(runs((asm) => asm.xsaves(mem(vmxPlace.ioBitmapA))).reason).toBe(exitReason.xsaves);
  });
});

describe("the instruction-information field", () => {
  const memoryBits = { index: 18, noIndex: 1 << 22, base: 23, noBase: 1 << 27 };

  it("describes a memory operand", () => {
    const exit = runs((asm) => asm.vmclear(mem64(rbx, { index: rsi, scale: 4, disp: 0x20 })));
    expect(exit.information & 0x7).toBe(2);
    expect((exit.information >>> 7) & 7).toBe(2);
    expect((exit.information >>> 15) & 7).toBe(3);
    expect((exit.information >>> memoryBits.index) & 15).toBe(6);
    expect(exit.information & memoryBits.noIndex).toBe(0);
    expect((exit.information >>> memoryBits.base) & 15).toBe(3);
    expect(exit.information & memoryBits.noBase).toBe(0);
    expect(exit.qualification).toBe(0x20n);
  });

  it("marks base and index that are not there", () => {
    const exit = runs((asm) => asm.vmptrld(mem64(0x1234)));
    expect(exit.information & memoryBits.noIndex).not.toBe(0);
    expect(exit.information & memoryBits.noBase).not.toBe(0);
    expect(exit.qualification).toBe(0x1234n);
  });

  it("names both registers of VMREAD and VMWRITE", () => {
    const read = runs((asm) => asm.vmread(rdx, rbx));
    expect(read.information >>> 28).toBe(3);
    expect((read.information >>> 3) & 15).toBe(2);
    expect((read.information >>> 10) & 1).toBe(1);
    restore();
    const write = runs((asm) => asm.vmwrite(rdi, r9));
    expect(write.information >>> 28).toBe(7);
    expect((write.information >>> 3) & 15).toBe(9);
  });

  it("names the type register of INVEPT", () => {
    expect(runs((asm) => asm.invept(rsi, mem128(rdi))).information >>> 28).toBe(6);
  });

  it("tells the table instructions apart", () => {
    const identityOf = (write: Write): number => {
      restore();
      m.enable("secondary.descriptorTableExiting");
      return (runs(write).information >>> 28) & 3;
    };
    expect(identityOf((asm) => asm.sgdt(mem(0x10)))).toBe(0);
    expect(identityOf((asm) => asm.sidt(mem(0x10)))).toBe(1);
    expect(identityOf((asm) => asm.lgdt(mem(0x10)))).toBe(2);
    expect(identityOf((asm) => asm.lidt(mem(0x10)))).toBe(3);
    expect(identityOf((asm) => asm.sldt(ax))).toBe(0);
    expect(identityOf((asm) => asm.str(ax))).toBe(1);
    expect(identityOf((asm) => asm.lldt(ax))).toBe(2);
    expect(identityOf((asm) => asm.ltr(ax))).toBe(3);
  });

  it("names register and size of RDRAND", () => {
    m.enable("secondary.rdrandExiting");
    const exit = runs((asm) => asm.rdrand(r9));
    expect((exit.information >>> 3) & 15).toBe(9);
    expect((exit.information >>> 11) & 3).toBe(2);
  });
});

describe("CR0 and CR4", () => {
  const wp = 1n << 16n;
  const ts = 1n << 3n;

  it("exit when a masked bit differs from its shadow", () => {
    m.set("cr0Mask", wp).set("cr0ReadShadow", 0);
    m.state.setGpr(0, m.get("guestCr0"));
    expect(runs((asm) => asm.mov(cr0, rax))).toMatchObject({
      reason: exitReason.controlRegisterAccess,
      qualification: 0n,
    });
  });

  it("keep masked bits and take the others", () => {
    m.set("cr0Mask", wp).set("cr0ReadShadow", 0);
    m.state.setGpr(0, (m.get("guestCr0") & ~wp) | ts);
    expect(runs((asm) => asm.mov(cr0, rax)).reason).toBe(exitReason.vmcall);
    expect(m.get("guestCr0") & (wp | ts)).toBe(wp | ts);
  });

  it("read masked bits from the shadow", () => {
    m.set("cr0Mask", wp | ts).set("cr0ReadShadow", ts);
    m.set("cr4Mask", 1n << 13n).set("cr4ReadShadow", 0);
    runs((asm) => {
      asm.mov(rax, cr0);
      asm.mov(rbx, cr4);
    });
    expect(m.state.gpr(0) & (wp | ts)).toBe(ts);
    expect(m.state.gpr(3) & (1n << 13n)).toBe(0n);
  });

  it("refuse what VMX fixes", () => {
    m.set("exceptionBitmap", 1 << Vector.GP);
    m.state.setGpr(0, m.get("guestCr4") & ~(1n << 13n));
    const exit = runs((asm) => asm.mov(cr4, rax));
    expect(exit.reason).toBe(exitReason.exceptionOrNmi);
    expect(exit.interruption & 0xff).toBe(Vector.GP);
  });

  it("let CLTS exit, be ignored or proceed", () => {
    m.set("guestCr0", m.get("guestCr0") | ts);
    m.set("cr0Mask", ts).set("cr0ReadShadow", ts);
    expect(runs((asm) => asm.clts())).toMatchObject({
      reason: exitReason.controlRegisterAccess,
      qualification: 0x20n,
    });
    restore();
    m.set("guestCr0", m.get("guestCr0") | ts);
    m.set("cr0Mask", ts).set("cr0ReadShadow", 0);
    runs((asm) => asm.clts());
    expect(m.get("guestCr0") & ts).toBe(ts);
    restore();
    m.set("guestCr0", m.get("guestCr0") | ts);
    runs((asm) => asm.clts());
    expect(m.get("guestCr0") & ts).toBe(0n);
  });

  it("let LMSW exit with its source", () => {
    m.set("cr0Mask", ts).set("cr0ReadShadow", 0);
    m.state.setGpr(0, 0xabc9n);
    expect(runs((asm) => asm.lmsw(ax))).toMatchObject({
      reason: exitReason.controlRegisterAccess,
      qualification: 0xabc9_0030n,
    });
    restore();
    m.set("cr0Mask", ts).set("cr0ReadShadow", 0);
    m.write64(vmxPlace.pointers, 9n);
    expect(runs((asm) => asm.lmsw(mem16(vmxPlace.pointers))).qualification).toBe(0x9_0070n);
    expect(m.get("guestLinearAddress")).toBe(BigInt(vmxPlace.pointers));
  });

  it("show SMSW the shadow", () => {
    m.set("cr0Mask", 0xf).set("cr0ReadShadow", 0);
    runs((asm) => asm.smsw(eax));
    expect(m.state.gpr(0) & 0xfn).toBe(0n);
  });
});

describe("MOV to CR3", () => {
  it("exits unless the value is a target", () => {
    m.enable("primary.cr3LoadExiting");
    const value = m.get("guestCr3");
    m.state.setGpr(0, value);
    expect(runs((asm) => asm.mov(cr3, rax)).qualification).toBe(3n);
    m.set("cr3TargetCount", 2).set("cr3TargetValue1", value);
    m.state.setGpr(0, value ^ 0x1000n);
    expect(m.resume().reason).toBe(exitReason.controlRegisterAccess);
    m.state.setGpr(0, value);
    expect(m.resume().reason).toBe(exitReason.vmcall);
  });
});

describe("port accesses", () => {
  const out = (port: number) => (asm: Assembler) => {
    asm.mov(dx, port);
    asm.out(dx, al);
  };

  it("go through without a control", () => {
    runs(out(0x80));
    expect(m.written.at(-1)?.port).toBe(0x80);
  });

  it("exit under unconditional I/O exiting", () => {
    m.enable("primary.unconditionalIoExiting");
    expect(runs((asm) => asm.in(eax, 0x71))).toMatchObject({
      reason: exitReason.ioInstruction,
      qualification: (0x71n << 16n) | 0x4bn,
    });
  });

  it("exit where a bitmap says so, whatever the other control says", () => {
    m.enable("primary.useIoBitmaps").enable("primary.unconditionalIoExiting");
    m.set("ioBitmapA", vmxPlace.ioBitmapA).set("ioBitmapB", vmxPlace.ioBitmapB);
    expect(runs(out(0x80)).reason).toBe(exitReason.vmcall);
    m.state.u8[vmxPlace.ioBitmapA + 0x10] = 1;
    m.set("guestRip", vmxPlace.guestCode);
    expect(m.resume()).toMatchObject({
      reason: exitReason.ioInstruction,
      qualification: 0x80_0000n,
    });
  });

  it("look at every port of a wide access, and at the second bitmap", () => {
    m.enable("primary.useIoBitmaps");
    m.set("ioBitmapA", vmxPlace.ioBitmapA).set("ioBitmapB", vmxPlace.ioBitmapB);
    m.state.u8[vmxPlace.ioBitmapB] = 1;
    const wide = (port: number) => (asm: Assembler) => {
      asm.mov(dx, port);
      asm.out(dx, eax);
    };
    expect(runs(wide(0x7ffc)).reason).toBe(exitReason.vmcall);
    restoreWithBitmaps();
    expect(runs(wide(0x7ffd)).reason).toBe(exitReason.ioInstruction);
    restoreWithBitmaps();
    expect(runs(wide(0xfffd)).reason).toBe(exitReason.ioInstruction);
  });
  function restoreWithBitmaps(): void {
    restore();
    m.enable("primary.useIoBitmaps");
    m.set("ioBitmapA", vmxPlace.ioBitmapA).set("ioBitmapB", vmxPlace.ioBitmapB);
    m.state.u8[vmxPlace.ioBitmapB] = 1;
  }

  it("tell string instructions", () => {
    m.enable("primary.unconditionalIoExiting");
    m.state.setGpr(1, 3n);
    m.state.setGpr(6, BigInt(vmxPlace.pointers));
    const exit = runs((asm) => {
      asm.mov(dx, 0x1f0);
      asm.rep.outsb();
    });
    expect(exit.qualification).toBe((0x1f0n << 16n) | 0x30n);
    expect(m.get("guestLinearAddress")).toBe(BigInt(vmxPlace.pointers));
    expect((exit.information >>> 7) & 7).toBe(2);
    expect((exit.information >>> 15) & 7).toBe(3);
  });
});

describe("RDMSR and WRMSR", () => {
  const sysenterCs = 0x174n;
  const lstar = 0xc000_0082n;
  const rdmsr: Write = (asm) => asm.rdmsr();
  const wrmsr: Write = (asm) => asm.wrmsr();

  it("all exit without bitmaps", () => {
    m.state.setGpr(1, sysenterCs);
    expect(runs(rdmsr).reason).toBe(exitReason.rdmsr);
    restore();
    m.state.setGpr(1, sysenterCs);
    expect(runs(wrmsr).reason).toBe(exitReason.wrmsr);
  });

  it.each<[string, Write, bigint, number, number]>([
    ["reads of low MSRs", rdmsr, sysenterCs, 0x000 + 0x174 / 8, exitReason.rdmsr],
    ["reads of high MSRs", rdmsr, lstar, 0x400 + 0x80 / 8, exitReason.rdmsr],
    ["writes of low MSRs", wrmsr, sysenterCs, 0x800 + 0x174 / 8, exitReason.wrmsr],
    ["writes of high MSRs", wrmsr, lstar, 0xc00 + 0x80 / 8, exitReason.wrmsr],
  ])("have their own bitmap: %s", (_what, write, msr, at, reason) => {
    const byte = Math.floor(at);
    const bit = Number(msr & 7n);
    const prepare = (): void => {
      m.enable("primary.useMsrBitmaps").set("msrBitmaps", vmxPlace.msrBitmaps);
      m.state.setGpr(0, 0n);
      m.state.setGpr(1, msr);
      m.state.setGpr(2, 0n);
    };
    prepare();
    expect(runs(write).reason).toBe(exitReason.vmcall);
    restore();
    prepare();
    m.state.u8[vmxPlace.msrBitmaps + byte] = 1 << bit;
    expect(runs(write).reason).toBe(reason);
  });

  it.each([0x2000n, 0x8000_0000n, 0xc000_2000n])("exit outside the bitmaps: %x", (msr) => {
    m.enable("primary.useMsrBitmaps").set("msrBitmaps", vmxPlace.msrBitmaps);
    m.state.setGpr(1, msr);
    expect(runs(rdmsr).reason).toBe(exitReason.rdmsr);
  });
});

describe("the time-stamp counter", () => {
  const readTsc: Write = (asm) => asm.rdtsc();
  const tsc = (): bigint => (m.state.gpr(2) << 32n) | m.state.gpr(0);

  it("is offset", () => {
    m.time = 1000;
    m.enable("primary.useTscOffsetting").set("tscOffset", 0x1_0000_0000n);
    runs(readTsc);
    expect(tsc()).toBe(0x1_0000_0000n + 1000n);
  });

  it("is scaled before it is offset", () => {
    m.time = 1000;
    m.enable("primary.useTscOffsetting").enable("secondary.useTscScaling");
    m.set("tscOffset", -100n).set("tscMultiplier", 3n << 47n);
    runs(readTsc);
    expect(tsc()).toBe(1400n);
  });

  it("is the LP's own without offsetting", () => {
    m.time = 1000;
    m.set("tscOffset", 5000);
    runs(readTsc);
    expect(tsc()).toBe(1000n);
  });
});

describe("exceptions", () => {
  it("exit when the bitmap selects them", () => {
    m.set("exceptionBitmap", 1 << Vector.UD);
    const exit = runs((asm) => asm.ud2());
    expect(exit).toMatchObject({
      reason: exitReason.exceptionOrNmi,
      rip: guestStart,
      vectoring: 0,
    });
    expect(exit.interruption).toBe(0x8000_0306);
    expect(m.number("guestRflags") & 0x1_0000).not.toBe(0);
  });

  it("are delivered otherwise", () => {
    m.guest((asm) => asm.ud2());
    m.assemble(64, (asm) => asm.vmcall(), 0x4000 + Vector.UD * 16);
    expect(m.launch().rip).toBe(BigInt(0x4000 + Vector.UD * 16));
  });

  it("tell error code and length where they have one", () => {
    m.set("exceptionBitmap", (1 << Vector.GP) | (1 << Vector.BP));
    m.state.setGpr(0, 0x1234n);
    const exit = runs((asm) => asm.lldt(ax));
    expect(exit.interruption).toBe(0x8000_0b0d);
    expect(m.number("exitInterruptionErrorCode")).toBe(0x1234);
    restore();
    m.set("exceptionBitmap", 1 << Vector.BP);
    const breakpoint = runs((asm) => asm.int3());
    expect(breakpoint.interruption).toBe(0x8000_0603);
    expect(breakpoint.length).toBe(1);
    expect(m.number("guestRflags") & 0x1_0000).toBe(0);
  });

  it("do not come from INT n", () => {
    m.set("exceptionBitmap", -1);
    m.guest((asm) => asm.int(Vector.UD));
    m.assemble(64, (asm) => asm.vmcall(), 0x4000 + Vector.UD * 16);
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });

  it.each([
    ["no mask, match 0, bit set", 1, 0, 0, true],
    ["no mask, match 0, bit clear", 0, 0, 0, false],
    ["no mask, match 1, bit clear", 0, 0, 1, true],
    ["write mask matches, bit set", 1, 2, 2, true],
    ["write mask does not match, bit set", 1, 2, 0, false],
    ["write mask does not match, bit clear", 0, 2, 0, true],
  ])("of page faults obey mask and match: %s", (_what, bit, mask, match, exits) => {
    m.set("exceptionBitmap", bit << Vector.PF);
    m.set("pageFaultErrorCodeMask", mask).set("pageFaultErrorCodeMatch", match);
    m.map(0x7_0000n, 0n);
    m.guest((asm) => asm.mov(mem64(0x7_0000), rax));
    m.assemble(64, (asm) => asm.vmcall(), 0x4000 + Vector.PF * 16);
    const exit = m.launch();
    expect(exit.reason).toBe(exits ? exitReason.exceptionOrNmi : exitReason.vmcall);
    if (exits) {
      expect(exit.qualification).toBe(0x7_0000n);
      expect(m.number("exitInterruptionErrorCode")).toBe(2);
      expect(m.state.get("cr2")).toBe(0n);
    }
  });

  it("that follow from one another name the first as IDT-vectoring information", () => {
    m.set("exceptionBitmap", 1 << Vector.GP);
    m.set("guestIdtrLimit", Vector.UD * 16 - 1);
    const exit = runs((asm) => asm.ud2());
    expect(exit.interruption & 0xff).toBe(Vector.GP);
    expect(exit.vectoring).toBe(0x8000_0306);
  });

  it("end in a double fault, which is not taken for an exit during delivery", () => {
    m.set("exceptionBitmap", 1 << Vector.DF);
    m.set("guestIdtrLimit", Vector.GP * 16 - 1);
    m.state.setGpr(0, 0x1234n);
    const exit = runs((asm) => asm.lldt(ax));
    expect(exit.interruption & 0xff).toBe(Vector.DF);
    expect(exit.vectoring).toBe(0);
  });

  it("end in a triple fault", () => {
    m.set("guestIdtrLimit", 0);
    const exit = runs((asm) => asm.ud2());
    expect(exit).toMatchObject({ reason: exitReason.tripleFault, vectoring: 0, qualification: 0n });
  });
});

describe("VM exits", () => {
  it("leave general registers alone", () => {
    m.guest((asm) => {
      asm.mov(rbx, 0x1234_5678_9abcn);
      asm.vmcall();
    });
    m.launch();
    expect(m.state.gpr(3)).toBe(0x1234_5678_9abcn);
  });

  it("load the host's registers", () => {
    m.set("hostFsBase", 0x1111).set("hostGsBase", 0x2222).set("hostIa32SysenterEsp", 0x3333);
    m.guest((asm) => asm.vmcall()).launch();
    const { state } = m;
    expect(state.segmentBase(4)).toBe(0x1111n);
    expect(state.segmentBase(5)).toBe(0x2222n);
    expect(state.get("sysenterEsp")).toBe(0x3333n);
    expect(state.gpr(4)).toBe(BigInt(vmxPlace.hostStack));
    expect(m.lp.readFlags()).toBe(2);
    expect(state.low("dr7")).toBe(0x400);
    expect(state.rights(1)).toBe(0xa09b);
    expect(state.rights(6)).toBe(0x1_0000);
    expect(state.limit(7)).toBe(0x67);
  });

  it("save what the guest has changed", () => {
    m.guest((asm) => {
      asm.mov(ax, 0);
      asm.mov(fs, ax);
      asm.std();
      asm.mov(rsp, 0x7777n);
      asm.vmcall();
    });
    m.launch();
    expect(m.number("guestFsSelector")).toBe(0);
    expect(m.number("guestFsAccessRights") & 0x1_0000).not.toBe(0);
    expect(m.number("guestRflags") & 0x400).not.toBe(0);
    expect(m.get("guestRsp")).toBe(0x7777n);
  });

  it("store and load MSRs", () => {
    const area = vmxPlace.msrArea;
    m.set("exitMsrStoreAddress", area).set("exitMsrStoreCount", 1);
    m.set("exitMsrLoadAddress", area + 0x100).set("exitMsrLoadCount", 1);
    m.set("entryMsrLoadAddress", area + 0x200).set("entryMsrLoadCount", 1);
    m.write64(area, 0xc000_0102n);
    m.write64(area + 0x100, 0xc000_0102n);
    m.write64(area + 0x108, 0x5555n);
    m.write64(area + 0x200, 0xc000_0102n);
    m.write64(area + 0x208, 0x6666n);
    m.guest((asm) => asm.vmcall()).launch();
    expect(m.read64(area + 8)).toBe(0x6666n);
    expect(m.state.get("kernelGsBase")).toBe(0x5555n);
  });

  it("abort when an MSR cannot be stored, loaded, or the PDPTEs are bad", () => {
    const aborts = (): number => m.read32(vmxPlace.vmcs + 4);
    const enter = (): void => {
      m.guest((asm) => asm.vmcall());
      m.run(64, (asm) => asm.vmlaunch());
    };
    m.write64(vmxPlace.msrArea, 0x1234n);
    m.set("exitMsrStoreAddress", vmxPlace.msrArea).set("exitMsrStoreCount", 1);
    enter();
    expect(aborts()).toBe(1);
    expect(m.state.activity).toBe(Activity.Shutdown);
    restore();
    m.write64(vmxPlace.msrArea, 0x1234n);
    m.set("exitMsrLoadAddress", vmxPlace.msrArea).set("exitMsrLoadCount", 1);
    enter();
    expect(aborts()).toBe(4);
  });

  it("fail the entry when an MSR cannot be loaded, and name the entry", () => {
    const area = vmxPlace.msrArea;
    m.set("entryMsrLoadAddress", area).set("entryMsrLoadCount", 3);
    m.write64(area, 0x174n);
    m.write64(area + 16, 0xc000_0100n);
    m.guest((asm) => asm.vmcall());
    expect(m.launch()).toMatchObject({
      reason: exitReason.msrLoading,
      entryFailure: true,
      qualification: 2n,
    });
  });

  it("count", () => {
    m.guest((asm) => asm.vmcall()).launch();
    m.resume();
    expect(m.exitCount(exitReason.vmcall)).toBe(2);
    expect(m.entries).toBe(2);
  });
});

describe("nested hypervisors", () => {
  it("see their VMREAD exit with the encoding in a register", () => {
    m.state.setGpr(1, BigInt(encodingOf("guestRip")));
    expect(runs((asm) => asm.vmread(mem64(vmxPlace.pointers), rcx))).toMatchObject({
      reason: exitReason.vmread,
      qualification: BigInt(vmxPlace.pointers),
    });
    expect(m.state.gpr(1)).toBe(BigInt(encodingOf("guestRip")));
  });
});
