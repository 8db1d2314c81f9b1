import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AccessClass } from "../../../src/cpu/address-space.ts";
import { cr0Bit, flagBit } from "../../../src/cpu/register-bits.ts";
import { Activity, lpOffset } from "../../../src/execution/lp-window.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import {
  ax,
  cr3,
  cr4,
  dr7,
  ds,
  eax,
  ecx,
  mem,
  mem64,
  mem128,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from "../../../src/isa/assembler-operands.ts";
import type { ControlName } from "../../../src/vmx/controls.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { type FieldName, vmcsBytes, vmcsFieldTable } from "../../../src/vmx/vmcs-fields.ts";
import { vmxOffset } from "../../../src/vmx/vmx-unit.ts";
import { PageFlag, place, selector } from "../../cpu/test-machine.ts";
import { VmxMachine, vmxPlace } from "../vmx-machine.ts";

/** Physical addresses of this test's. */
const at = {
  /** Exits left until the host rests. */
  countdown: 0x4_0000,
  /** Read and written by the guest. */
  data: 0x4_1000,
  other: 0x4_2000,
  /** Linear address that is mapped to one of the two, in turn. */
  window: 0x4_3000,
  /** Holds the address of the page-table entry that maps it. */
  entry: 0x4_5000,
  invvpid: 0x4_4000,
} as const;

type Chunk = (asm: Assembler, m: VmxMachine) => void;

const write = (asm: Assembler, field: FieldName, value: bigint | number): void => {
  asm.mov(rcx, vmcsFieldTable[field][0]);
  asm.mov(rax, value);
  asm.vmwrite(rcx, rax);
};
const flags = (asm: Assembler, value: number): void => {
  asm.push(value);
  asm.popfq();
};

/** Maps the window to the other page. */
const remap: Chunk = (asm) => {
  asm.mov(rdx, mem64(at.entry));
  asm.mov(rax, at.data ^ at.other);
  asm.xor(mem64(rdx), rax);
};

/** What either may do. */
const chunks: Readonly<Record<string, Chunk>> = {
  cr3: (asm) => {
    asm.mov(rax, cr3);
    asm.mov(cr3, rax);
  },
  cr4: (asm) => {
    asm.mov(rax, cr4);
    asm.xor(rax, 1 << 10);
    asm.mov(cr4, rax);
  },
  breakpoint: (asm) => {
    asm.mov(eax, 0x401);
    asm.mov(dr7, rax);
  },
  exactBreakpoints: (asm) => {
    asm.mov(eax, 0x700);
    asm.mov(dr7, rax);
  },
};

/** What guests do between exits; none of it exits by itself. */
const guestChunks: Readonly<Record<string, Chunk>> = {
  ...chunks,
  carry: (asm) => asm.stc(),
  subtract: (asm) => asm.sub(rsi, 1),
  store: (asm) => asm.mov(mem64(at.data), rsi),
  load: (asm) => asm.mov(rdi, mem64(at.window)),
  misaligned: (asm) => asm.mov(mem64(at.data + 0x101), rsi),
  remap: (asm, m) => {
    remap(asm, m);
    asm.mov(rax, cr3);
    asm.mov(cr3, rax);
    asm.vmcall();
    asm.mov(rdi, mem64(at.window));
  },
  dataSegment: (asm) => {
    asm.mov(eax, selector.data);
    asm.mov(ds, ax);
  },
  nullSegment: (asm) => {
    asm.xor(eax, eax);
    asm.mov(ds, ax);
  },
  interruptsOn: (asm) => asm.sti(),
  interruptsOff: (asm) => asm.cli(),
  interruptShadow: (asm) => {
    asm.cli();
    asm.sti();
    asm.vmcall();
  },
  noBreakpoint: (asm) => {
    asm.mov(eax, 0x400);
    asm.mov(dr7, rax);
  },
  alignment: (asm) => flags(asm, flagBit.AC | flagBit.fixed),
  plainFlags: (asm) => flags(asm, flagBit.fixed | flagBit.CF | flagBit.DF),
  push: (asm) => {
    asm.push(rsi);
    asm.push(rdi);
    asm.pop(rdx);
  },
  page: (asm) => asm.invlpg(mem(at.data)),
  hypercall: (asm) => asm.vmcall(),
  identify: (asm) => {
    asm.xor(eax, eax);
    asm.cpuid();
  },
  otherExit: (asm) => {
    asm.mov(ecx, 0x277);
    asm.rdmsr();
  },
};

/** What hosts do before they resume. */
const hostChunks: Readonly<Record<string, Chunk>> = {
  ...chunks,
  guestStack: (asm) => write(asm, "guestRsp", vmxPlace.guestStack - 0x100),
  statusFlags: (asm) => write(asm, "guestRflags", flagBit.fixed | flagBit.CF | flagBit.OF),
  interruptFlag: (asm) => write(asm, "guestRflags", flagBit.fixed | flagBit.IF),
  alignmentFlag: (asm) => write(asm, "guestRflags", flagBit.fixed | flagBit.AC),
  guestSegment: (asm) => write(asm, "guestEsAccessRights", 0x1_0000),
  usableSegment: (asm) => write(asm, "guestEsAccessRights", 0xc093),
  fsBase: (asm) => write(asm, "guestFsBase", 0x1234_5000),
  shadow: (asm) => {
    write(asm, "guestRflags", flagBit.fixed | flagBit.IF);
    write(asm, "guestInterruptibility", 1);
  },
  hostStack: (asm) => write(asm, "hostRsp", vmxPlace.hostStack - 0x80),
  hostBase: (asm) => write(asm, "hostFsBase", 0x77_0000),
  hostSegment: (asm) => write(asm, "hostDsSelector", 0),
  hostSegmentAgain: (asm) => write(asm, "hostDsSelector", selector.data),
  nmiBlocking: (asm) => write(asm, "guestInterruptibility", 8),
  noBlocking: (asm) => write(asm, "guestInterruptibility", 0),
  otherRip: (asm) => write(asm, "guestRip", vmxPlace.guestCode),
  remap,
  exceptions: (asm) => write(asm, "exceptionBitmap", 0x4000),
  hostRegisters: (asm) => write(asm, "hostIa32SysenterCs", 0x55),
  efer: (asm) => {
    asm.mov(ecx, 0xc000_0080);
    asm.rdmsr();
    asm.xor(eax, 1);
    asm.wrmsr();
  },
  flags: (asm) => flags(asm, flagBit.fixed | flagBit.AC | flagBit.CF),
  segment: (asm) => {
    asm.xor(eax, eax);
    asm.mov(ds, ax);
  },
  reload: (asm) => asm.vmptrld(mem64(vmxPlace.pointers)),
  invalidate: (asm) => {
    asm.mov(eax, 2);
    asm.invvpid(rax, mem128(at.invvpid));
  },
};

interface Scenario {
  readonly guest: readonly string[];
  /** Each with how often it is executed: when that bit of the countdown is set. */
  readonly host: readonly { readonly chunk: string; readonly bit: number }[];
  readonly controls: readonly ControlName[];
  readonly usesEpt: boolean;
  readonly isUser: boolean;
  readonly budgets: readonly number[];
}

function prepare(
  { guest, host, controls, usesEpt, isUser }: Scenario,
  isTraced: boolean,
): VmxMachine {
  const m = new VmxMachine(undefined, 64, undefined, isTraced).root();
  if (usesEpt) {
    m.useEpt();
  }
  for (const control of controls) {
    m.enable(control);
  }
  if (controls.includes("secondary.enableVpid")) {
    m.set("vpid", 5);
  }
  if (isUser) {
    m.set("guestCsSelector", selector.userCode64).set("guestCsAccessRights", 0xa0fb);
    m.set("guestSsSelector", selector.userData).set("guestSsAccessRights", 0xc0f3);
    m.set("guestCr0", m.get("guestCr0") | BigInt(cr0Bit.AM));
  }
  m.guest((asm) => {
    const top = asm.here("top");
    for (const name of guest) {
      guestChunks[name]?.(asm, m);
    }
    asm.vmcall();
    asm.jmp(top);
  });
  m.write32(at.countdown, 60);
  m.write64(at.data, 0x1111n);
  m.write64(at.other, 0x2222n);
  mapWindow(m);
  m.pointTo(vmxPlace.vmcs);
  m.assemble(64, (asm) => hostProgram(asm, m, host), vmxPlace.hostEntry);
  m.state.activity = Activity.Active;
  m.assemble(64, (asm) => {
    asm.vmlaunch();
    asm.hlt();
  });
  m.state.rip = BigInt(place.code);
  return m;
}

/** The window is at first one of the two pages. */
function mapWindow(m: VmxMachine): void {
  let table = m.state.get("cr3");
  for (const shift of [39, 30, 21]) {
    table = m.read64(Number(table) + ((at.window >> shift) & 511) * 8) & ~0xfffn;
  }
  const entry = Number(table) + ((at.window >> 12) & 511) * 8;
  m.write64(entry, BigInt(at.data | PageFlag.present | PageFlag.writable | PageFlag.user));
  m.write64(at.entry, BigInt(entry));
}

/** Passes over the instruction that has exited and resumes, until the countdown is at 0. */
function hostProgram(asm: Assembler, m: VmxMachine, chunks: Scenario["host"]): void {
  const end = asm.label("end");
  asm.sub(mem64(at.countdown), 1);
  asm.jz(end);
  asm.mov(rcx, vmcsFieldTable.guestRip[0]);
  asm.mov(rdx, vmcsFieldTable.exitInstructionLength[0]);
  asm.vmread(rax, rcx);
  asm.vmread(rbx, rdx);
  asm.add(rax, rbx);
  asm.vmwrite(rcx, rax);
  for (const [n, { chunk, bit }] of chunks.entries()) {
    const next = asm.label(`behind ${n}`);
    asm.test(mem64(at.countdown), 1 << bit);
    asm.jz(next);
    hostChunks[chunk]?.(asm, m);
    asm.here(next);
  }
  asm.vmresume();
  asm.here(end);
  asm.hlt();
}

/** Words of the window that say how the core is getting on, not what state the processor is in. */
const internal: readonly (readonly [from: number, to: number])[] = [
  [lpOffset.flagResult, lpOffset.systemFlags],
  [lpOffset.pending, lpOffset.codeMode],
  [lpOffset.argument0, lpOffset.cpl],
  [lpOffset.retired, lpOffset.segment],
  [lpOffset.walks, lpOffset.xmm],
  [lpOffset.bounce, lpOffset.cpuPrivate],
];

/** All that a processor is. */
function stateOf({ lp, state, vmx: { unit } }: VmxMachine) {
  const window = state.u8.slice(state.base, state.base + lpOffset.apicPage);
  for (const [from, to] of internal) {
    window.fill(0, from, to);
  }
  const space = lp.addressSpace;
  const { vmcs } = unit;
  return {
    window: Buffer.from(window).toString("hex"),
    flags: lp.readFlags(),
    context: (space.contexts[AccessClass.Current] ?? 0) & 7,
    requests: Array.from(space.requests),
    isNonRoot: unit.isNonRoot,
    usesEpt: unit.usesEpt,
    fixedBits: lp.fixedBits,
    mode: state.read32(vmxOffset.mode),
    entries: state.read32(vmxOffset.entries),
    exits: [exitReason.vmcall, exitReason.cpuid].map((r) => state.read32(vmxOffset.exits + r * 4)),
    counted: [...unit.exitsByVmcs].map(([pointer, counts]) => [pointer, ...counts]),
    vmcs: Array.from(vmcs.u32.subarray(vmcs.base, vmcs.base + vmcsBytes / 4)).join(),
  };
}

/** Runs both machines side by side. @returns how many entries and exits were left to the handlers, without the assistants and with them */
function runBoth(scenario: Scenario): readonly number[] {
  const machines = [true, false].map((isTraced) => prepare(scenario, isTraced));
  const handled = machines.map(countHandled);
  for (const budget of scenario.budgets) {
    const [plain, assisted] = machines.map((m) => [m.lp.run(budget), stateOf(m)]);
    expect(assisted).toEqual(plain);
  }
  const [plain, assisted] = machines.map((m) => {
    const stop = m.lp.run(20_000);
    return [stop, stateOf(m), Buffer.from(m.state.u8.slice(0, 0x20_0000)).toString("base64")];
  });
  expect(assisted).toEqual(plain);
  return handled.map((count) => count());
}

function countHandled({ vmx: { exits } }: VmxMachine): () => number {
  let count = 0;
  const instruction = exits.instruction.bind(exits);
  exits.instruction = (...details) => {
    count += 1;
    instruction(...details);
  };
  return () => count;
}

const optional: readonly ControlName[] = [
  "secondary.enableVpid",
  "primary.useMsrBitmaps",
  "entry.loadIa32Efer",
  "exit.loadIa32Efer",
  "exit.saveIa32Efer",
  "entry.loadDebugControls",
  "exit.saveDebugControls",
  "entry.loadIa32Pat",
  "pin.nmiExiting",
];
/** Above privilege level 0 the others fault. */
const userChunks = [
  "carry",
  "subtract",
  "store",
  "load",
  "misaligned",
  "push",
  "hypercall",
  "identify",
  "alignment",
];

const scenario = fc
  .record({
    guest: fc.array(fc.constantFrom(...Object.keys(guestChunks)), { maxLength: 6 }),
    host: fc.array(
      fc.record({ chunk: fc.constantFrom(...Object.keys(hostChunks)), bit: fc.nat(5) }),
      { maxLength: 3 },
    ),
    controls: fc.subarray([...optional], { maxLength: 3 }),
    usesEpt: fc.boolean(),
    isUser: fc.boolean(),
    budgets: fc.array(fc.integer({ min: 1, max: 120 }), { maxLength: 12 }),
  })
  .map((s) =>
    s.isUser ? { ...s, guest: s.guest.filter((name) => userChunks.includes(name)) } : s,
  );

const plain: Scenario = {
  guest: ["subtract", "identify", "store"],
  host: [],
  controls: [],
  usesEpt: false,
  isUser: false,
  budgets: [],
};

describe("assistants of VM entries and exits", () => {
  it("leave the processor as the handlers do, whatever guest and host do between them", () => {
    fc.assert(
      fc.property(scenario, (s) => void runBoth(s)),
      { numRuns: 60 },
    );
  });

  const alone: readonly (readonly [string, Partial<Scenario>])[] = [
    ...Object.keys(guestChunks).map((name) => [`guest's ${name}`, { guest: [name] }] as const),
    // Translations from before it are known to the side that is kept.
    ["guest's reading and remap", { guest: ["load", "remap"] }],
    ...userChunks.map((name) => [`user's ${name}`, { guest: [name], isUser: true }] as const),
    ...Object.keys(hostChunks).flatMap((chunk) =>
      [0, 3].map((bit) => [`host's ${chunk}, ${bit}`, { host: [{ chunk, bit }] }] as const),
    ),
  ];
  /** Most end in the middle of a round trip. */
  const shortTurns = Array.from({ length: 40 }, (_, n) => 9 + (n % 13));
  it.each(alone)("do so around a %s", (_name, change) => {
    const guest = change.guest ?? ["load", "misaligned"];
    const host = change.host ?? [{ chunk: "remap", bit: 1 }];
    const common = { ...plain, ...change, guest, budgets: shortTurns };
    runBoth({ ...common, host });
    const controls: readonly ControlName[] = ["secondary.enableVpid", "entry.loadDebugControls"];
    runBoth({ ...common, controls, usesEpt: true });
    if (change.host !== undefined) {
      runBoth({ ...common, isUser: true });
    }
  });

  it.each<readonly [string, Partial<Scenario>]>([
    ["without VPID", {}],
    ["with VPID", { controls: ["secondary.enableVpid"] }],
    ["with EPT and VPID", { controls: ["secondary.enableVpid"], usesEpt: true }],
    ["of a user", { guest: ["subtract", "store"], isUser: true }],
  ])("do nearly all of them for a guest %s", (_name, change) => {
    const [handled = 0, left = 0] = runBoth({ ...plain, ...change });
    expect(handled).toBe(60);
    expect(left).toBeLessThan(4);
  });
});
