import { beforeEach, describe, expect, it } from "vitest";
import { cr4Bit, flagBit } from "../../src/cpu/register-bits.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { Segment } from "../../src/execution/lp-window.ts";
import { al, ax, dx, eax } from "../../src/isa/assembler-operands.ts";
import { BareProcessor, type Mode, place } from "./bare-processor.ts";

let lp: BareProcessor;
beforeEach(() => {
  lp = new BareProcessor();
});

const [rax, rcx, rdx, rsi, rdi] = [0, 1, 2, 6, 7];

describe("IN and OUT", () => {
  it("reads bytes, words and doublewords into AL, AX and EAX", () => {
    lp.bus.answers.push(0x12, 0x3456, 0x789a_bcde);
    lp.state.setGpr(rax, -1n);
    lp.state.setGpr(rdx, 0x1_0060n);
    lp.execute64((asm) => asm.in(al, 0x60));
    expect(lp.state.gpr(rax)).toBe(0xffff_ffff_ffff_ff12n);
    lp.execute64((asm) => asm.in(ax, dx));
    expect(lp.state.gpr(rax)).toBe(0xffff_ffff_ffff_3456n);
    lp.execute64((asm) => asm.in(eax, dx));
    expect(lp.state.gpr(rax)).toBe(0x789a_bcden);
  });

  it("writes AL, AX and EAX to the port of DX or of the instruction", () => {
    lp.state.setGpr(rax, 0x1122_3344_5566_7788n);
    lp.state.setGpr(rdx, 0xffff_ffff_ffff_1234n);
    lp.execute64((asm) => {
      asm.out(0xf4, al);
      asm.out(0x80, eax);
      asm.out(dx, al);
      asm.out(dx, ax);
      asm.out(dx, eax);
    });
    expect(lp.bus.written).toEqual([
      [0xf4, 1, 0x88],
      [0x80, 4, 0x5566_7788],
      [0x1234, 1, 0x88],
      [0x1234, 2, 0x7788],
      [0x1234, 4, 0x5566_7788],
    ]);
  });
});

describe("INS and OUTS", () => {
  it("moves one element and the pointer, up or down", () => {
    lp.bus.answers.push(0xaa, 0xbbbb);
    lp.state.setGpr(rdi, BigInt(place.data));
    lp.execute64((asm) => asm.insb());
    expect(lp.state.u8[place.data]).toBe(0xaa);
    expect(lp.state.gpr(rdi)).toBe(BigInt(place.data + 1));
    lp.changeFlags(flagBit.DF, flagBit.DF);
    lp.execute64((asm) => asm.insw());
    expect(lp.state.gpr(rdi)).toBe(BigInt(place.data - 1));
  });

  it("repeats as often as the count says", () => {
    lp.state.u8.set(new TextEncoder().encode("Hello"), place.data);
    lp.state.setGpr(rsi, BigInt(place.data));
    lp.state.setGpr(rcx, 5n);
    lp.state.setGpr(rdx, 0x3f8n);
    lp.execute64((asm) => asm.rep.outsb());
    expect(lp.bus.written.map(([, , value]) => String.fromCharCode(value)).join("")).toBe("Hello");
    expect([lp.state.gpr(rcx), lp.state.gpr(rsi)]).toEqual([0n, BigInt(place.data + 5)]);
    lp.execute64((asm) => asm.rep.outsb());
    expect(lp.bus.written.length).toBe(5);
  });

  it("a long repetition comes to its end although it is left in between", () => {
    lp.state.setGpr(rdi, BigInt(place.data));
    lp.state.setGpr(rcx, 1000n);
    lp.bus.answers.push(...Array.from({ length: 1000 }, (_, n) => n & 0xff));
    const before = lp.core.retired;
    expect(lp.execute64((asm) => asm.rep.insb())).toBeUndefined();
    expect(lp.state.gpr(rcx)).toBe(0n);
    expect(lp.state.u8[place.data + 999]).toBe(999 & 0xff);
    expect(lp.core.retired - before).toBe(4);
  });

  it("is left for an event after the element in progress", () => {
    lp.state.setGpr(rsi, BigInt(place.data));
    lp.state.setGpr(rcx, 3n);
    const write = lp.bus.writePort.bind(lp.bus);
    lp.bus.writePort = (...args: Parameters<typeof write>) => {
      lp.requestEvents();
      write(...args);
    };
    expect(lp.execute64((asm) => asm.rep.outsb())).toBeUndefined();
    expect(lp.bus.written.length).toBe(3);
    expect(lp.core.retired).toBe(3);
  });

  it("address size 16 wraps within the segment", () => {
    lp.enter("real");
    setSegment(lp.state, Segment.ES, 0, 0x93, 0xffff, 0n);
    lp.state.setGpr(rdi, 0x1111_ffffn);
    lp.bus.answers.push(0x5a);
    lp.executeCode(16, (asm) => asm.insb());
    expect(lp.state.u8[0xffff]).toBe(0x5a);
    expect(lp.state.gpr(rdi)).toBe(0x1111_0000n);
  });

  it("a destination that cannot be written faults before the port is read", () => {
    lp.bus.answers.push(1);
    lp.state.setGpr(rdi, 0x4000_0000n);
    lp.state.setGpr(rcx, 2n);
    expect(lp.execute64((asm) => asm.rep.insb())?.vector).toBe(Vector.PF);
    expect(lp.bus.answers.length).toBe(1);
    expect(lp.state.gpr(rcx)).toBe(2n);
  });

  it("faults at the element that cannot be moved, with the registers at it", () => {
    lp.state.setGpr(rdi, 0x3fff_fffen);
    lp.state.u64[(place.tables + 0x1000) / 8] = 0x87n;
    lp.state.setGpr(rcx, 4n);
    expect(lp.execute64((asm) => asm.rep.insb())?.vector).toBe(Vector.PF);
    expect([lp.state.gpr(rcx), lp.state.gpr(rdi)]).toEqual([2n, 0x4000_0000n]);
  });
});

describe("I/O permission", () => {
  /** A TSS with its map at 80H, and the ports given closed. */
  function closePorts(...ports: readonly number[]): void {
    const { u8 } = lp.state;
    u8.fill(0, place.tss, place.tss + 0x200);
    u8[place.tss + 102] = 0x80;
    for (const port of ports) {
      const at = place.tss + 0x80 + (port >> 3);
      u8[at] = (u8[at] ?? 0) | (1 << (port & 7));
    }
  }
  const out = (port: number, size: 1 | 2 | 4): number | undefined => {
    lp.state.setGpr(rdx, BigInt(port));
    const bits = lp.is64Bit ? 64 : lp.isVirtual8086 || !lp.isProtected ? 16 : 32;
    const source = { 1: al, 2: ax, 4: eax }[size];
    return lp.executeCode(bits, (asm) => asm.out(dx, source as typeof al))?.vector;
  };

  it.each<[string, Mode, number, number, number | undefined]>([
    ["level 0", "long", 0, 0, undefined],
    ["level 3 with IOPL 3", "long", 3, 3, undefined],
    ["level 3 with IOPL 2", "long", 3, 2, Vector.GP],
    ["real mode", "real", 0, 0, undefined],
    ["virtual-8086 mode whatever IOPL", "virtual8086", 3, 3, Vector.GP],
  ])("a closed port: %s", (_what, mode, cpl, iopl, vector) => {
    lp.enter(mode, cpl);
    closePorts(0x60);
    lp.changeFlags(iopl << 12, flagBit.IOPL);
    expect(out(0x60, 1)).toBe(vector);
  });

  it("checks every port of a wide access", () => {
    lp.enter("long", 3);
    closePorts(0x63);
    expect(out(0x62, 1)).toBeUndefined();
    expect(out(0x60, 2)).toBeUndefined();
    expect(out(0x60, 4)).toBe(Vector.GP);
    expect(out(0x62, 2)).toBe(Vector.GP);
    expect(out(0x64, 4)).toBeUndefined();
  });

  it("the two bytes of the map must lie within the limit", () => {
    lp.enter("long", 3);
    closePorts();
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x82, BigInt(place.tss));
    expect(out(0x0f, 1)).toBeUndefined();
    expect(out(0x10, 1)).toBe(Vector.GP);
  });

  it("a map beyond the limit, a short TSS and a 16-bit TSS close all ports", () => {
    lp.enter("protected", 3);
    closePorts();
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x67, BigInt(place.tss));
    expect(out(0, 1)).toBe(Vector.GP);
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x66, BigInt(place.tss));
    expect(out(0, 1)).toBe(Vector.GP);
    setSegment(lp.state, Segment.TR, 0x28, 0x83, 0x1ff, BigInt(place.tss));
    expect(out(0, 1)).toBe(Vector.GP);
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x1ff, BigInt(place.tss));
    expect(out(0, 1)).toBeUndefined();
  });
});

describe("I/O breakpoints", () => {
  it("are pending behind the access, with debug extensions only", () => {
    lp.state.set("dr0", 0x61n);
    lp.state.setLow("dr7", 0x402 | (2 << 16));
    lp.debugRegistersChanged();
    lp.execute64((asm) => asm.out(0x61, al));
    expect(lp.pendingDebug).toBe(0);
    lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.DE);
    lp.debugRegistersChanged();
    lp.execute64((asm) => asm.out(0x60, al));
    expect(lp.pendingDebug).toBe(0);
    lp.execute64((asm) => asm.out(0x60, ax));
    expect(lp.pendingDebug).toBe(1);
  });
});

describe("I/O in non-root operation", () => {
  it("asks after the permission check and before the segment check", () => {
    const asked: unknown[] = [];
    lp.intercept({
      io: (port, size, isIn, _insn, string, immediate, linear) => {
        asked.push([port, size, isIn, string, immediate, linear]);
        lp.state.rip = 0n;
        return true;
      },
    });
    lp.execute64((asm) => asm.in(al, 0x71));
    lp.state.setGpr(rdx, 0x1f0n);
    lp.state.setGpr(rsi, 0x8000_0000_0000n);
    lp.state.setGpr(rcx, 1n);
    lp.execute64((asm) => asm.rep.outsw());
    lp.state.setGpr(rcx, 0n);
    lp.execute64((asm) => asm.rep.outsw());
    expect(asked).toEqual([
      [0x71, 1, true, false, true, 0n],
      [0x1f0, 2, false, true, false, 0x8000_0000_0000n],
    ]);
    expect(lp.bus.written).toEqual([]);
    lp.enter("long", 3);
    setSegment(lp.state, Segment.TR, 0x28, 0x8b, 0x66, BigInt(place.tss));
    expect(lp.execute64((asm) => asm.in(al, 0x71))?.vector).toBe(Vector.GP);
    expect(asked.length).toBe(2);
  });
});
