import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../../src/cpu/trap.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { cr8, eax, mem32, rax, rcx } from "../../../src/isa/assembler-operands.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { vmxPlace } from "../vmx-machine.ts";
import { ApicMachine, apicPlace, readMsr, writeMsr } from "./apic-machine.ts";

let m: ApicMachine;
let restore: () => void;
beforeAll(() => {
  m = new ApicMachine();
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** The three ways to the task priority, each with what makes it virtual. */
const ways: readonly (readonly [
  string,
  () => ApicMachine,
  (asm: Assembler, tpr: number) => void,
])[] = [
  [
    "MOV to CR8",
    () => m,
    (asm, tpr) => {
      asm.mov(rax, tpr >> 4);
      asm.mov(cr8, rax);
    },
  ],
  [
    "a store to the APIC-access page",
    () => m.accesses(),
    (asm, tpr) => {
      asm.mov(eax, tpr);
      asm.mov(mem32(apicPlace.accessPage + 0x80), eax);
    },
  ],
  ["WRMSR of 808H", () => m.x2apic(), (asm, tpr) => writeMsr(asm, 0x808, tpr)],
];

describe.each(ways)("%s", (_name, prepare, write) => {
  it("writes VTPR and leaves the real one alone", () => {
    prepare().shadow().setRegister(0x80, 0xffff_ff30);
    m.guest((asm) => {
      write(asm, 0x50);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.register(0x80)).toBe(0x50);
    expect(m.lp.apic.cr8).toBe(0);
  });

  it("exits behind itself when the class falls below the threshold", () => {
    prepare().shadow(5).setRegister(0x80, 0x50);
    m.guest((asm) => {
      write(asm, 0x4f);
      asm.vmcall();
    });
    const exit = m.launch();
    expect(exit).toMatchObject({ reason: exitReason.tprBelowThreshold, qualification: 0n });
    expect(m.state.u8[Number(exit.rip)]).toBe(0x0f);
    expect(m.register(0x80) >>> 4).toBe(4);
    m.setRegister(0x80, 0x50);
    expect(m.resume()).toMatchObject({ reason: exitReason.vmcall, rip: exit.rip });
  });

  it("does not look at the threshold under virtual-interrupt delivery", () => {
    prepare().delivery().set("tprThreshold", 5);
    m.guest((asm) => {
      write(asm, 0x20);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.register(0xa0) >>> 4).toBe(2);
  });
});

describe("CR8", () => {
  it("reads bits 7:4 of VTPR", () => {
    m.shadow().setRegister(0x80, 0xa7);
    m.guest((asm) => {
      asm.mov(rcx, cr8);
      asm.vmcall();
    });
    m.launch();
    expect(m.state.gpr(1)).toBe(10n);
  });

  it("refuses more than four bits", () => {
    m.shadow().set("exceptionBitmap", 1 << Vector.GP);
    m.guest((asm) => {
      asm.mov(rax, 16);
      asm.mov(cr8, rax);
    });
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.exceptionOrNmi);
    expect(exit.interruption & 0xff).toBe(Vector.GP);
  });

  it("exits before it is virtualized", () => {
    m.shadow().enable("primary.cr8LoadExiting").setRegister(0x80, 0x10);
    m.guest((asm) => {
      asm.mov(rax, 3);
      asm.mov(cr8, rax);
    });
    expect(m.launch().reason).toBe(exitReason.controlRegisterAccess);
    expect(m.register(0x80)).toBe(0x10);
  });
});

describe("VM entry with a TPR below the threshold", () => {
  it("exits at once when APIC accesses are virtualized", () => {
    m.accesses().shadow(5).setRegister(0x80, 0x40);
    m.guest((asm) => asm.vmcall());
    expect(m.launch()).toMatchObject({
      reason: exitReason.tprBelowThreshold,
      rip: BigInt(vmxPlace.guestCode),
    });
  });

  it("is refused when they are not", () => {
    m.shadow(5).setRegister(0x80, 0x40);
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-valid 7");
  });

  it("exits after the injected event is delivered", () => {
    m.accesses().shadow(5).interruptible().set("entryInterruptionInformation", 0x8000_0040);
    m.handler(0x40, (asm) => asm.vmcall());
    expect(m.launch()).toMatchObject({
      reason: exitReason.tprBelowThreshold,
      rip: BigInt(0x4000 + 0x40 * 16),
    });
  });
});

/** MSR, value (high, low), controls beside virtualize-x2APIC-mode; what WRMSR does. */
const writes: readonly (readonly [
  msr: number,
  high: number,
  low: number,
  delivers: boolean,
  outcome: "virtual" | "#GP" | "exit",
])[] = [
  [0x808, 0, 0xff, false, "virtual"],
  [0x808, 0, 0x100, false, "#GP"],
  [0x808, 1, 0, false, "#GP"],
  [0x80b, 0, 0, true, "virtual"],
  [0x80b, 0, 1, true, "#GP"],
  [0x80b, 1, 0, true, "#GP"],
  // In xAPIC mode the registers that are not virtual do not exist.
  [0x80b, 0, 0, false, "#GP"],
  [0x83f, 0, 0x0f, true, "exit"],
  [0x83f, 0, 0x10, true, "virtual"],
  [0x83f, 0, 0x100, true, "#GP"],
  [0x83f, 1, 0x40, true, "#GP"],
  [0x83f, 0, 0x40, false, "#GP"],
  [0x80f, 0, 0x1ff, true, "#GP"],
];

describe.each(writes)(
  "WRMSR of %i with %i:%i, delivery %s",
  (msr, high, low, delivers, outcome) => {
    it(outcome, () => {
      m.x2apic();
      if (delivers) {
        m.delivery();
      }
      m.set("exceptionBitmap", 1 << Vector.GP);
      m.guest((asm) => {
        writeMsr(asm, msr, low, high);
        asm.vmcall();
      });
      const exit = m.launch();
      const reasons = {
        virtual: exitReason.vmcall,
        "#GP": exitReason.exceptionOrNmi,
        exit: exitReason.apicWrite,
      };
      expect(exit.reason).toBe(reasons[outcome]);
      if (outcome === "exit") {
        expect(exit.qualification).toBe(0x3f0n);
        expect(m.register(0x3f0)).toBe(low);
      }
    });
  },
);

describe("RDMSR", () => {
  it("of 808H finds VTPR, of another register #GP in xAPIC mode", () => {
    m.x2apic()
      .set("exceptionBitmap", 1 << Vector.GP)
      .setRegister(0x80, 0x33);
    m.guest((asm) => {
      readMsr(asm, 0x808);
      asm.mov(rcx, rax);
      readMsr(asm, 0x802);
    });
    expect(m.launch().reason).toBe(exitReason.exceptionOrNmi);
    expect(m.state.gpr(0)).toBe(0x33n);
  });

  it("of any register finds 64 bits of the page under APIC-register virtualization", () => {
    m.x2apic().enable("secondary.apicRegisterVirtualization");
    m.setRegister(0x7e0, 0x1111_2222).setRegister(0x7e4, 0x3333_4444);
    m.guest((asm) => {
      readMsr(asm, 0x87e);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect([m.state.gpr(0), m.state.gpr(2)]).toEqual([0x1111_2222n, 0x3333_4444n]);
  });
});
