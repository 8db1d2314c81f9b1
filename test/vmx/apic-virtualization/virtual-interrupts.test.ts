import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Activity } from "../../../src/execution/lp-window.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { cr8, eax, mem32, rax, ss } from "../../../src/isa/assembler-operands.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { place, selector } from "../../cpu/test-machine.ts";
import { vmxPlace } from "../vmx-machine.ts";
import { ApicMachine, apicPlace, writeMsr } from "./apic-machine.ts";

let m: ApicMachine;
let restore: () => void;
beforeAll(() => {
  m = new ApicMachine().x2apic().delivery();
  for (let vector = 0x20; vector < 0x100; vector++) {
    m.handler(vector, (asm) => asm.vmcall());
  }
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** Code of a handler that has more than 16 bytes. */
const longHandler = 0x5_5000;
const endOfInterrupt = (asm: Assembler) => writeMsr(asm, 0x80b, 0);
const inHandler = (vector: number) => ({
  reason: exitReason.vmcall,
  rip: BigInt(place.handlers + vector * 16),
});
const inProgram = { reason: exitReason.vmcall, rip: BigInt(vmxPlace.guestCode) };

describe("VM entry with RVI", () => {
  it("delivers the interrupt before the first instruction, without an exit", () => {
    m.interruptible().status(0x61).request(0x61).request(0x35).setRegister(0x80, 0x20);
    m.guest((asm) => asm.vmcall());
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.vectors(0x100)).toEqual([0x61]);
    expect(m.vectors(0x200)).toEqual([0x35]);
    expect([m.rvi, m.svi]).toEqual([0x35, 0x61]);
    expect(m.register(0xa0)).toBe(0x60);
    // What is delivered returns to where the guest was.
    expect(m.read64(vmxPlace.guestStack - 40)).toBe(BigInt(vmxPlace.guestCode));
  });

  /** RVI, SVI and TPR; whether an interrupt is recognized, and VPPR after entry. */
  const priorities: readonly (readonly [
    rvi: number,
    svi: number,
    tpr: number,
    delivered: boolean,
    ppr: number,
  ])[] = [
    [0x30, 0, 0x2f, true, 0x30],
    [0x3f, 0, 0x30, false, 0x30],
    [0x40, 0x35, 0x20, true, 0x40],
    [0x3f, 0x35, 0x20, false, 0x30],
    [0x50, 0x35, 0x3c, true, 0x50],
    [0x30, 0x35, 0x3c, false, 0x3c],
    [0, 0, 0, false, 0],
    [0xff, 0, 0xf0, false, 0xf0],
  ];
  it.each(priorities)(
    "%i against SVI %i and TPR %i: delivered %s, VPPR %i",
    (rvi, svi, tpr, delivered, ppr) => {
      m.interruptible().status(rvi, svi).request(rvi).setRegister(0x80, tpr);
      m.guest((asm) => asm.vmcall());
      expect(m.launch()).toMatchObject(delivered ? inHandler(rvi) : inProgram);
      expect(m.register(0xa0)).toBe(ppr);
    },
  );

  it("wakes a guest that is halted", () => {
    m.interruptible().status(0x61).request(0x61).set("guestActivity", Activity.Halted);
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.number("guestActivity")).toBe(Activity.Active);
  });

  it("delivers what is injected first", () => {
    m.interruptible().status(0x61).request(0x61).set("entryInterruptionInformation", 0x8000_0050);
    m.handler(0x50, (asm) => {
      asm.sti();
      asm.nop();
      asm.nop();
    });
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.read64(Number(m.get("guestRsp")))).toBe(BigInt(place.handlers + 0x50 * 16 + 2));
  });

  it("recognizes nothing under interrupt-window exiting", () => {
    m.interruptible().status(0x61).request(0x61).enable("primary.interruptWindowExiting");
    m.guest((asm) => asm.vmcall());
    expect(m.launch().reason).toBe(exitReason.interruptWindow);
    expect([m.rvi, m.svi]).toEqual([0x61, 0]);
    m.disable("primary.interruptWindowExiting");
    expect(m.resume()).toMatchObject(inHandler(0x61));
  });
});

describe("a recognized interrupt", () => {
  it("waits for RFLAGS.IF, and for the instruction behind STI", () => {
    m.status(0x61).request(0x61);
    m.guest((asm) => {
      asm.nop();
      asm.sti();
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.read64(vmxPlace.guestStack - 40)).toBe(BigInt(vmxPlace.guestCode + 3));
  });

  it("waits for the instruction behind a load of SS", () => {
    m.interruptible().status(0x30).request(0x30).setRegister(0x80, 0xf0);
    m.guest((asm) => {
      asm.mov(eax, selector.data);
      asm.mov(ss, eax);
      asm.vmcall();
    });
    m.set("guestInterruptibility", 2).setRegister(0x80, 0);
    m.guest((asm) => {
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject(inHandler(0x30));
    expect(m.read64(vmxPlace.guestStack - 40)).toBe(BigInt(vmxPlace.guestCode + 1));
  });

  it("wakes the guest from HLT", () => {
    m.status(0x61).request(0x61);
    m.guest((asm) => {
      asm.sti();
      asm.hlt();
    });
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.read64(vmxPlace.guestStack - 40)).toBe(BigInt(vmxPlace.guestCode + 2));
  });

  it("lets an NMI that does not exit go first", () => {
    m.interruptible().status(0x61).request(0x61);
    m.handler(2, (asm) => asm.vmcall());
    // The host has NMIs blocked, so that it waits for the guest.
    m.state.interruptibility = 8;
    m.lp.latchNmi();
    m.guest((asm) => asm.nop());
    expect(m.launch()).toMatchObject(inHandler(2));
  });

  it("goes before an external interrupt", () => {
    m.interruptible().status(0x61).request(0x61).interrupt(0x90);
    m.handler(0x61, (asm) => asm.cli());
    expect(m.launch()).toMatchObject({
      reason: exitReason.externalInterrupt,
      rip: BigInt(place.handlers + 0x61 * 16),
    });
  });

  it("is not seen again merely because memory has changed", () => {
    m.interruptible().status(0).setRegister(0x80, 0x80);
    m.guest((asm) => {
      // RVI is 0 and stays so, though a request is entered.
      asm.mov(mem32(apicPlace.virtualApic + 0x230), 2);
      asm.mov(mem32(apicPlace.virtualApic + 0x80), 0);
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.vectors(0x100)).toEqual([]);
  });

  it("is followed by the monitor trap before its handler", () => {
    m.interruptible().status(0x61).request(0x61).enable("primary.monitorTrapFlag");
    m.guest((asm) => asm.nop());
    expect(m.launch()).toMatchObject({
      reason: exitReason.monitorTrapFlag,
      rip: BigInt(place.handlers + 0x61 * 16),
    });
  });

  it("that exits during its delivery is in the IDT-vectoring information, and in service", () => {
    m.accesses().disable("secondary.virtualizeX2apicMode");
    m.interruptible()
      .status(0x61)
      .request(0x61)
      .set("guestRsp", apicPlace.accessPage + 0x800);
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.apicAccess);
    expect(exit.vectoring).toBe(0x8000_0061);
    expect([m.rvi, m.svi]).toEqual([0, 0x61]);
  });
});

describe("lowering the task priority", () => {
  it("delivers what it had held back, right behind MOV to CR8", () => {
    m.interruptible().status(0x61).request(0x61).setRegister(0x80, 0x70);
    m.guest((asm) => {
      asm.mov(eax, 6);
      asm.mov(cr8, rax);
      asm.mov(eax, 5);
      asm.mov(cr8, rax);
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect(m.state.gpr32(0)).toBe(5);
  });
});

describe("EOI", () => {
  it("ends the highest in service and delivers the next request", () => {
    m.interruptible().status(0x61).request(0x61).request(0x35);
    m.guest((asm) => asm.vmcall());
    m.handler(0x61, (asm) => asm.jmp(longHandler));
    m.assemble(
      64,
      (asm) => {
        endOfInterrupt(asm);
        asm.iretq();
      },
      longHandler,
    );
    expect(m.launch()).toMatchObject(inHandler(0x35));
    expect(m.vectors(0x100)).toEqual([0x35]);
    expect([m.rvi, m.svi]).toEqual([0, 0x35]);
  });

  it("uncovers the vector that was interrupted", () => {
    m.status(0, 0x61)
      .setRegister(0x100 + 0x30, 1 << 1)
      .setRegister(0x100 + 0x10, 1 << 0x15);
    m.guest((asm) => {
      endOfInterrupt(asm);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.vectors(0x100)).toEqual([0x35]);
    expect(m.svi).toBe(0x35);
    expect(m.register(0xa0)).toBe(0x30);
  });

  it.each([0, 0x21, 0x61, 0xff])("of vector %i exits if the bitmap says so", (vector) => {
    m.status(0, vector).setRegister(0x100 + (vector >>> 5) * 16, 1 << (vector & 31));
    m.guest((asm) => {
      endOfInterrupt(asm);
      asm.vmcall();
    });
    const bitmaps = [
      "eoiExitBitmap0",
      "eoiExitBitmap1",
      "eoiExitBitmap2",
      "eoiExitBitmap3",
    ] as const;
    m.set(bitmaps[vector >>> 6] ?? "eoiExitBitmap0", 1n << BigInt(vector & 63));
    const exit = m.launch();
    expect(exit).toMatchObject({
      reason: exitReason.virtualizedEoi,
      qualification: BigInt(vector),
    });
    expect(m.svi).toBe(0);
    expect(m.resume()).toMatchObject({ reason: exitReason.vmcall, rip: exit.rip });
  });
});

describe("an interrupt to oneself", () => {
  const ways: readonly (readonly [string, (asm: Assembler, vector: number) => void])[] = [
    ["by the self-IPI register", (asm, vector) => writeMsr(asm, 0x83f, vector)],
    [
      "by the interrupt command",
      (asm, vector) => {
        asm.mov(eax, 0x4_4000 | vector);
        asm.mov(mem32(apicPlace.accessPage + 0x300), eax);
      },
    ],
  ];
  it.each(ways)("%s is delivered at once", (name, send) => {
    if (name.includes("command")) {
      m.disable("secondary.virtualizeX2apicMode").accesses();
    }
    m.interruptible().guest((asm) => {
      send(asm, 0x77);
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject(inHandler(0x77));
    expect([m.rvi, m.svi]).toEqual([0, 0x77]);
  });

  it("does not lower RVI", () => {
    m.status(0x81)
      .request(0x81)
      .guest((asm) => {
        writeMsr(asm, 0x83f, 0x77);
        asm.vmcall();
      });
    m.launch();
    expect(m.rvi).toBe(0x81);
    expect(m.vectors(0x200)).toEqual([0x77, 0x81]);
  });

  /** Commands other than a fixed, edge-triggered interrupt to oneself. */
  it.each([
    0x0_4077, 0x8_4077, 0xc_4077, 0x4_400f, 0x4_4177, 0x4_c077, 0x4_5077, 0x4_6077, 0x5_4077,
    0x14_4077, 0x8004_4077,
  ])("is not what command %i asks for: it exits", (command) => {
    m.disable("secondary.virtualizeX2apicMode").accesses();
    m.guest((asm) => {
      asm.mov(eax, command);
      asm.mov(mem32(apicPlace.accessPage + 0x300), eax);
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject({ reason: exitReason.apicWrite, qualification: 0x300n });
    expect(m.register(0x300)).toBe(command);
    expect(m.vectors(0x200)).toEqual([]);
  });
});
