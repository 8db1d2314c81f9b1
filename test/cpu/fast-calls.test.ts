import { describe, expect, it } from "vitest";
import { cr4Bit, eferBit, flagBit } from "../../src/cpu/register-bits.ts";
import { lpOffset, Segment } from "../../src/execution/lp-window.ts";
import {
  al,
  eax,
  ecx,
  edx,
  mem32,
  r11,
  rax,
  rbx,
  rcx,
  rdx,
} from "../../src/isa/assembler-operands.ts";
import { exitVector, place, selector, TestMachine } from "./test-machine.ts";

const target = 0x9000;

describe("SYSCALL and SYSRET", () => {
  function machine(): TestMachine {
    const m = new TestMachine().long64();
    m.state.set(
      "star",
      (BigInt(selector.userCode32 & ~3) << 48n) | (BigInt(selector.code64) << 32n),
    );
    m.state.set("lstar", BigInt(target));
    m.state.set("fmask", BigInt(flagBit.IF | flagBit.DF));
    return m;
  }

  it("go to LSTAR with flags masked, and come back to where RCX says", () => {
    const m = machine();
    m.assemble(
      64,
      (asm) => {
        asm.pushfq();
        asm.pop(rbx);
        asm.form("Sysretq");
      },
      target,
    );
    m.user();
    m.lp.writeFlags(flagBit.IF | flagBit.DF | flagBit.CF);
    m.state.setGpr(4, BigInt(place.stack3));
    m.run(64, (asm) => {
      asm.syscall();
      asm.int(exitVector);
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr(1)).toBe(BigInt(place.code + 2));
    expect(m.state.gpr(3) & BigInt(flagBit.IF | flagBit.DF | flagBit.CF)).toBe(BigInt(flagBit.CF));
    const { cs, ss, rflags } = m.trap();
    expect([cs, ss]).toEqual([selector.userCode64, selector.userData]);
    expect(rflags & (flagBit.IF | flagBit.DF)).toBe(flagBit.IF | flagBit.DF);
  });

  it("SYSCALL loads fixed segments without looking at the tables", () => {
    const m = machine();
    m.state.write32(lpOffset.gdtrLimit, 0);
    m.assemble(64, (asm) => asm.hlt(), target);
    m.user();
    m.state.write32(lpOffset.gdtrLimit, 0);
    m.run(64, (asm) => asm.syscall());
    expect(m.state.activity).toBe(1);
    expect([m.state.selector(Segment.CS), m.state.selector(Segment.SS)]).toEqual([8, 16]);
    expect(m.state.cpl).toBe(0);
  });

  it("SYSRET with 32-bit operand size goes to compatibility mode", () => {
    const m = machine();
    m.assemble(32, (asm) => asm.int(exitVector), target);
    m.run(64, (asm) => {
      asm.mov(ecx, target);
      asm.mov(r11, flagBit.fixed);
      asm.form("Sysretd");
    });
    expect(m.trap()).toMatchObject({ vector: exitVector, cs: selector.userCode32 });
  });

  it("are undefined without EFER.SCE", () => {
    const m = machine();
    m.state.setLow("efer", m.state.low("efer") & ~eferBit.SCE);
    m.run(64, (asm) => asm.syscall());
    expect(m.trap().vector).toBe(6);
  });

  it("SYSRET to an address that is not canonical raises #GP(0) at level 0", () => {
    const m = machine();
    m.run(64, (asm) => {
      asm.mov(rcx, 0x8000_0000_0000n);
      asm.form("Sysretq");
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0, cs: selector.code64 });
  });

  it("SYSRET at level 3 raises #GP(0), SYSCALL in compatibility mode #UD", () => {
    const user = machine().user();
    user.run(64, (asm) => asm.form("Sysretq"));
    expect(user.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    const compatible = machine().user(false);
    compatible.run(32, (asm) => asm.syscall());
    expect(compatible.trap().vector).toBe(6);
  });
});

describe("SYSENTER and SYSEXIT", () => {
  function machine(m: TestMachine): TestMachine {
    m.state.set("sysenterCs", BigInt(selector.code64));
    m.state.set("sysenterEsp", BigInt(place.innerStack));
    m.state.set("sysenterEip", BigInt(target));
    return m;
  }

  it("go in and out in 64-bit mode", () => {
    const m = machine(new TestMachine().long64());
    m.assemble(
      64,
      (asm) => {
        asm.mov(al, 0x55);
        asm.mov(rdx, place.code + 0x100);
        asm.mov(rcx, place.stack3);
        asm.form("Sysexitq");
      },
      target,
    );
    m.assemble(64, (asm) => asm.int(exitVector), place.code + 0x100);
    m.user();
    m.lp.writeFlags(flagBit.IF);
    m.run(64, (asm) => asm.sysenter());
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0) & 0xff).toBe(0x55);
    const { cs, ss, rsp, rflags } = m.trap();
    expect([cs, ss, rsp]).toEqual([(8 + 32) | 3, (8 + 40) | 3, BigInt(place.stack3)]);
    expect(rflags & flagBit.IF).toBe(0);
  });

  it("in protected mode load flat 32-bit segments", () => {
    const m = machine(new TestMachine().protected32());
    m.state.set("sysenterCs", BigInt(selector.code32));
    m.assemble(32, (asm) => asm.hlt(), target);
    m.user();
    m.run(32, (asm) => asm.sysenter());
    expect(m.state.selector(Segment.CS)).toBe(selector.code32);
    expect(m.state.selector(Segment.SS)).toBe(selector.code32 + 8);
    expect(m.state.gpr32(4)).toBe(place.innerStack);
  });

  it("a null selector in IA32_SYSENTER_CS raises #GP(0), as does SYSEXIT at level 3", () => {
    const empty = new TestMachine().long64();
    empty.run(64, (asm) => asm.sysenter());
    expect(empty.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    const user = machine(new TestMachine().long64()).user();
    user.run(64, (asm) => asm.form("Sysexitq"));
    expect(user.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

describe("bases of FS and GS", () => {
  it("are read and written with CR4.FSGSBASE, swapped at level 0", () => {
    const m = new TestMachine().long64();
    m.state.setLow("cr4", m.state.low("cr4") | cr4Bit.FSGSBASE);
    m.state.set("kernelGsBase", 0x1234n);
    m.run(64, (asm) => {
      asm.mov(rax, 0x7fff_0000_1000n);
      asm.wrgsbase(rax);
      asm.swapgs();
      asm.rdgsbase(rbx);
      asm.wrfsbase(eax);
      asm.rdfsbase(rdx);
      asm.hlt();
    });
    expect(m.finished).toBe(true);
    expect(m.state.gpr(3)).toBe(0x1234n);
    expect(m.state.get("kernelGsBase")).toBe(0x7fff_0000_1000n);
    expect(m.state.gpr(2)).toBe(0x1000n);
  });
  it("are undefined without it; a base that is not canonical raises #GP(0)", () => {
    const off = new TestMachine().long64();
    off.run(64, (asm) => asm.rdfsbase(rax));
    expect(off.trap().vector).toBe(6);
    const bad = new TestMachine().long64();
    bad.state.setLow("cr4", bad.state.low("cr4") | cr4Bit.FSGSBASE);
    bad.run(64, (asm) => {
      asm.mov(rax, 0x8000_0000_0000n);
      asm.wrfsbase(rax);
    });
    expect(bad.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
  it("SWAPGS at level 3 raises #GP(0)", () => {
    const m = new TestMachine().long64().user();
    m.run(64, (asm) => asm.swapgs());
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
  });
});

describe("flags at level 3", () => {
  it("POPF changes neither IF nor IOPL, AC and ID it does", () => {
    const m = new TestMachine().long64().user();
    m.run(64, (asm) => {
      asm.push(flagBit.IF | flagBit.IOPL | flagBit.AC | flagBit.ID | flagBit.CF);
      asm.popfq();
      asm.int(exitVector);
    });
    expect(m.trap().rflags).toBe(flagBit.fixed | flagBit.AC | flagBit.ID | flagBit.CF);
  });
  it("CLI and STI raise #GP(0)", () => {
    for (const name of ["cli", "sti", "hlt"] as const) {
      const m = new TestMachine().long64().user();
      m.run(64, (asm) => asm[name]());
      expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0 });
    }
  });
  it("STAC and CLAC exist at level 0 only", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      asm.stac();
      asm.pushfq();
      asm.pop(rax);
      asm.clac();
      asm.hlt();
    });
    expect(m.state.gpr32(0) & flagBit.AC).toBe(flagBit.AC);
    expect(m.lp.readFlags() & flagBit.AC).toBe(0);
    const user = new TestMachine().long64().user();
    user.run(64, (asm) => asm.stac());
    expect(user.trap().vector).toBe(6);
  });
});

describe("alignment checking", () => {
  function attempt(level: 0 | 3, address: number): TestMachine {
    const m = new TestMachine().long64();
    m.state.setLow("cr0", (m.state.low("cr0") | (1 << 18)) >>> 0);
    m.lp.loadControlState();
    if (level === 3) m.user();
    m.lp.changeFlags(flagBit.AC, flagBit.AC);
    m.run(64, (asm) => {
      asm.mov(edx, mem32(address));
      asm.int(exitVector);
    });
    return m;
  }
  it("faults a misaligned access at level 3, with error code 0", () => {
    expect(attempt(3, place.data + 2).trap()).toMatchObject({ vector: 17, errorCode: 0 });
    expect(attempt(3, place.data + 4).finished).toBe(true);
  });
  it("not at level 0", () => {
    expect(attempt(0, place.data + 2).finished).toBe(true);
  });
});
