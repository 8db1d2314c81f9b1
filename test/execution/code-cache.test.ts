import { afterEach, describe, expect, it, vi } from "vitest";
import { CodePages } from "../../src/execution/code-pages.ts";
import { BlockDecoder, type DecodedBlock } from "../../src/execution/decoder.ts";
import { blockEntries } from "../../src/execution/lp-window.ts";
import {
  al,
  eax,
  ecx,
  edi,
  mem8,
  mem32,
  mem64,
  rax,
  rcx,
  rdi,
} from "../../src/isa/assembler-operands.ts";
import { CoreHarness, compileInterpreter, SystemInstruction } from "./core-harness.ts";
import { assembled, bytes, load, programBase } from "./program.ts";

const module = compileInterpreter();
const pageBytes = 4096;

function harness(): CoreHarness {
  return new CoreHarness({ module });
}
/** Runs to the next HLT, which no test counts. */
function runToHalt(core: CoreHarness): void {
  expect(core.run(1_000_000)).toBeInstanceOf(SystemInstruction);
}
function runFrom(core: CoreHarness, at: number): void {
  core.rip = BigInt(at);
  runToHalt(core);
}

describe("code that changes itself", () => {
  it("runs the changed instruction right after the store", () => {
    const core = harness();
    load(core, (asm) => {
      const target = asm.label("target");
      asm.mov(mem8(target), 0x41);
      // MOV AL, 40h: the store replaces the immediate.
      asm.u8(0xb0);
      asm.here(target);
      asm.u8(0x40);
      asm.hlt();
    });
    runToHalt(core);
    expect(core.gpr(0)).toBe(0x41n);
  });

  it("does so in code that has run before, for every kind of store", () => {
    const stores = {
      plain: "88 07", // MOV [RDI], AL
      modify: "00 07", // ADD [RDI], AL
      locked: "f0 00 07", // LOCK ADD [RDI], AL
      exchange: "86 07", // XCHG [RDI], AL
      string: "aa", // STOSB
      vector: "66 0f d6 07", // MOVQ [RDI], XMM0
    };
    for (const [name, store] of Object.entries(stores)) {
      const core = harness();
      // The code at the target: MOV BL, imm8; HLT; then what keeps a store of 8 bytes harmless.
      const target = programBase + 0x40;
      core.write(BigInt(target), bytes("b3 01 f4 90 90 90 90 90 90 90"));
      load(core, (asm) => {
        asm.bytes(bytes(store));
        asm.jmp(target);
      });
      core.setGpr(7, BigInt(target + 0x100));
      runFrom(core, programBase);
      expect([name, core.gpr(3)]).toEqual([name, 1n]);
      core.setGpr(0, 5n);
      core.setGpr(7, BigInt(target + 1));
      core.xmm.set(bytes("05 f4 90 90 90 90 90 90"));
      runFrom(core, programBase);
      expect([name, core.gpr(3)]).toEqual([name, name === "modify" || name === "locked" ? 6n : 5n]);
    }
  });

  it("is seen by a repeated string instruction that overwrites what follows it", () => {
    const core = harness();
    load(core, (asm) => {
      const target = asm.label("target");
      asm.mov(edi, target);
      asm.mov(ecx, 8);
      asm.mov(al, 0x90);
      asm.rep.stosb();
      asm.here(target);
      // Eight bytes that would end in a fault: they become NOPs.
      asm.mov(mem64(rax), rax);
      asm.ud2();
      asm.u8(0x0f, 0x0b, 0x0f);
      asm.hlt();
    });
    runToHalt(core);
    expect(core.gpr(1)).toBe(0n);
  });
});

describe("changes from outside", () => {
  const countTo = (value: number) =>
    assembled((asm) => {
      asm.mov(eax, value);
      asm.hlt();
    });

  it("drop the code they touch", () => {
    const core = harness();
    core.write(BigInt(programBase), countTo(1));
    runFrom(core, programBase);
    core.write(BigInt(programBase), countTo(2));
    runFrom(core, programBase);
    expect(core.gpr(0)).toBe(2n);
  });

  it("leave code in other cache lines of the page alone", () => {
    const core = harness();
    core.write(BigInt(programBase), countTo(1));
    runFrom(core, programBase);
    const decode = vi.spyOn(core.core.cache, "decode");
    core.write(BigInt(programBase + 0x80), Uint8Array.of(1, 2, 3));
    runFrom(core, programBase);
    expect(decode).not.toHaveBeenCalled();
    core.write(BigInt(programBase + 1), Uint8Array.of(9));
    runFrom(core, programBase);
    expect(decode).toHaveBeenCalledTimes(1);
    expect(core.gpr(0)).toBe(9n);
  });

  it("are seen by code decoded later, beside code of the same page decoded before", () => {
    const core = harness();
    const beside = programBase + 0x100;
    core.write(BigInt(programBase), countTo(1));
    core.write(BigInt(beside), countTo(2));
    runFrom(core, programBase);
    core.write(BigInt(beside), countTo(3));
    runFrom(core, beside);
    expect(core.gpr(0)).toBe(3n);
  });

  it("by another processor are found when that is asked for", () => {
    const first = harness();
    const second = new CoreHarness({ module, beside: first });
    first.write(BigInt(programBase), countTo(1));
    runFrom(first, programBase);
    second.write(BigInt(programBase), countTo(2));
    first.core.cache.dropChanged();
    runFrom(first, programBase);
    expect(first.gpr(0)).toBe(2n);
  });
});

describe("a store by another processor while code is being decoded", () => {
  const countTo = (value: number) =>
    assembled((asm) => {
      asm.mov(eax, value);
      asm.hlt();
    });
  afterEach(() => vi.restoreAllMocks());

  /** The store comes when everything has been decoded and nothing marked yet. */
  function storeAfter(method: "decode" | "decodeOne", store: () => void): void {
    const original = BlockDecoder.prototype[method] as (...all: unknown[]) => DecodedBlock;
    vi.spyOn(BlockDecoder.prototype, method).mockImplementationOnce(function (
      this: BlockDecoder,
      ...all: unknown[]
    ) {
      const block = original.apply(this, all);
      store();
      return block;
    });
  }

  it("is seen", () => {
    const first = harness();
    const second = new CoreHarness({ module, beside: first });
    // The instruction lies in the block's second line, which only decoding tells.
    const nops = new Uint8Array(62).fill(0x90);
    const late = programBase + nops.length;
    first.write(BigInt(programBase), nops);
    first.write(BigInt(late), countTo(1));
    storeAfter("decode", () => second.write(BigInt(late), countTo(2)));
    runFrom(first, programBase);
    expect(first.gpr(0)).toBe(2n);
  });

  it("is seen in the second page of an instruction", () => {
    const first = harness();
    const second = new CoreHarness({ module, beside: first });
    const start = programBase + pageBytes - 3;
    first.write(BigInt(start), bytes("b8 11 22 33 44 f4"));
    storeAfter("decodeOne", () => second.write(BigInt(start + 4), Uint8Array.of(0x55)));
    runFrom(first, start);
    expect(first.gpr(0)).toBe(0x5533_2211n);
  });

  it("that frees the page makes the decoder claim it again", () => {
    const claim = vi.spyOn(CodePages.prototype, "claim");
    const first = harness();
    const second = new CoreHarness({ module, beside: first });
    first.write(BigInt(programBase), countTo(1));
    storeAfter("decode", () => second.write(BigInt(programBase), countTo(2)));
    runFrom(first, programBase);
    expect(first.gpr(0)).toBe(2n);
    const [before, after] = claim.mock.results.map((result) => Number(result.value));
    expect(after).toBeGreaterThan(before ?? Infinity);
    expect(first.core.holdsCode(programBase)).toBe(true);
  });
});

describe("code that a processor has written and run", () => {
  it("is found changed when the same processor writes it again", () => {
    const core = harness();
    const target = programBase + 0x2000;
    load(core, (asm) => {
      asm.mov(rdi, target);
      asm.mov(mem32(rdi), 0x00f4_01b0);
      asm.jmp(rdi);
    });
    runFrom(core, programBase);
    expect(core.gpr(0) & 0xffn).toBe(1n);
    load(core, (asm) => {
      asm.mov(mem32(rdi), 0x00f4_02b0);
      asm.jmp(rdi);
    });
    runFrom(core, programBase);
    expect(core.gpr(0) & 0xffn).toBe(2n);
  });
});

describe("an instruction on two pages", () => {
  const boundary = programBase + pageBytes;
  /** MOV EAX, imm32 with two bytes of the immediate on the second page; HLT. */
  const start = boundary - 3;
  const code = "b8 11 22 33 44 f4";

  function prepared(): CoreHarness {
    const core = harness();
    core.write(BigInt(start), bytes(code));
    runFrom(core, start);
    expect(core.gpr(0)).toBe(0x4433_2211n);
    return core;
  }

  it("is executed, alone and in a block", () => {
    const core = prepared();
    core.write(BigInt(start - 2), bytes("90 90"));
    core.setGpr(0, 0n);
    runFrom(core, start - 2);
    expect(core.gpr(0)).toBe(0x4433_2211n);
  });

  it.each([
    ["first", start + 1, 0x4433_22ffn],
    ["second", boundary + 1, 0xff33_2211n],
  ])("is decoded anew when its %s page changes", (_, at, expected) => {
    const core = prepared();
    core.write(BigInt(at), Uint8Array.of(0xff));
    runFrom(core, start);
    expect(core.gpr(0)).toBe(expected);
  });

  it("is decoded anew when its second page is another one", () => {
    const core = prepared();
    const other = 0x30_0000;
    core.write(BigInt(other), bytes("55 66 f4"));
    const { translate } = core;
    core.translate = (page) => (page === BigInt(boundary) ? other : translate(page));
    core.core.tlb.invalidatePage(boundary, 0);
    core.core.fetchChanged();
    runFrom(core, start);
    expect(core.gpr(0)).toBe(0x6655_2211n);
  });

  it("faults on its second page with the address of that page and RIP at its start", () => {
    const core = prepared();
    const { translate } = core;
    core.translate = (page) => (page === BigInt(boundary) ? undefined : translate(page));
    core.core.tlb.invalidatePage(boundary, 0);
    core.core.fetchChanged();
    core.rip = BigInt(start);
    const retired = core.core.retired;
    expect(core.run(10)).toMatchObject({ vector: 14, address: BigInt(boundary) });
    expect(core.rip).toBe(BigInt(start));
    expect(core.core.retired).toBe(retired);
  });

  it("can be the target of a loop", () => {
    const core = harness();
    core.setGpr(1, 5n);
    // ADD EAX, imm32 across the boundary; DEC ECX; JNZ back; HLT.
    core.write(BigInt(start), bytes("05 01 00 00 01  ff c9  75 f7  f4"));
    runFrom(core, start);
    expect(core.gpr(0)).toBe(5n * 0x0100_0001n);
  });
});

describe("the record area", () => {
  /** A loop over several blocks that counts in RAX. */
  const linked = (at: number) =>
    assembled((asm) => {
      const [middle, end] = [asm.label("middle"), asm.label("end")];
      const again = asm.here("again");
      asm.inc(rax);
      asm.jmp(middle);
      asm.here(middle);
      asm.test(eax, 1);
      asm.jz(end);
      asm.add(rax, 2);
      asm.here(end);
      asm.dec(rcx);
      asm.jnz(again);
      asm.hlt();
    }, at);

  function expectCount(core: CoreHarness, at: number): void {
    core.setGpr(0, 0n);
    core.setGpr(1, 100n);
    runFrom(core, at);
    // 0, then from each odd value 3 on, from each even one 1.
    let expected = 0;
    for (let n = 0; n < 100; n++) {
      expected += 1;
      expected += expected % 2 === 1 ? 2 : 0;
    }
    expect(core.gpr(0)).toBe(BigInt(expected));
  }

  it("can be emptied and filled with other code in between: no link survives", () => {
    const core = harness();
    const other = programBase + 0x1800;
    core.write(BigInt(programBase), linked(programBase));
    core.write(BigInt(other), linked(other));
    for (let round = 0; round < 3; round++) {
      expectCount(core, programBase);
      core.core.cache.flush();
      expectCount(core, other);
    }
  });

  it("begins again from its start when it is full", () => {
    const core = harness();
    const instructions = 100_000;
    const flush = vi.spyOn(core.core.cache, "flush");
    load(core, (asm) => {
      const again = asm.here("again");
      asm.bytes(Uint8Array.from({ length: instructions * 2 }, (_, n) => (n % 2 ? 0xc0 : 0xff)));
      asm.dec(ecx);
      asm.jnz(again);
      asm.hlt();
    });
    core.setGpr(1, 2n);
    runToHalt(core);
    expect(core.gpr(0)).toBe(BigInt(instructions * 2));
    expect(flush.mock.calls.length).toBeGreaterThanOrEqual(2);
    expect(core.core.retired).toBe(instructions * 2 + 4);
  });

  it("keeps blocks apart whose addresses share a place in the table", () => {
    const core = harness();
    // The table is indexed by the low bits and those 14 places up, exclusive or-ed.
    const twin = programBase + blockEntries + 1;
    core.write(BigInt(programBase), bytes("b0 01 f4"));
    core.write(BigInt(twin), bytes("b0 02 f4"));
    for (let round = 0; round < 3; round++) {
      runFrom(core, programBase);
      expect(core.gpr(0) & 0xffn).toBe(1n);
      runFrom(core, twin);
      expect(core.gpr(0) & 0xffn).toBe(2n);
    }
  });
});
