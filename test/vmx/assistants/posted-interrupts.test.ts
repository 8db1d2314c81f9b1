import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flagBit } from "../../../src/cpu/register-bits.ts";
import { Activity, lpOffset, Segment } from "../../../src/execution/lp-window.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { ecx, mem64, r8, r9, rax, rbx, rsp } from "../../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../../src/protocol/interrupt-entry.ts";
import type { InterruptMessage } from "../../../src/protocol/interrupt-message.ts";
import {
  claimNotification,
  postRequest,
} from "../../../src/protocol/posted-interrupt-descriptor.ts";
import { letAssistantsSend } from "../../../src/vmx/assistants/sending.ts";
import { vmcsBytes } from "../../../src/vmx/vmcs-fields.ts";
import { noExecute, place, selector } from "../../cpu/test-machine.ts";
import {
  ApicMachine,
  apicPlace,
  notification,
  writeMsr,
} from "../apic-virtualization/apic-machine.ts";
import { vmxPlace } from "../vmx-machine.ts";

const common = 0x31_0000;
const log = 0x32_0000;
const logBytes = 0x8000;
const firstVector = 0x21;
const { descriptor } = apicPlace;

/** @param n another number each time */
type Chunk = (asm: Assembler, n: number) => void;
const flags = (asm: Assembler, value: number): void => {
  asm.push(value);
  asm.popfq();
};
/** What the guest's loop does. */
const chunks: Readonly<Record<string, Chunk>> = {
  nothing: (asm) => asm.nop(),
  wait: (asm, n) => {
    asm.mov(ecx, 5);
    const again = asm.here(`again ${n}`);
    asm.dec(ecx);
    asm.jne(again);
  },
  masked: (asm) => {
    asm.cli();
    asm.mov(rax, mem64(log));
    asm.sti();
  },
  priority: (asm) => writeMsr(asm, 0x808, 0x70),
  noPriority: (asm) => writeMsr(asm, 0x808, 0),
  toItself: (asm) => writeMsr(asm, 0x83f, 0x66),
  illegalToItself: (asm) => writeMsr(asm, 0x83f, 0x7),
  abusedToItself: (asm) => writeMsr(asm, 0x83f, 0x77, 1),
  ipi: (asm) => writeMsr(asm, 0x830, 0x91, 0),
  otherIpi: (asm) => writeMsr(asm, 0x830, 0x4_0091, 0),
  unknownIpi: (asm) => writeMsr(asm, 0x830, 0x71, 7),
  end: (asm) => writeMsr(asm, 0x80b, 0),
  stack: (asm) => asm.lea(rsp, mem64(rsp, { disp: -8 })),
  stackBack: (asm) => asm.lea(rsp, mem64(rsp, { disp: 8 })),
  carry: (asm) => asm.stc(),
  off: (asm) => flags(asm, 2),
  on: (asm) => flags(asm, flagBit.IF | 2),
  nested: (asm) => flags(asm, flagBit.IF | flagBit.NT | 2),
};

/** What is out of the ordinary about the guest. */
const oddities: Readonly<Record<string, (m: ApicMachine) => void>> = {
  nothing: () => {},
  nestedPages: (m) => m.useEpt(),
  ends: (m) => m.set("eoiExitBitmap2", 0xff00_ff00),
  stackAcrossPages: (m) => m.set("guestRsp", vmxPlace.guestStack - 0x1000 + 24),
  nullStack: (m) => m.set("guestSsSelector", 0).set("guestSsAccessRights", 0x1_0000),
  otherLimit: (m) => m.set("guestCsLimit", 0xffff).set("guestCsAccessRights", 0x209b),
  descriptorNotAccessed: (m) => m.write32(place.gdt + selector.code64 + 4, 0xaf9a00),
  interruptStack: (m) => m.interruptGate(0x91, 0x8e, 1),
  trapGate: (m) => {
    for (let vector = firstVector; vector < 0x100; vector++) m.interruptGate(vector, 0x8f);
  },
  absentGate: (m) => m.interruptGate(0x91, 0x0e),
  shortTable: (m) => m.set("guestIdtrLimit", 0x90 * 16 - 1),
  suppressed: (m) => m.write32(descriptor + 32, (notification << 16) | 2),
  ipis: (m) => m.ipis(),
  intercepted: (m) => m.write32(vmxPlace.msrBitmaps + 0x800 + 0x100, 0x800),
  readOnlyStack: (m) =>
    m.map(
      BigInt(vmxPlace.guestStack - 0x1000),
      BigInt(vmxPlace.guestStack - 0x1000) | noExecute | 1n,
    ),
  user: (m) => {
    m.set("guestCsSelector", selector.userCode64).set("guestCsAccessRights", 0xa0fb);
    m.set("guestSsSelector", selector.userData).set("guestSsAccessRights", 0xc0f3);
  },
  openAccess: (m) => m.set("guestRflags", flagBit.IF | flagBit.AC | 2),
  noMsrBitmaps: (m) => m.disable("primary.useMsrBitmaps"),
};

interface Step {
  readonly posted: readonly number[];
  readonly notifies: boolean;
  /** Vector of another interrupt of the processor. */
  readonly foreign: number | undefined;
  readonly instructions: number;
}
interface Scenario {
  readonly loop: readonly string[];
  readonly handler: readonly string[];
  readonly oddities: readonly string[];
  readonly steps: readonly Step[];
}

const entryOf = (vector: number): number => vector | (1 << 13);

function prepare({ loop, handler, oddities: odd }: Scenario, isTraced: boolean): ApicMachine {
  const m = new ApicMachine(isTraced).x2apic().posting().interruptible();
  m.lp.apic.writeBaseRegister(m.lp.apic.baseRegister | 0xc00n);
  m.lp.apicBaseChanged();
  m.write32(descriptor + 32, notification << 16);
  m.write64(apicPlace.pidTable, BigInt(descriptor | 1));
  for (let vector = firstVector; vector < 0x100; vector++) {
    m.handler(vector, (asm) => {
      asm.push(vector);
      asm.jmp(common);
    });
  }
  const write = (names: readonly string[]) => (asm: Assembler) => {
    for (const [n, name] of names.entries()) chunks[name]?.(asm, n);
  };
  m.assemble(
    64,
    (asm) => {
      asm.pop(r8);
      asm.mov(mem64(r9), r8);
      asm.add(r9, 8);
      asm.and(r9, log | (logBytes - 8));
      asm.push(rax);
      write(handler)(asm);
      writeMsr(asm, 0x80b, 0);
      asm.pop(rax);
      asm.iretq();
    },
    common,
  );
  m.guest((asm) => {
    asm.mov(r9, log);
    const top = asm.here("top");
    asm.inc(rbx);
    write(loop)(asm);
    asm.jmp(top);
  });
  for (const name of odd) oddities[name]?.(m);
  if (!isTraced) letAssistantsSend(m.lp);
  // What is sent comes back: there is but one processor.
  const deliverSent = (message: InterruptMessage): number => {
    if (message.destination === 0) m.mailbox.post(messageEntry(message));
    return 0;
  };
  m.sent.push = deliverSent;
  m.state.activity = Activity.Active;
  m.run(64, (asm) => asm.vmlaunch(), 2);
  return m;
}

function advance(m: ApicMachine, { posted, notifies, foreign, instructions }: Step): void {
  for (const vector of posted) postRequest(m.state.i32, descriptor >>> 2, vector);
  if (notifies && claimNotification(m.state.i32, descriptor >>> 2)) {
    m.mailbox.post(entryOf(notification));
  }
  if (foreign !== undefined) m.mailbox.post(entryOf(foreign));
  const target = m.lp.core.retired + instructions;
  for (let turns = 0; m.lp.core.retired < target && turns < 2 * instructions; turns++) {
    m.lp.run(target - m.lp.core.retired);
    if (!m.vmx.unit.isNonRoot) return;
  }
}

/** Words of the window that say how far the processor is with what is pending. */
const eventsHeldBack = 0x24;

function stateOf({ lp, state, vmx: { unit } }: ApicMachine) {
  const privateWords = state.u32.slice(
    (state.base + lpOffset.cpuPrivate) >>> 2,
    (state.base + lpOffset.cpuPrivate + eventsHeldBack) >>> 2,
  );
  const at = (offset: number, bytes: number) =>
    Buffer.from(state.u8.slice(state.base + offset, state.base + offset + bytes)).toString("hex");
  const ramAt = (address: number, bytes: number) =>
    Buffer.from(state.u8.slice(address, address + bytes)).toString("hex");
  const { vmcs } = unit;
  return {
    registers: at(lpOffset.gpr, 128),
    rip: state.rip,
    flags: lp.readFlags(),
    segments: [Segment.CS, Segment.SS].map((n) => [
      state.selector(n),
      state.rights(n),
      state.limit(n),
    ]),
    blocking: [state.interruptibility, state.activity, state.cpl],
    private: Array.from(privateWords),
    apic: at(lpOffset.apicPage, 0x420),
    isNonRoot: unit.isNonRoot,
    exits: [...unit.exitsByVmcs].map(([pointer, counts]) => [pointer, ...counts]),
    virtualApic: Buffer.from(
      state.u8.slice(apicPlace.virtualApic, apicPlace.virtualApic + 4096),
    ).toString("hex"),
    descriptor: Array.from(state.u32.slice(descriptor >>> 2, (descriptor >>> 2) + 16)),
    log: Buffer.from(state.u8.slice(log, log + logBytes)).toString("base64"),
    innerStack: ramAt(place.innerStack - 0x200, 0x200),
    stack: Buffer.from(state.u8.slice(vmxPlace.guestStack - 0x2000, vmxPlace.guestStack)).toString(
      "base64",
    ),
    vmcs: Array.from(vmcs.u32.subarray(vmcs.base, vmcs.base + vmcsBytes / 4)).join(),
  };
}

/** @returns interrupts that TypeScript has delivered, without the assistants and with them */
function runBoth(scenario: Scenario): readonly number[] {
  const machines = [true, false].map((isTraced) => prepare(scenario, isTraced));
  const delivered = machines.map(() => 0);
  for (const [n, { lp }] of machines.entries()) {
    const deliver = lp.deliver.bind(lp);
    lp.deliver = (event) => {
      delivered[n] = (delivered[n] ?? 0) + 1;
      deliver(event);
    };
  }
  for (const step of scenario.steps) {
    const [plain, assisted] = machines.map((m) => {
      advance(m, step);
      return stateOf(m);
    });
    expect(assisted).toEqual(plain);
    if (plain?.isNonRoot !== true) break;
  }
  return delivered;
}

const vectors = fc.integer({ min: firstVector, max: 0xff });
const step = fc.record({
  posted: fc.array(fc.oneof(vectors, fc.constantFrom(0x91, 0x45)), { maxLength: 4 }),
  notifies: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, fc.boolean()),
  foreign: fc.option(vectors, { freq: 30, nil: undefined }),
  instructions: fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 20, max: 90 }) },
    fc.integer({ min: 1, max: 20 }),
  ),
});
const names = Object.keys(chunks);
const scenario = fc.record({
  loop: fc.array(fc.constantFrom(...names), { maxLength: 5 }),
  handler: fc.array(fc.constantFrom(...names.filter((name) => !/stack/u.test(name))), {
    maxLength: 2,
  }),
  oddities: fc.array(fc.constantFrom(...Object.keys(oddities)), { maxLength: 2 }),
  steps: fc.array(step, { minLength: 1, maxLength: 24 }),
});

const steps = (count: number, least: number): Step[] =>
  Array.from({ length: count }, (_, n) => ({
    posted: [0x31 + (n % 0xc0), 0x91, 0x92, 0x93],
    notifies: true,
    foreign: undefined,
    instructions: least + (n % 31),
  }));
const ordinary: Scenario = {
  loop: ["wait", "carry"],
  handler: [],
  oddities: [],
  steps: steps(60, 70),
};

describe("posted interrupts without TypeScript", () => {
  it("leave the processor as the others do, whatever the guest does", () => {
    fc.assert(
      fc.property(scenario, (s) => void runBoth(s)),
      { numRuns: 150 },
    );
  });

  it.each(Object.keys(oddities))("do so with an oddity: %s", (name) => {
    runBoth({ ...ordinary, oddities: [name] });
    runBoth({ ...ordinary, oddities: ["nestedPages", name] });
  });
  it.each(names)("do so around %s", (name) => {
    runBoth({ ...ordinary, loop: [name, "carry"] });
    runBoth({ ...ordinary, oddities: ["ipis"], loop: [name, "wait"], handler: ["nothing"] });
  });

  it("are delivered there in the ordinary case", () => {
    const [plain = 0, assisted = 0] = runBoth({ ...ordinary, steps: steps(20, 300) });
    expect(plain).toBe(80);
    // What has come before a run is looked at before its first block.
    expect(assisted).toBe(20);
  });
  it("are moved there also where the delivery is not ordinary", () => {
    const plain = runBoth({
      ...ordinary,
      oddities: ["user"],
      loop: ["wait"],
      steps: steps(20, 300),
    });
    expect(plain).toEqual([80, 80]);
  });
  it("are sent and delivered there, from guest to guest", () => {
    const [plain = 0, assisted = 0] = runBoth({
      ...ordinary,
      ...{ oddities: ["ipis"], loop: ["ipi", "wait"], steps: steps(5, 2000) },
    });
    expect(plain).toBeGreaterThan(100);
    expect(assisted).toBeLessThan(10);
  });
});
