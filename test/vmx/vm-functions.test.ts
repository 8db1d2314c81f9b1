import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Vector } from "../../src/cpu/trap.ts";
import { mem64, rax, rbx, rcx, rdx } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;

const page = 0x6_0000;
const otherPage = 0x6_1000;
const list = 0x6_2000;
/** A second set of tables: like the first but for `page`, which is `otherPage` there. */
const tables = { top: 0x7_0000, second: 0x7_1000, third: 0x7_2000, last: 0x7_3000 } as const;
const pointer = { first: vmxPlace.ept | 0x1e, second: tables.top | 0x1e } as const;

beforeAll(() => {
  m = new VmxMachine().root().useEpt();
  m.enable("secondary.enableVmFunctions").set("vmFunctionControls", 1).set("eptpListAddress", list);
  m.enable("secondary.enableVpid").set("vpid", 1);
  m.write64(tables.top, BigInt(tables.second) | 7n);
  m.write64(tables.second, BigInt(tables.third) | 7n);
  m.write64(tables.third, BigInt(tables.last) | 7n);
  m.write64(tables.third + 8, m.read64(m.eptEntry(0x20_0000, 1)));
  for (let n = 0; n < 512; n++) {
    m.write64(tables.last + n * 8, m.read64(m.eptEntry(n * 0x1000)));
  }
  m.write64(tables.last + (page >>> 12) * 8, BigInt(otherPage) | 0x37n);
  m.write64(page, 0x1111n);
  m.write64(otherPage, 0x2222n);
  m.write64(list, BigInt(pointer.first));
  m.write64(list + 511 * 8, BigInt(pointer.second));
  restore = m.checkpoint();
});
beforeEach(() => restore());

/** The guest reads the page, calls the function, and reads the page again. */
function invoke(eax: bigint, ecx: bigint): Exit {
  m.guest((asm) => {
    asm.mov(rbx, mem64(page));
    asm.mov(rax, eax);
    asm.mov(rcx, ecx);
    asm.vmfunc();
    asm.mov(rdx, mem64(page));
    asm.vmcall();
  });
  return m.launch();
}
const seen = (): readonly bigint[] => [m.state.gpr(3), m.state.gpr(2)];

describe("EPTP switching", () => {
  it("puts a pointer of the list in force", () => {
    expect(invoke(0n, 511n).reason).toBe(exitReason.vmcall);
    expect(seen()).toEqual([0x1111n, 0x2222n]);
    expect(m.number("eptPointer")).toBe(pointer.second);
    m.set("guestRip", vmxPlace.guestCode);
    m.state.setGpr(3, 0n);
    expect(m.resume().reason).toBe(exitReason.vmcall);
    expect(seen()).toEqual([0x2222n, 0x2222n]);
  });

  it("tags translations: each pointer sees its own", () => {
    m.guest((asm) => {
      asm.mov(rbx, mem64(page));
      asm.mov(rax, 0n);
      asm.mov(rcx, 511n);
      asm.vmfunc();
      asm.mov(rbx, mem64(page));
      asm.mov(rcx, 0n);
      asm.vmfunc();
      asm.mov(rdx, mem64(page));
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(seen()).toEqual([0x2222n, 0x1111n]);
    expect(m.number("eptPointer")).toBe(pointer.first);
  });

  it.each<[string, bigint, bigint]>([
    ["function 1 is not enabled", 1n, 0n],
    ["function 63 is not enabled", 63n, 0n],
    ["the list has 512 entries", 0n, 512n],
    ["an entry is no valid pointer", 0n, 7n],
  ])("exits when %s", (_what, eax, ecx) => {
    m.write64(list + 7 * 8, BigInt(tables.top | 0x5));
    const exit = invoke(eax, ecx);
    expect(exit).toMatchObject({ reason: exitReason.vmfunc, qualification: 0n, length: 3 });
    expect(m.number("eptPointer")).toBe(pointer.first);
  });

  it("exits without its control", () => {
    m.set("vmFunctionControls", 0);
    expect(m.vmx.unit.profile.offered.has("vmFunction.eptpSwitching")).toBe(true);
    expect(invoke(0n, 0n).reason).toBe(exitReason.vmfunc);
  });
});

describe("VMFUNC is undefined", () => {
  it("for functions from 64 on", () => {
    m.set("exceptionBitmap", 1 << Vector.UD);
    expect(invoke(64n, 0n).interruption & 0xff).toBe(Vector.UD);
  });
  it("without VM functions", () => {
    m.disable("secondary.enableVmFunctions").set("exceptionBitmap", 1 << Vector.UD);
    expect(invoke(0n, 0n).interruption & 0xff).toBe(Vector.UD);
  });
  it("in root operation", () => {
    expect(m.execute((asm) => asm.vmfunc())).toBe(`fault ${Vector.UD}`);
  });
});
