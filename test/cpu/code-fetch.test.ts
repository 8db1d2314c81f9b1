import { describe, expect, it } from "vitest";
import { al, eax, ebx, mem8, mem32, rax, rcx, rsp } from "../../src/isa/assembler-operands.ts";
import { exitVector, noExecute, PageFlag, place, selector, TestMachine } from "./test-machine.ts";

const { present, writable, user } = PageFlag;
const error = { present: 1, user: 4, fetch: 16 } as const;

describe("an instruction on two pages", () => {
  const start = place.data + 0xffd;
  /** mov eax, 12345678h, three bytes before the page's end. */
  function machine(): TestMachine {
    const m = new TestMachine().long64();
    m.load(start, Uint8Array.of(0xb8, 0x78, 0x56, 0x34, 0x12, 0xf4));
    m.state.rip = BigInt(start);
    return m;
  }

  it("is executed", () => {
    const m = machine();
    // The second page lies elsewhere.
    m.map(BigInt(place.data + 0x1000), BigInt(0x3f_0000 | present));
    m.load(0x3f_0000, Uint8Array.of(0xcd, 0xab, 0xf4));
    m.lp.run(10);
    expect(m.finished).toBe(true);
    expect(m.state.gpr32(0)).toBe(0xabcd_5678);
  });

  it("faults when the second page is absent: CR2 names it, RIP the instruction", () => {
    const m = machine();
    m.map(BigInt(place.data + 0x1000), 0n);
    m.lp.run(10);
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.fetch, rip: BigInt(start) });
    expect(m.state.get("cr2")).toBe(BigInt(place.data + 0x1000));
  });

  it("faults when the second page is not executable", () => {
    const m = machine();
    m.map(BigInt(place.data + 0x1000), BigInt((place.data + 0x1000) | present) | noExecute);
    m.lp.run(10);
    expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | error.fetch });
  });

  it("faults when the code segment ends between its bytes", () => {
    const m = new TestMachine().protected32();
    m.descriptor(place.gdt + selector.free, 0, start + 1, 0x409b);
    m.load(start, Uint8Array.of(0xb8, 0x78, 0x56, 0x34, 0x12));
    m.run(32, (asm) => {
      asm.push(selector.free);
      asm.push(start);
      asm.form("Retfd");
    });
    expect(m.trap()).toMatchObject({ vector: 13, errorCode: 0, rip: BigInt(start) });
  });
});

describe("code that is written to", () => {
  /** Runs a piece of code that loads AL with 1, changes that number to 2, and runs it again. */
  function rewritten(change: (m: TestMachine, at: number) => void): number[] {
    const m = new TestMachine().long64();
    const piece = 0x9000;
    m.assemble(
      64,
      (asm) => {
        asm.mov(al, 1);
        asm.int(exitVector);
      },
      piece,
    );
    const results: number[] = [];
    for (let n = 0; n < 2; n++) {
      m.state.rip = BigInt(piece);
      m.state.activity = 0;
      m.lp.run(10);
      expect(m.finished).toBe(true);
      results.push(m.state.gpr32(0) & 0xff);
      if (n === 0) change(m, piece + 1);
    }
    return results;
  }
  const by = (write: (m: TestMachine, at: number) => Parameters<TestMachine["run"]>[1]) =>
    rewritten((m, at) => {
      m.state.activity = 0;
      m.run(64, write(m, at));
      expect(m.finished).toBe(true);
    });

  it("by a store", () => {
    expect(
      by((_, at) => (asm) => {
        asm.mov(mem8(at), 2);
        asm.int(exitVector);
      }),
    ).toEqual([1, 2]);
  });
  it("by a locked operation", () => {
    expect(
      by((_, at) => (asm) => {
        asm.lock.add(mem8(at), 1);
        asm.int(exitVector);
      }),
    ).toEqual([1, 2]);
  });
  it("by a push", () => {
    expect(
      by((_, at) => (asm) => {
        asm.mov(eax, 2);
        asm.mov(rcx, at + 8);
        asm.xchg(rcx, rsp);
        asm.push(0x9090_9002 | 0);
        asm.xchg(rcx, rsp);
        asm.mov(mem8(at + 1), 0xcd);
        asm.mov(mem8(at + 2), exitVector);
        asm.int(exitVector);
      }),
    ).toEqual([1, 2]);
  });
  it("within the block that is being executed", () => {
    const m = new TestMachine().long64();
    m.run(64, (asm) => {
      const later = asm.label("later");
      asm.mov(mem8(later, { disp: 1 }), 7);
      asm.nop();
      asm.here(later);
      asm.mov(al, 1);
      asm.hlt();
    });
    expect(m.state.gpr32(0) & 0xff).toBe(7);
  });
  it("by a device", () => {
    expect(
      rewritten((m, at) => {
        m.state.u8[at] = 2;
        m.lp.core.codeWritten(at, 1);
      }),
    ).toEqual([1, 2]);
  });
});

it("what is not RAM cannot be executed", () => {
  const m = new TestMachine().long64();
  m.map(0x5000_0000n, BigInt(0xf000_0000 + (present | writable)));
  m.run(64, (asm) => {
    asm.mov(rax, 0x5000_0000);
    asm.jmp(rax);
  });
  expect(m.trap()).toMatchObject({ vector: 6, rip: 0x5000_0000n });
});

it("a program at level 3 and one at level 0 see the same page by their own rights", () => {
  const m = new TestMachine().long64();
  m.map(BigInt(place.data), BigInt(place.data | present | writable));
  m.write32(place.data, 0x1234);
  m.run(64, (asm) => {
    asm.mov(eax, mem32(place.data));
    asm.push(selector.userData);
    asm.push(place.stack3);
    asm.push(2);
    asm.push(selector.userCode64);
    asm.mov(rcx, 0x9000);
    asm.push(rcx);
    asm.iretq();
  });
  expect(m.state.gpr32(0)).toBe(0x1234);
  m.state.activity = 0;
  m.assemble(64, (asm) => asm.mov(ebx, mem32(place.data)), 0x9000);
  m.state.rip = 0x9000n;
  m.user();
  m.state.rip = 0x9000n;
  m.lp.run(10);
  expect(m.trap()).toMatchObject({ vector: 14, errorCode: error.present | user });
});
