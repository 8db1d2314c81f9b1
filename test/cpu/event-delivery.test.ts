import { describe, expect, it } from "vitest";
import { Blocking } from "../../src/cpu/logical-processor.ts";
import { flagBit } from "../../src/cpu/register-bits.ts";
import { Activity, lpOffset } from "../../src/execution/lp-window.ts";
import { ax, eax, ebx, mem32, mem64, rax, rsp, ss } from "../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../src/protocol/interrupt-entry.ts";
import { DeliveryMode } from "../../src/protocol/interrupt-message.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const external = 1;
const idt = 2;

function interrupt(
  m: TestMachine,
  vector: number,
  deliveryMode: DeliveryMode = DeliveryMode.Fixed,
): void {
  m.lp.apic.configureVirtualWire();
  m.mailbox.post(
    messageEntry({
      vector,
      deliveryMode,
      logical: false,
      level: false,
      assert: true,
      shorthand: 0,
      destination: 0,
      wide: false,
      source: -1,
    }),
  );
}

describe("delivery in IA-32e mode", () => {
  it("aligns the frame to 16 bytes", () => {
    const m = new TestMachine().long64();
    m.state.setGpr(4, BigInt(place.stack0 - 5));
    m.run(64, (asm) => asm.ud2());
    expect(m.trap().rsp).toBe(BigInt(place.stack0 - 5));
    expect(m.state.gpr(4)).toBe(BigInt(place.stack0 - 16 - 40));
  });

  it("IST switches the stack without a change of level, and leaves SS", () => {
    const m = new TestMachine().long64();
    m.interruptGate(6, 0x8e, 1);
    m.run(64, (asm) => asm.ud2());
    expect(m.state.gpr(4)).toBe(BigInt(place.interruptStack - 40));
    expect(m.trap()).toMatchObject({ rsp: BigInt(place.stack0), ss: selector.data });
    expect(m.state.selector(2)).toBe(selector.data);
  });

  it("an interrupt gate clears IF, a trap gate leaves it", () => {
    for (const [rights, kept] of [
      [0x8e, 0],
      [0x8f, flagBit.IF],
    ] as const) {
      const m = new TestMachine().long64();
      m.interruptGate(6, rights);
      m.lp.writeFlags(flagBit.IF | flagBit.TF | flagBit.NT);
      m.lp.changeFlags(0, flagBit.TF);
      m.run(64, (asm) => asm.ud2());
      expect(m.lp.readFlags() & (flagBit.IF | flagBit.TF | flagBit.NT)).toBe(kept);
    }
  });

  it("a gate that is not 64-bit code raises #GP with its selector and EXT", () => {
    const m = new TestMachine().long64();
    m.interruptGate(6, 0x8e, 0, selector.code32);
    m.run(64, (asm) => asm.ud2());
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: selector.code32 | external });
  });

  it("a stack pointer in the TSS that is not canonical raises #SS", () => {
    const m = new TestMachine().long64().user();
    m.write64(place.tss + 4, 0x9000_0000_0000n);
    m.interruptGate(12, 0x8e, 1);
    m.run(64, (asm) => asm.ud2());
    expect(m.trap()).toMatchObject({ vector: 12, errorCode: external });
  });
});

describe("INT n and the gate's privilege", () => {
  it("a gate of level 0 refuses level 3: error code names the gate, without EXT", () => {
    const m = new TestMachine().long64().user();
    m.run(64, (asm) => asm.int(0x40));
    const rip = BigInt(place.code);
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0x40 * 8 + idt, rip });
  });
  it("returns behind the instruction", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => asm.int(0x40));
    expect(m.trap()).toMatchObject({ vector: 0x40, rip: BigInt(place.code + 2) });
  });
  it("INT3 and INT1: INT1 asks no gate", () => {
    const breakpoint = new TestMachine().long64().user();
    breakpoint.run(64, (asm) => asm.int3());
    expect(breakpoint.trap()).toMatchObject({ vector: 13, errorCode: 3 * 8 + idt });
    const debug = new TestMachine().long64().user();
    debug.run(64, (asm) => asm.int1());
    expect(debug.trap()).toMatchObject({ vector: 1, rip: BigInt(place.code + 1) });
  });
  it("a gate not present raises #NP", () => {
    const m = new TestMachine().long64();
    m.interruptGate(0x40, 0x0e);
    m.run(64, (asm) => asm.int(0x40));
    expect(m.trap()).toMatchObject({ vector: 11, errorCode: 0x40 * 8 + idt });
  });
  it("a vector beyond the table raises #GP", () => {
    const m = new TestMachine().long64();
    m.state.write32(lpOffset.idtrLimit, 0x3ff);
    m.run(64, (asm) => asm.int(0x40));
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0x40 * 8 + idt });
  });
  it("INTO with OF goes to vector 4", () => {
    const m = new TestMachine().protected32();
    m.run(32, (asm) => {
      asm.mov(eax, 0x7fff_ffff);
      asm.into();
      asm.inc(eax);
      asm.into();
    });
    expect(m.trap()).toMatchObject({ vector: 4, rip: BigInt(place.code + 8) });
  });
  it("BOUND outside the bounds goes to vector 5", () => {
    const m = new TestMachine().protected32();
    m.write32(place.data, -5);
    m.write32(place.data + 4, 5);
    m.run(32, (asm) => {
      asm.mov(eax, -5);
      asm.bound(eax, mem64(place.data));
      asm.mov(eax, 6);
      asm.bound(eax, mem64(place.data));
    });
    expect(m.trap().vector).toBe(5);
    expect(m.state.gpr32(0)).toBe(6);
  });
});

describe("faults during delivery", () => {
  const broken = 0x0e;

  it("a contributory fault on another is a double fault with error code 0", () => {
    const m = new TestMachine().long64();
    m.interruptGate(13, broken);
    m.run(64, (asm) => {
      asm.mov(eax, 0x1000);
      asm.mov(ss, ax);
    });
    expect(m.trap()).toMatchObject({ vector: 8, errorCode: 0 });
  });
  it("so is any of them on a page fault", () => {
    const m = new TestMachine().long64();
    m.interruptGate(14, broken);
    m.run(64, (asm) => {
      asm.mov(rax, 0x1_0000_0000n);
      asm.mov(eax, mem32(rax));
    });
    expect(m.trap()).toMatchObject({ vector: 8, errorCode: 0 });
    expect(m.state.get("cr2")).toBe(0x1_0000_0000n);
  });
  it("a page fault on a contributory fault is delivered by itself", () => {
    const m = new TestMachine().long64();
    m.state.set("idtrBase", 0x1_0000_0000n - 13n * 16n);
    const linear = 0x1_0000_0000n;
    m.map(linear, BigInt(place.idt | 7));
    m.write64(place.idt, m.read64(place.idt + 14 * 16));
    m.write64(place.idt + 8, 0n);
    // Gate 14 lies in the next page of the table; gate 13 has none.
    m.state.set("idtrBase", linear - 14n * 16n);
    m.run(64, (asm) => {
      asm.mov(eax, 0x1000);
      asm.mov(ss, ax);
    });
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: 0 });
    expect(m.state.get("cr2")).toBe(linear - 16n);
  });
  it("a benign exception first: the second is delivered by itself, with EXT", () => {
    const m = new TestMachine().long64();
    m.interruptGate(6, broken);
    m.run(64, (asm) => asm.ud2());
    expect(m.trap()).toMatchObject({ vector: 11, errorCode: 6 * 8 + idt + external });
  });
  it("a fault during delivery of a double fault shuts the processor down", () => {
    const m = new TestMachine().long64();
    m.interruptGate(13, broken);
    m.interruptGate(8, broken);
    expect(
      m.run(64, (asm) => {
        asm.mov(eax, 0x1000);
        asm.mov(ss, ax);
      }),
    ).toBe("shutdown");
    expect(m.state.activity).toBe(Activity.Shutdown);
    expect(m.state.rip).toBe(BigInt(place.code + 5));
  });
  it("a stack that cannot be pushed on leads to a double fault on a good one", () => {
    const m = new TestMachine().long64();
    m.interruptGate(8, 0x8e, 1);
    m.run(64, (asm) => {
      asm.mov(rsp, 0x1_0000_0000n);
      asm.push(rax);
    });
    expect(m.trap()).toMatchObject({ vector: 8, rsp: 0x1_0000_0000n });
  });
});

describe("external interrupts", () => {
  it("wait for IF, then arrive behind the instruction after STI", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0x50);
    m.run(64, (asm) => {
      asm.xor(eax, eax);
      asm.inc(eax);
      asm.sti();
      asm.inc(eax);
      asm.inc(eax);
      asm.hlt();
    });
    expect(m.trap()).toMatchObject({ vector: 0x50, rip: BigInt(place.code + 7) });
    expect(m.state.gpr32(0)).toBe(2);
  });
  it("STI; CLI leaves no room for one", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0x50);
    m.run(64, (asm) => {
      asm.sti();
      asm.cli();
      asm.hlt();
    });
    expect(m.finished).toBe(true);
  });
  it("STI; NOP; CLI leaves room", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0x50);
    m.run(64, (asm) => {
      asm.sti();
      asm.nop();
      asm.cli();
      asm.hlt();
    });
    expect(m.trap()).toMatchObject({ vector: 0x50, rip: BigInt(place.code + 2) });
  });
  it("wake a halted processor", () => {
    const m = new TestMachine().long64();
    expect(
      m.run(64, (asm) => {
        asm.sti();
        asm.hlt();
      }),
    ).toBe("idle");
    expect(m.finished).toBe(true);
    interrupt(m, 0x51);
    m.lp.run(100);
    expect(m.trap()).toMatchObject({ vector: 0x51, rip: BigInt(place.code + 2) });
  });
  it("a masked one does not keep a halted processor busy", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0x51);
    expect(m.run(64, (asm) => asm.hlt())).toBe("idle");
    expect(m.lp.run(100)).toBe("idle");
    expect(m.state.read32(lpOffset.pending)).toBe(0);
  });
  it("POPF that sets IF lets one in at once", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0x50);
    m.run(64, (asm) => {
      asm.push(0x202);
      asm.popfq();
      asm.cli();
    });
    expect(m.trap()).toMatchObject({ vector: 0x50, rip: BigInt(place.code + 6) });
  });
  it("one whose gate is bad raises a fault with EXT", () => {
    const m = new TestMachine().long64();
    m.interruptGate(0x50, 0x0e);
    interrupt(m, 0x50);
    m.run(64, (asm) => {
      asm.sti();
      asm.nop();
    });
    expect(m.trap()).toMatchObject({ vector: 11, errorCode: 0x50 * 8 + idt + external });
  });
});

describe("NMI", () => {
  it("is not masked by IF, and blocks further ones until IRET", () => {
    const m = new TestMachine().long64();
    interrupt(m, 0, DeliveryMode.Nmi);
    m.run(64, (asm) => {
      asm.inc(eax);
      asm.hlt();
    });
    expect(m.trap().vector).toBe(2);
    expect(m.state.interruptibility & Blocking.nmi).toBe(Blocking.nmi);
    interrupt(m, 0, DeliveryMode.Nmi);
    expect(m.lp.run(10)).toBe("idle");
    expect(m.lp.nmiPending).toBe(true);
    // IRET lets the second one in.
    m.assemble(64, (asm) => asm.iretq(), 0x9000);
    m.state.rip = 0x9000n;
    m.state.activity = Activity.Active;
    m.lp.run(10);
    expect(m.trap().vector).toBe(2);
    expect(m.lp.nmiPending).toBe(false);
  });
});

describe("the processor's accesses for delivery", () => {
  it("reach supervisor pages from level 3, also under SMAP", () => {
    const m = new TestMachine().long64();
    m.state.setLow("cr4", m.state.low("cr4") | (1 << 21));
    const system = [place.gdt, place.idt, place.tss, place.handlers, place.innerStack - 0x1000];
    for (const page of system) {
      m.map(BigInt(page), BigInt(page | 3));
    }
    m.user();
    m.run(64, (asm) => {
      asm.mov(ebx, 1);
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
  });
});
