import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../src/cpu/trap.ts";
import { Activity } from "../../src/execution/lp-window.ts";
import { ax, mem64, rax, ss } from "../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../src/protocol/interrupt-entry.ts";
import { DeliveryMode } from "../../src/protocol/interrupt-message.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { place } from "../cpu/test-machine.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
beforeAll(() => {
  m = new VmxMachine().root();
  m.lp.apic.configureVirtualWire();
  restore = m.checkpoint();
});
beforeEach(() => {
  restore();
  m.time = 0;
});

function send(deliveryMode: DeliveryMode, vector = 0, to = m): void {
  to.mailbox.post(
    messageEntry({
      vector,
      deliveryMode,
      logical: false,
      level: false,
      assert: true,
      shorthand: 0,
      destination: 0,
      wide: false,
      source: 1,
    }),
  );
}
const start = vmxPlace.guestCode;
const handler = (vector: number): number => place.handlers + vector * 16;
const enabled = 0x202;
const information = (type: number, vector: number, more = 0): number =>
  0x8000_0000 + more + type * 256 + vector;

/** Handlers of the guest that call, so that delivery shows as a VM exit. */
function callingHandler(vector: number): void {
  m.assemble(64, (asm) => asm.vmcall(), handler(vector));
}
/** The guest goes round in a circle; what is sent then finds it running. */
function whileInGuest(act: () => void): void {
  m.guest((asm) => {
    const loop = asm.here("loop");
    asm.nop();
    asm.jmp(loop);
  });
  m.run(64, (asm) => asm.vmlaunch(), 50);
  act();
  m.lp.run(50);
}
const nops = (count: number) => (asm: Parameters<Parameters<VmxMachine["guest"]>[0]>[0]) => {
  for (let n = 0; n < count; n++) {
    asm.nop();
  }
  asm.vmcall();
};

describe("external interrupts", () => {
  beforeEach(() => {
    m.guest(nops(3));
  });

  it("exit whatever RFLAGS.IF says, and stay pending", () => {
    m.enable("pin.externalInterruptExiting");
    send(DeliveryMode.Fixed, 0x40);
    expect(m.launch()).toMatchObject({
      reason: exitReason.externalInterrupt,
      rip: BigInt(start),
      interruption: 0,
    });
    expect(m.lp.apic.interruptPending()).toBe(true);
  });

  it("are acknowledged on request", () => {
    m.enable("pin.externalInterruptExiting").enable("exit.acknowledgeInterruptOnExit");
    send(DeliveryMode.Fixed, 0x40);
    expect(m.launch().interruption).toBe(0x8000_0040);
    expect(m.lp.apic.interruptPending()).toBe(false);
  });

  it("wait for a shadow to pass", () => {
    m.enable("pin.externalInterruptExiting");
    m.set("guestRflags", enabled).set("guestInterruptibility", 1);
    send(DeliveryMode.Fixed, 0x40);
    expect(m.launch()).toMatchObject({
      reason: exitReason.externalInterrupt,
      rip: BigInt(start + 1),
    });
    expect(m.number("guestInterruptibility")).toBe(0);
  });

  it("go through the guest's IDT without the control", () => {
    m.set("guestRflags", enabled);
    callingHandler(0x40);
    send(DeliveryMode.Fixed, 0x40);
    expect(m.launch()).toMatchObject({ reason: exitReason.vmcall, rip: BigInt(handler(0x40)) });
  });

  it("wake a halted guest, which is saved as halted", () => {
    m.enable("pin.externalInterruptExiting").set("guestActivity", 1);
    send(DeliveryMode.Fixed, 0x40);
    expect(m.launch()).toMatchObject({ reason: exitReason.externalInterrupt, rip: BigInt(start) });
    expect(m.number("guestActivity")).toBe(1);
  });

  it("that arrive while the guest runs are taken at the next boundary", () => {
    m.enable("pin.externalInterruptExiting");
    whileInGuest(() => send(DeliveryMode.Fixed, 0x40));
    expect(m.exit().reason).toBe(exitReason.externalInterrupt);
  });
});

describe("NMIs", () => {
  it("exit under NMI exiting, and block the next one", () => {
    m.enable("pin.nmiExiting");
    whileInGuest(() => send(DeliveryMode.Nmi));
    expect(m.exit()).toMatchObject({
      reason: exitReason.exceptionOrNmi,
      interruption: information(2, 2),
    });
    expect(m.state.interruptibility & 8).toBe(8);
  });

  it("are held back by the guest's NMI blocking", () => {
    m.enable("pin.nmiExiting").set("guestInterruptibility", 8);
    whileInGuest(() => send(DeliveryMode.Nmi));
    expect(m.vmx.unit.isNonRoot).toBe(true);
  });

  it("are not held back by virtual blocking", () => {
    m.enable("pin.nmiExiting").enable("pin.virtualNmis").set("guestInterruptibility", 8);
    whileInGuest(() => send(DeliveryMode.Nmi));
    expect(m.exit().reason).toBe(exitReason.exceptionOrNmi);
    expect(m.number("guestInterruptibility")).toBe(8);
  });

  it("wait for the shadow of STI to pass, as they do outside of VMX operation", () => {
    m.enable("pin.nmiExiting").guest(nops(3));
    m.set("guestRflags", enabled).set("guestInterruptibility", 1);
    // Blocked in the host, so that it is still there when the guest begins.
    m.state.interruptibility = 8;
    send(DeliveryMode.Nmi);
    expect(m.launch()).toMatchObject({
      reason: exitReason.exceptionOrNmi,
      rip: BigInt(start + 1),
    });
    expect(m.number("guestInterruptibility")).toBe(0);
  });

  it("go through the guest's IDT without the control, and what they block stays blocked", () => {
    callingHandler(Vector.NMI);
    whileInGuest(() => send(DeliveryMode.Nmi));
    expect(m.exit().rip).toBe(BigInt(handler(Vector.NMI)));
    expect(m.number("guestInterruptibility")).toBe(8);
    expect(m.state.interruptibility & 8).toBe(8);
  });

  it("blocking that is virtual does not outlive the exit", () => {
    m.enable("pin.nmiExiting").enable("pin.virtualNmis").set("guestInterruptibility", 8);
    m.guest(nops(1));
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.number("guestInterruptibility")).toBe(8);
    expect(m.state.interruptibility).toBe(0);
  });
});

describe("IRET", () => {
  /** IRETQ to the instruction after it. */
  function iret(): void {
    m.guest((asm) => {
      const next = asm.label("next");
      asm.mov(rax, rspOf());
      asm.push(0x10);
      asm.push(rax);
      asm.push(2);
      asm.push(0x08);
      asm.lea(rax, mem64(next));
      asm.push(rax);
      asm.iretq();
      asm.here(next);
      asm.vmcall();
    });
  }
  const rspOf = (): bigint => BigInt(vmxPlace.guestStack);

  it.each<[string, boolean, boolean, number]>([
    ["ends blocking in the guest", false, false, 0],
    ["leaves it when NMIs exit and are not virtual", true, false, 8],
    ["ends virtual blocking", true, true, 0],
  ])("%s", (_what, exiting, virtual, left) => {
    iret();
    m.turn("pin.nmiExiting", exiting).turn("pin.virtualNmis", virtual);
    m.set("guestInterruptibility", 8);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.number("guestInterruptibility")).toBe(left);
  });
});

describe("the interrupt window", () => {
  beforeEach(() => {
    m.enable("primary.interruptWindowExiting").guest(nops(3));
  });

  it("is open at once when IF is set and nothing blocks", () => {
    m.set("guestRflags", enabled);
    expect(m.launch()).toMatchObject({ reason: exitReason.interruptWindow, rip: BigInt(start) });
  });

  it.each([
    ["STI", 1],
    ["MOV SS", 2],
  ])("opens behind the shadow of %s", (_what, blocking) => {
    m.set("guestRflags", enabled).set("guestInterruptibility", blocking);
    expect(m.launch()).toMatchObject({
      reason: exitReason.interruptWindow,
      rip: BigInt(start + 1),
    });
  });

  it("opens when the guest sets IF, one instruction after STI", () => {
    m.guest((asm) => {
      asm.nop();
      asm.sti();
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject({
      reason: exitReason.interruptWindow,
      rip: BigInt(start + 3),
    });
  });

  it("stays shut while IF is clear", () => {
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });

  it("opens in a halted guest", () => {
    m.set("guestRflags", enabled).set("guestActivity", 1);
    expect(m.launch()).toMatchObject({ reason: exitReason.interruptWindow, rip: BigInt(start) });
  });

  it("comes after the event that is injected", () => {
    m.set("guestRflags", enabled);
    m.interruptGate(Vector.UD, 0x8f);
    m.set("entryInterruptionInformation", information(3, Vector.UD));
    expect(m.launch()).toMatchObject({
      reason: exitReason.interruptWindow,
      rip: BigInt(handler(Vector.UD)),
    });
  });
});

describe("the NMI window", () => {
  beforeEach(() => {
    m.enable("pin.nmiExiting").enable("pin.virtualNmis").enable("primary.nmiWindowExiting");
    m.guest(nops(3));
  });

  it("is open when nothing blocks", () => {
    expect(m.launch()).toMatchObject({ reason: exitReason.nmiWindow, rip: BigInt(start) });
  });

  it("opens behind the shadow of MOV SS", () => {
    m.set("guestInterruptibility", 2);
    expect(m.launch()).toMatchObject({ reason: exitReason.nmiWindow, rip: BigInt(start + 1) });
  });

  it("opens when IRET ends virtual blocking", () => {
    m.set("guestInterruptibility", 8);
    m.guest((asm) => {
      asm.iretq();
    });
    m.write64(vmxPlace.guestStack, BigInt(start + 0x100));
    m.write64(vmxPlace.guestStack + 8, 0x08n);
    m.write64(vmxPlace.guestStack + 16, 2n);
    m.write64(vmxPlace.guestStack + 24, BigInt(vmxPlace.guestStack));
    m.write64(vmxPlace.guestStack + 32, 0x10n);
    expect(m.launch()).toMatchObject({ reason: exitReason.nmiWindow, rip: BigInt(start + 0x100) });
  });
});

describe("the preemption timer", () => {
  const shift = (): number => m.vmx.unit.profile.preemptionTimerShift;
  beforeEach(() => {
    m.enable("pin.activateVmxPreemptionTimer").enable("exit.saveVmxPreemptionTimer");
    m.guest(nops(3));
  });

  it("that starts at zero exits before the first instruction", () => {
    m.set("preemptionTimerValue", 0);
    expect(m.launch()).toMatchObject({ reason: exitReason.preemptionTimer, rip: BigInt(start) });
  });

  it("exits after the event that is injected", () => {
    m.set("preemptionTimerValue", 0);
    m.set("entryInterruptionInformation", information(3, Vector.UD));
    expect(m.launch()).toMatchObject({
      reason: exitReason.preemptionTimer,
      rip: BigInt(handler(Vector.UD)),
    });
  });

  it("runs down with the time-stamp counter, and what is left is saved", () => {
    m.set("preemptionTimerValue", 1000);
    m.guest((asm) => {
      const loop = asm.here("loop");
      asm.jmp(loop);
    });
    m.run(64, (asm) => asm.vmlaunch(), 20);
    m.time += 400 << shift();
    m.guest((asm) => asm.vmcall());
    m.lp.run(20);
    expect(m.exit().reason).toBe(exitReason.vmcall);
    expect(m.number("preemptionTimerValue")).toBe(600);
  });

  it("exits when the clock is there, and zero is saved", () => {
    m.set("preemptionTimerValue", 1000);
    m.guest((asm) => {
      const loop = asm.here("loop");
      asm.jmp(loop);
    });
    m.run(64, (asm) => asm.vmlaunch(), 20);
    m.time += 1001 << shift();
    m.lp.run(20);
    expect(m.exit().reason).toBe(exitReason.preemptionTimer);
    expect(m.number("preemptionTimerValue")).toBe(0);
  });

  it("wakes a halted guest, and says when", () => {
    m.set("preemptionTimerValue", 1000).set("guestActivity", 1);
    m.run(64, (asm) => asm.vmlaunch(), 20);
    expect(m.lp.wakeDeadline()).toBe(1000 << shift());
    m.time = 1000 << shift();
    m.lp.run(20);
    expect(m.exit().reason).toBe(exitReason.preemptionTimer);
  });
});

describe("the monitor trap flag", () => {
  it("exits after each instruction", () => {
    m.enable("primary.monitorTrapFlag").guest(nops(3));
    expect(m.launch()).toMatchObject({
      reason: exitReason.monitorTrapFlag,
      rip: BigInt(start + 1),
    });
    expect(m.resume().rip).toBe(BigInt(start + 2));
  });

  it("exits after each iteration of a repeated string instruction", () => {
    m.enable("primary.monitorTrapFlag").guest((asm) => asm.rep.stosb());
    m.state.setGpr(1, 3n);
    m.state.setGpr(7, BigInt(place.data));
    expect(m.launch()).toMatchObject({ reason: exitReason.monitorTrapFlag, rip: BigInt(start) });
    expect(m.state.gpr(1)).toBe(2n);
    expect(m.number("guestRflags") & 0x1_0000).not.toBe(0);
    expect(m.resume().rip).toBe(BigInt(start));
    expect(m.resume().rip).toBe(BigInt(start + 2));
    expect(m.number("guestRflags") & 0x1_0000).toBe(0);
  });

  it("gives way to the exit of the instruction itself", () => {
    m.enable("primary.monitorTrapFlag").guest((asm) => asm.vmcall());
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });

  it("exits before the handler of a fault", () => {
    m.enable("primary.monitorTrapFlag").guest((asm) => asm.ud2());
    expect(m.launch()).toMatchObject({
      reason: exitReason.monitorTrapFlag,
      rip: BigInt(handler(Vector.UD)),
    });
  });

  it("exits before the handler of an injected event", () => {
    m.enable("primary.monitorTrapFlag").guest(nops(1));
    m.set("entryInterruptionInformation", information(3, Vector.UD));
    expect(m.launch()).toMatchObject({
      reason: exitReason.monitorTrapFlag,
      rip: BigInt(handler(Vector.UD)),
    });
  });

  it("can be injected by itself", () => {
    m.guest(nops(1)).set("entryInterruptionInformation", information(7, 0));
    expect(m.launch()).toMatchObject({ reason: exitReason.monitorTrapFlag, rip: BigInt(start) });
    expect(m.resume().reason).toBe(exitReason.vmcall);
  });

  it("saves the debug trap that coincides with it", () => {
    m.enable("primary.monitorTrapFlag").set("guestRflags", 0x102).guest(nops(2));
    expect(m.launch().reason).toBe(exitReason.monitorTrapFlag);
    expect(m.number("guestPendingDebug")).toBe(0x4000);
  });
});

describe("injection", () => {
  const frame = (offset: number): bigint => m.read64(Number(m.get("guestRsp")) + offset);

  it("of an external interrupt pushes RIP", () => {
    m.set("guestRflags", enabled).set("entryInterruptionInformation", information(0, 0x50));
    callingHandler(0x50);
    m.guest(nops(1));
    expect(m.launch().rip).toBe(BigInt(handler(0x50)));
    expect(frame(0)).toBe(BigInt(start));
    expect(m.number("guestRflags") & 0x200).toBe(0);
    expect(m.number("entryInterruptionInformation")).toBe(0x50);
  });

  it("of an exception pushes the error code that the field holds", () => {
    m.set("entryInterruptionInformation", information(3, Vector.GP, 0x800));
    m.set("entryExceptionErrorCode", 0xabcd);
    callingHandler(Vector.GP);
    m.guest(nops(1));
    m.launch();
    expect(frame(0)).toBe(0xabcdn);
    expect(frame(8)).toBe(BigInt(start));
  });

  it("of a software interrupt pushes the address behind its instruction", () => {
    m.set("entryInterruptionInformation", information(4, 0x60)).set("entryInstructionLength", 2);
    callingHandler(0x60);
    m.guest(nops(4));
    m.launch();
    expect(frame(0)).toBe(BigInt(start + 2));
  });

  it("of an NMI blocks the next", () => {
    m.set("entryInterruptionInformation", information(2, 2));
    callingHandler(Vector.NMI);
    m.guest(nops(1));
    m.launch();
    expect(m.number("guestInterruptibility")).toBe(8);
  });

  it("asks no exception bitmap, but what follows from it does", () => {
    m.set("exceptionBitmap", -1).set("entryInterruptionInformation", information(3, Vector.UD));
    callingHandler(Vector.UD);
    m.guest(nops(1));
    expect(m.launch().reason).toBe(exitReason.vmcall);
    m.set("entryInterruptionInformation", information(3, Vector.UD));
    m.set("guestIdtrLimit", 0).set("guestRip", start);
    expect(m.resume()).toMatchObject({
      reason: exitReason.exceptionOrNmi,
      vectoring: information(3, Vector.UD),
      rip: BigInt(start),
    });
  });

  it("does not touch CR2", () => {
    m.state.set("cr2", 0x1234n);
    m.set("entryInterruptionInformation", information(3, Vector.PF, 0x800));
    callingHandler(Vector.PF);
    m.guest(nops(1));
    m.launch();
    expect(m.state.get("cr2")).toBe(0x1234n);
  });

  it("wakes a halted guest", () => {
    m.set("guestActivity", 1).set("guestRflags", enabled);
    m.set("entryInterruptionInformation", information(0, 0x50));
    callingHandler(0x50);
    expect(m.launch().rip).toBe(BigInt(handler(0x50)));
    expect(m.number("guestActivity")).toBe(0);
  });
});

describe("pending debug exceptions", () => {
  it("are delivered after an entry that injects nothing", () => {
    m.set("guestPendingDebug", 0x4000).set("exceptionBitmap", 1 << Vector.DB);
    m.guest(nops(1));
    expect(m.launch()).toMatchObject({
      reason: exitReason.exceptionOrNmi,
      interruption: information(3, Vector.DB),
      qualification: 0x4000n,
      rip: BigInt(start),
    });
  });

  it("need an enabled breakpoint or a single step", () => {
    m.set("guestPendingDebug", 0x1).set("exceptionBitmap", 1 << Vector.DB);
    m.guest(nops(1));
    expect(m.launch().reason).toBe(exitReason.vmcall);
    m.set("guestPendingDebug", 0x1001).set("guestRip", start);
    expect(m.resume().qualification).toBe(1n);
  });

  it("get lost when an event is injected", () => {
    m.set("guestPendingDebug", 0x4000).set("exceptionBitmap", 1 << Vector.DB);
    m.set("entryInterruptionInformation", information(3, Vector.UD));
    callingHandler(Vector.UD);
    m.guest(nops(1));
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });

  it("of the guest's own stepping reach it", () => {
    m.set("guestRflags", 0x102).set("exceptionBitmap", 1 << Vector.DB);
    m.guest(nops(2));
    expect(m.launch()).toMatchObject({ qualification: 0x4000n, rip: BigInt(start + 1) });
    expect(m.state.low("dr6") & 0x4000).toBe(0);
  });
});

describe("activity states", () => {
  it("HLT rests the guest until something comes", () => {
    m.set("guestActivity", 1).guest(nops(1));
    expect(m.run(64, (asm) => asm.vmlaunch(), 50)).toBe("idle");
    expect(m.state.activity).toBe(Activity.Halted);
  });

  it("wait-for-SIPI takes a start-up message, and nothing else", () => {
    m.enable("pin.externalInterruptExiting").enable("pin.nmiExiting");
    m.set("guestActivity", 3).guest(nops(1));
    expect(m.run(64, (asm) => asm.vmlaunch(), 50)).toBe("idle");
    send(DeliveryMode.Fixed, 0x40);
    send(DeliveryMode.Nmi);
    expect(m.lp.run(50)).toBe("idle");
    expect(m.vmx.unit.isNonRoot).toBe(true);
    send(DeliveryMode.Startup, 0x9a);
    m.lp.run(50);
    expect(m.exit()).toMatchObject({ reason: exitReason.sipi, qualification: 0x9an });
  });

  describe("shutdown", () => {
    beforeEach(() => {
      m.set("guestActivity", 2).guest(nops(1));
    });
    const enter = (): string => m.run(64, (asm) => asm.vmlaunch(), 50);

    it("takes no external interrupt", () => {
      m.enable("pin.externalInterruptExiting");
      expect(enter()).toBe("idle");
      send(DeliveryMode.Fixed, 0x40);
      expect(m.lp.run(50)).toBe("idle");
      expect(m.vmx.unit.isNonRoot).toBe(true);
    });

    it("ends with an NMI, which finds the guest shut down", () => {
      m.enable("pin.nmiExiting");
      enter();
      send(DeliveryMode.Nmi);
      m.lp.run(50);
      expect(m.exit().reason).toBe(exitReason.exceptionOrNmi);
      expect(m.number("guestActivity")).toBe(2);
    });

    it("ends when the preemption timer does", () => {
      m.enable("pin.activateVmxPreemptionTimer").set("preemptionTimerValue", 10);
      expect(enter()).toBe("idle");
      m.time = m.lp.wakeDeadline() ?? 0;
      m.lp.run(50);
      expect(m.exit().reason).toBe(exitReason.preemptionTimer);
    });

    it("of the guest does not make the machine stop", () => {
      expect(enter()).toBe("idle");
    });
  });

  it("INIT exits from an active guest", () => {
    m.guest(nops(1));
    send(DeliveryMode.Init);
    expect(m.launch()).toMatchObject({ reason: exitReason.init, rip: BigInt(start) });
  });

  it("INIT is held back in root operation, until the next entry", () => {
    m.guest(nops(1)).launch();
    send(DeliveryMode.Init);
    m.execute((asm) => asm.nop());
    expect(m.state.get("cr0")).not.toBe(0x10n);
    m.set("guestRip", start);
    expect(m.resume().reason).toBe(exitReason.init);
  });

  it("INIT is held back in root operation, until VMXOFF", () => {
    const own = new VmxMachine().on();
    own.lp.apic.configureVirtualWire();
    send(DeliveryMode.Init, 0, own);
    own.execute((asm) => asm.nop());
    expect(own.lp.isLongMode).toBe(true);
    own.state.activity = Activity.Active;
    own.run(64, (asm) => asm.vmxoff(), 50);
    expect(own.lp.isLongMode).toBe(false);
  });

  it("a start-up message does nothing to an active guest", () => {
    m.guest(nops(3));
    send(DeliveryMode.Startup, 0x9a);
    expect(m.launch().reason).toBe(exitReason.vmcall);
  });
});

describe("shadows", () => {
  it("of MOV SS are saved when the next instruction exits", () => {
    m.guest((asm) => {
      asm.mov(ax, ss);
      asm.mov(ss, ax);
      asm.vmcall();
    });
    m.launch();
    expect(m.number("guestInterruptibility")).toBe(2);
  });

  it("of STI are saved when the next instruction exits", () => {
    m.guest((asm) => {
      asm.sti();
      asm.vmcall();
    });
    m.launch();
    expect(m.number("guestInterruptibility")).toBe(1);
    expect(m.state.interruptibility).toBe(0);
  });
});
