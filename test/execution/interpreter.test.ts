import { describe, expect, it } from "vitest";
import { Outcome, RunExit } from "../../src/execution/core-host.ts";
import {
  lpOffset,
  Pending,
  Segment,
  segmentOffset,
  segmentStride,
} from "../../src/execution/lp-window.ts";
import {
  cl,
  eax,
  ebx,
  ecx,
  edi,
  esi,
  mem64,
  r8,
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
} from "../../src/isa/assembler-operands.ts";
import {
  CoreHarness,
  compileInterpreter,
  RecordedFault,
  SystemInstruction,
} from "./core-harness.ts";
import { bytes, load, programBase } from "./program.ts";

const module = compileInterpreter();
const stack = 0x20_0000n;
const data = 0x30_0000n;

/** Calls, loops, memory, rare instructions and a repeated one; ends in a jump to itself. */
function program(): CoreHarness {
  const core = new CoreHarness({ module });
  load(core, (asm) => {
    const routine = asm.label("routine");
    asm.mov(ecx, 5);
    const outer = asm.here("outer");
    asm.push(rcx);
    asm.call(routine);
    asm.pop(rcx);
    asm.mov(esi, Number(data));
    asm.lea(edi, mem64(rsi, { disp: 64 }));
    asm.mov(rdx, rcx);
    asm.rep.movsb();
    asm.mov(rcx, rdx);
    asm.loop(outer);
    const forever = asm.here("forever");
    asm.jmp(forever);
    asm.here(routine);
    asm.imul(eax, ecx, 7);
    asm.xadd(rbx, rax);
    asm.shrd(rax, rbx, cl);
    asm.bts(mem64(rsi), rcx);
    asm.cmovs(r8, rax);
    asm.ret();
  });
  core.setGpr(4, stack);
  core.setGpr(6, data);
  return core;
}

function snapshot(core: CoreHarness): unknown[] {
  const registers = Array.from({ length: 16 }, (_, n) => core.gpr(n));
  return [registers, core.rip, core.rflags, core.core.retired, core.read(data, 128)];
}

describe("an exact stop", () => {
  it("comes after N instructions for every N, in the state that N single steps lead to", () => {
    const stepped = program();
    for (let n = 1; n <= 150; n++) {
      expect(stepped.run(1)).toBeUndefined();
      const atOnce = program();
      expect(atOnce.run(n)).toBeUndefined();
      expect(snapshot(atOnce)).toEqual(snapshot(stepped));
      expect(atOnce.core.retired).toBe(n);
    }
  });

  it("comes however the way there is divided", () => {
    const atOnce = program();
    atOnce.run(147);
    for (const step of [3, 7, 21, 49]) {
      const divided = program();
      for (let n = 0; n < 147; n += step) {
        divided.run(step);
      }
      expect(snapshot(divided)).toEqual(snapshot(atOnce));
    }
  });
});

describe("an exception in the middle of a block", () => {
  it("leaves RIP, the count and the state at the instruction that raised it", () => {
    const core = new CoreHarness({ module });
    load(core, (asm) => {
      asm.mov(eax, 1);
      asm.mov(ebx, 2);
      asm.mov(rdx, mem64(rcx));
      asm.mov(ebx, 3);
    });
    core.setGpr(1, 0x7000_0000n);
    expect(core.run(4)).toEqual(new RecordedFault(14, 4, 0x7000_0000n));
    expect(core.core.retired).toBe(2);
    expect(core.rip).toBe(BigInt(programBase + 10));
    expect([core.gpr(0), core.gpr(3)]).toEqual([1n, 2n]);
    core.setGpr(1, data);
    expect(core.run(2)).toBeUndefined();
    expect([core.core.retired, core.gpr(3)]).toEqual([4, 3n]);
  });

  it("keeps the flags that the instructions before it have set", () => {
    const core = new CoreHarness({ module });
    load(core, (asm) => {
      asm.cmp(eax, ebx);
      asm.div(rcx);
    });
    core.setGpr(0, 1n);
    core.setGpr(3, 2n);
    expect(core.run(2)).toEqual(new RecordedFault(0));
    expect(core.rflags & 0x8d5).toBe(0x95);
  });

  it("of a branch to a non-canonical address is the branch's own", () => {
    const core = new CoreHarness({ module });
    load(core, (asm) => asm.ret());
    core.setGpr(4, stack);
    core.write(stack, bytes("00 00 00 00 00 00 01 00"));
    expect(core.run(5)).toEqual(new RecordedFault(13));
    expect([core.rip, core.gpr(4)]).toEqual([BigInt(programBase), stack]);
  });
});

describe("events", () => {
  const pend = (core: CoreHarness): void => core.set32(lpOffset.pending, Pending.Events);

  it("end a run before its next block", () => {
    const core = program();
    pend(core);
    expect(core.core.run(100)).toBe(RunExit.Pending);
    expect([core.core.retired, core.rip]).toEqual([0, BigInt(programBase)]);
  });

  it("interrupt a repeated instruction, which then goes on where it was", () => {
    class Interrupted extends CoreHarness {
      override access(size: number, kind: number): number {
        if (this.get64(lpOffset.argument0) === data + 0x2000n) {
          pend(this);
        }
        return super.access(size, kind);
      }
    }
    const core = new Interrupted({ module });
    load(core, (asm) => {
      asm.inc(rax);
      asm.rep.movsb();
      asm.inc(rbx);
    });
    const length = 0x8000n;
    core.write(
      data,
      Uint8Array.from({ length: Number(length) }, (_, n) => n * 7),
    );
    core.setGpr(1, length);
    core.setGpr(6, data);
    core.setGpr(7, data + 0x10_0000n);
    expect(core.core.run(3)).toBe(RunExit.Pending);
    expect([core.core.retired, core.gpr(0)]).toEqual([1, 1n]);
    const left = core.gpr(1);
    expect(left).toBeGreaterThan(0n);
    expect(left).toBeLessThan(length - 0x2000n + 1n);
    expect(core.gpr(6)).toBe(data + length - left);
    core.set32(lpOffset.pending, 0);
    expect(core.core.run(2)).toBe(RunExit.Budget);
    expect([core.core.retired, core.gpr(1), core.gpr(3)]).toEqual([3, 0n, 1n]);
    expect(core.read(data + 0x10_0000n, Number(length))).toEqual(core.read(data, Number(length)));
  });
});

describe("a system instruction", () => {
  const target = 0x10_8000n;
  function run(outcome: number, budget: number) {
    const seen: bigint[] = [];
    const core = new CoreHarness({
      module,
      system(self) {
        seen.push(self.rip);
        if (outcome === Outcome.Jump || outcome === Outcome.JumpAndLeave) {
          self.rip = target;
        }
        return outcome;
      },
    });
    load(core, (asm) => {
      asm.nop();
      asm.cpuid();
      asm.nop();
      asm.nop();
    });
    core.write(target, bytes("90 90 90"));
    const reason = core.core.run(budget);
    return { reason, rip: core.rip - BigInt(programBase), retired: core.core.retired, seen };
  }
  const here = [BigInt(programBase + 1)];

  it("is followed by the next instruction", () => {
    expect(run(Outcome.Next, 3)).toEqual({
      reason: RunExit.Budget,
      rip: 4n,
      retired: 3,
      seen: here,
    });
  });
  it("may go elsewhere", () => {
    expect(run(Outcome.Jump, 3)).toEqual({
      reason: RunExit.Budget,
      rip: 0x8001n,
      retired: 3,
      seen: here,
    });
  });
  it("may leave the run, having retired", () => {
    expect(run(Outcome.NextAndLeave, 9)).toEqual({
      reason: RunExit.Left,
      rip: 3n,
      retired: 2,
      seen: here,
    });
    expect(run(Outcome.JumpAndLeave, 9)).toEqual({
      reason: RunExit.Left,
      rip: 0x8000n,
      retired: 2,
      seen: here,
    });
  });
  it("may ask to be executed again, and has then not retired", () => {
    const again = run(Outcome.Again, 9);
    expect(again).toEqual({ reason: RunExit.Left, rip: 1n, retired: 1, seen: here });
  });

  it("is what SSE is while the operating system has not enabled it", () => {
    const core = new CoreHarness({ module });
    load(core, "0f 58 c1");
    core.set32(lpOffset.cr4, 0);
    core.core.codeContextChanged();
    expect(core.run(1)).toBeInstanceOf(SystemInstruction);
    core.set32(lpOffset.cr4, 1 << 9);
    core.core.codeContextChanged();
    expect(core.run(1)).toBeUndefined();
  });
});

describe("16-bit code", () => {
  const at = (number: number, field: number): number =>
    lpOffset.segment + number * segmentStride + field;
  function sixteen(hex: string): CoreHarness {
    const core = new CoreHarness({ module });
    core.mode(16);
    for (const [number, base] of [
      [Segment.CS, programBase],
      [Segment.SS, Number(stack)],
      [Segment.DS, Number(data)],
      [Segment.ES, Number(data) + 0x1_0000],
    ] as const) {
      core.set64(at(number, segmentOffset.base), BigInt(base));
      core.set32(at(number, segmentOffset.limit), 0xffff);
      core.set32(at(number, segmentOffset.highest), 0xffff);
    }
    core.core.codeContextChanged();
    load(core, hex);
    core.rip = 0n;
    return core;
  }

  it("adds the segment base to offsets that wrap at 64 KiB", () => {
    const core = sixteen("8b 00"); // MOV AX, [BX+SI]
    core.write(data + 0x10n, bytes("34 12"));
    core.setGpr(3, 0xfff0n);
    core.setGpr(6, 0x20n);
    expect(core.run(1)).toBeUndefined();
    expect(core.gpr(0)).toBe(0x1234n);
  });

  it("pushes with a stack pointer that wraps, leaving the upper half of ESP", () => {
    const core = sixteen("50"); // PUSH AX
    core.setGpr(0, 0xabcdn);
    core.setGpr(4, 0x7777_0000n);
    expect(core.run(1)).toBeUndefined();
    expect(core.gpr(4)).toBe(0x7777_fffen);
    expect(core.read(stack + 0xfffen, 2)).toEqual(bytes("cd ab"));
  });

  it("refuses an operand that crosses the segment's end", () => {
    const core = sixteen("a1 ff ff"); // MOV AX, [FFFFh]
    expect(core.run(1)).toEqual(new RecordedFault(13));
    const pushing = sixteen("50");
    pushing.setGpr(4, 1n);
    expect(pushing.run(1)).toEqual(new RecordedFault(12));
    expect(pushing.gpr(4)).toBe(1n);
  });

  it("refuses to store through a segment that is not writable", () => {
    const core = sixteen("a3 00 00"); // MOV [0], AX
    core.set32(at(Segment.DS, segmentOffset.access), 1);
    expect(core.run(1)).toEqual(new RecordedFault(13));
  });

  it("branches within 64 KiB and loops on CX", () => {
    const core = sixteen("40 e2 fd eb f9"); // INC AX; LOOP back; JMP before the start
    core.setGpr(1, 0x5555_0003n);
    expect(core.run(7)).toBeUndefined();
    expect([core.gpr(0), core.gpr(1), core.rip]).toEqual([3n, 0x5555_0000n, 0xfffen]);
  });

  it("copies strings between segments", () => {
    const core = sixteen("f3 a4"); // REP MOVSB
    core.write(data + 0xfffcn, bytes("01 02 03 04"));
    core.write(data, bytes("05 06"));
    core.setGpr(1, 6n);
    core.setGpr(6, 0xfffcn);
    core.setGpr(7, 0x0ffdn);
    expect(core.run(1)).toBeUndefined();
    expect(core.read(data + 0x1_0ffdn, 6)).toEqual(bytes("01 02 03 04 05 06"));
    expect([core.gpr(1), core.gpr(6), core.gpr(7)]).toEqual([0n, 2n, 0x1003n]);
  });
});

describe("repeated moves", () => {
  it.each([1, 3, 8, 15, 16, 40])(
    "overlapping by a distance of %i repeat the pattern",
    (distance) => {
      for (const code of ["f3 a4", "f3 66 a5", "f3 a5", "f3 48 a5"]) {
        const size = { "f3 a4": 1, "f3 66 a5": 2, "f3 a5": 4, "f3 48 a5": 8 }[code] ?? 0;
        const core = new CoreHarness({ module });
        load(core, code);
        const total = 4800;
        const expected = Uint8Array.from({ length: total + 64 }, (_, n) => n * 11);
        core.write(data, expected);
        for (let n = 0; n < total; n += size) {
          expected.copyWithin(n + distance, n, n + size);
        }
        core.setGpr(1, BigInt(total / size));
        core.setGpr(6, data);
        core.setGpr(7, data + BigInt(distance));
        expect(core.run(1)).toBeUndefined();
        expect(core.read(data, expected.length)).toEqual(expected);
        expect(core.gpr(7)).toBe(data + BigInt(distance + total));
      }
    },
  );

  it("downwards give the same as one element at a time", () => {
    const core = new CoreHarness({ module });
    load(core, "fd f3 48 a5");
    core.write(
      data,
      Uint8Array.from({ length: 8192 }, (_, n) => n * 13),
    );
    const expected = core.read(data, 8192 + 24);
    for (let n = 1023; n >= 0; n--) {
      expected.copyWithin(n * 8 + 24, n * 8, n * 8 + 8);
    }
    core.setGpr(1, 1024n);
    core.setGpr(6, data + 8184n);
    core.setGpr(7, data + 8184n + 24n);
    expect(core.run(2)).toBeUndefined();
    expect(core.read(data, 8192 + 24)).toEqual(expected);
  });
});
