import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Assembler } from "../../../src/isa/assembler.ts";
import {
  al,
  ax,
  eax,
  ecx,
  mem8,
  mem16,
  mem32,
  mem64,
  rax,
  rdi,
  rsi,
} from "../../../src/isa/assembler-operands.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { InterruptionType, interruptionBit } from "../../../src/vmx/interruption.ts";
import { vmxPlace } from "../vmx-machine.ts";
import { ApicMachine, apicPlace } from "./apic-machine.ts";

let m: ApicMachine;
let restore: () => void;
beforeAll(() => {
  m = new ApicMachine().accesses();
  restore = m.checkpoint();
});
beforeEach(() => restore());

const at = apicPlace.accessPage;
const value = 0x1234_5678;
/** Access types in bits 15:12 of the exit qualification. */
const type = {
  read: 0,
  write: 1,
  fetch: 2,
  delivery: 3,
  guestPhysicalDelivery: 10,
  guestPhysical: 15,
};

type Outcome = "virtual" | `exit ${keyof typeof type} ${string}` | `write-exit ${string}`;
const read32 = (offset: number) => (asm: Assembler) => asm.mov(ecx, mem32(at + offset));
const write32 = (offset: number) => (asm: Assembler) => {
  asm.mov(eax, value);
  asm.mov(mem32(at + offset), eax);
};

const settings = {
  "no TPR shadow": () => m,
  shadow: () => m.shadow(),
  delivery: () => m.delivery(),
  registers: () => m.shadow().enable("secondary.apicRegisterVirtualization"),
} as const;

const rows: readonly (readonly [
  keyof typeof settings,
  string,
  (asm: Assembler) => void,
  Outcome,
])[] = [
  ["no TPR shadow", "read of 080H", read32(0x80), "exit read 080"],
  ["no TPR shadow", "write of 080H", write32(0x80), "exit write 080"],
  ["shadow", "read of 080H", read32(0x80), "virtual"],
  ["shadow", "byte read of 080H", (asm) => asm.mov(al, mem8(at + 0x80)), "virtual"],
  ["shadow", "byte read of 081H", (asm) => asm.mov(al, mem8(at + 0x81)), "exit read 081"],
  ["shadow", "read of 020H", read32(0x20), "exit read 020"],
  ["shadow", "64-bit read of 080H", (asm) => asm.mov(rax, mem64(at + 0x80)), "exit read 080"],
  ["shadow", "read of 082H", read32(0x82), "exit read 082"],
  ["shadow", "write of 080H", write32(0x80), "virtual"],
  ["shadow", "write of 0B0H", write32(0xb0), "exit write 0b0"],
  ["shadow", "write of 300H", write32(0x300), "exit write 300"],
  ["shadow", "read-modify-write of 080H", (asm) => asm.or(mem32(at + 0x80), 1), "virtual"],
  ["shadow", "locked read-modify-write", (asm) => asm.lock.or(mem32(at + 0x80), 1), "virtual"],
  ["shadow", "exchange of 090H", (asm) => asm.xchg(mem32(at + 0x90), eax), "exit write 090"],
  ["delivery", "read of 0B0H", read32(0xb0), "exit read 0b0"],
  ["delivery", "write of 0B0H", write32(0xb0), "virtual"],
  ["delivery", "read-modify-write of 0B0H", (asm) => asm.or(mem32(at + 0xb0), 1), "exit write 0b0"],
  ["delivery", "write of 300H, no self-IPI", write32(0x300), "write-exit 300"],
  ["delivery", "write of 0F0H", write32(0xf0), "exit write 0f0"],
  ["registers", "read of 020H", read32(0x20), "virtual"],
  ["registers", "read of 090H", read32(0x90), "exit read 090"],
  ["registers", "read of 024H", read32(0x24), "exit read 024"],
  ["registers", "16-bit read of 022H", (asm) => asm.mov(ax, mem16(at + 0x22)), "virtual"],
  ["registers", "write of 020H", write32(0x20), "write-exit 020"],
  ["registers", "write of 030H", write32(0x30), "exit write 030"],
  ["registers", "write of 0B0H", write32(0xb0), "write-exit 0b0"],
  ["registers", "write of 310H", write32(0x310), "virtual"],
  ["registers", "16-bit write of 0D2H", (asm) => asm.mov(mem16(at + 0xd2), 1), "write-exit 0d2"],
  ["registers", "write of 100H", write32(0x100), "exit write 100"],
  ["registers", "increment of 320H", (asm) => asm.inc(mem32(at + 0x320)), "write-exit 320"],
  ["registers", "read across two pages", (asm) => asm.mov(eax, mem32(at - 2)), "exit read 000"],
  ["registers", "MOVS out of the page", movs(0x20), "virtual"],
  ["registers", "a jump into the page", (asm) => asm.jmp(at + 0x20), "exit fetch 020"],
];

function movs(offset: number): (asm: Assembler) => void {
  return (asm) => {
    asm.mov(rdi, apicPlace.scratch);
    asm.mov(rsi, at + offset);
    asm.movsd();
  };
}

describe.each(rows)("with %s, %s", (setting, _text, write, outcome) => {
  it(outcome, () => {
    settings[setting]();
    m.setRegister(0x80, 0x20);
    m.guest((asm) => {
      asm.mov(eax, value);
      write(asm);
      asm.vmcall();
    });
    const exit = m.launch();
    const [kind, second = "", third = ""] = outcome.split(" ");
    if (kind === "virtual") {
      expect(exit.reason).toBe(exitReason.vmcall);
    } else if (kind === "write-exit") {
      expect(exit.reason).toBe(exitReason.apicWrite);
      expect(exit.qualification).toBe(BigInt(Number.parseInt(second, 16)));
    } else {
      const qualification = (type[second as keyof typeof type] << 12) | Number.parseInt(third, 16);
      expect(exit.reason).toBe(exitReason.apicAccess);
      expect(exit.qualification).toBe(BigInt(qualification));
    }
  });
});

describe("an APIC-access exit", () => {
  it("comes before the instruction has done anything, and can be resumed behind it", () => {
    m.shadow().guest((asm) => {
      asm.mov(rdi, at);
      asm.mov(mem32(rdi, { disp: 0xf0 }), 5);
      asm.vmcall();
    });
    const exit = m.launch();
    expect(exit).toMatchObject({
      reason: exitReason.apicAccess,
      rip: BigInt(vmxPlace.guestCode + 7),
      length: 10,
      vectoring: 0,
    });
    expect(m.number("guestRflags") & (1 << 16)).not.toBe(0);
    expect(m.read32(at + 0xf0)).toBe(0);
    m.set("guestRip", exit.rip + BigInt(exit.length));
    expect(m.resume().reason).toBe(exitReason.vmcall);
  });

  it("during the delivery of an event is told as such", () => {
    m.shadow().set("guestRsp", at + 0x800);
    m.guest((asm) => asm.int3());
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.apicAccess);
    expect(Number(exit.qualification) >>> 12).toBe(type.delivery);
    const vectoring = interruptionBit.valid | (InterruptionType.SoftwareException << 8) | 3;
    expect(exit.vectoring).toBe(vectoring >>> 0);
    expect(exit.rip).toBe(BigInt(vmxPlace.guestCode));
  });

  it("is made by a page walk of the guest under EPT", () => {
    m.useEpt();
    m.write64(m.entryOf(0x4000_0000n, 1), BigInt(at | 7));
    m.guest((asm) => asm.mov(al, mem8(0x4000_0000)));
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.apicAccess);
    expect(Number(exit.qualification) >>> 12).toBe(type.guestPhysical);
  });

  it("is made by a page walk of the guest for the delivery of an event", () => {
    m.useEpt().set("guestRsp", 0x4000_0100);
    m.write64(m.entryOf(0x4000_0000n, 1), BigInt(at | 7));
    m.guest((asm) => asm.int3());
    const exit = m.launch();
    expect(exit.reason).toBe(exitReason.apicAccess);
    expect(Number(exit.qualification) >>> 12).toBe(type.guestPhysicalDelivery);
  });

  it("depends on the host-physical address", () => {
    m.useEpt();
    m.write64(m.eptEntry(apicPlace.scratch), BigInt(at | 0x37));
    m.guest((asm) => asm.mov(al, mem8(apicPlace.scratch + 0x20)));
    expect(m.launch()).toMatchObject({ reason: exitReason.apicAccess, qualification: 0x20n });
  });
});

describe("the page of virtual registers", () => {
  it("is what the guest reads and writes, byte for byte", () => {
    m.shadow().enable("secondary.apicRegisterVirtualization");
    m.setRegister(0x20, 0x0a0b_0c0d).setRegister(0x200, 0x55);
    m.guest((asm) => {
      asm.mov(ecx, mem32(at + 0x20));
      asm.add(ecx, mem32(at + 0x200));
      asm.mov(mem8(at + 0x312), 0x77);
      asm.mov(mem8(at + 0x313), 0x99);
      asm.vmcall();
    });
    // A write inside a register is reported by its own offset.
    expect(m.launch()).toMatchObject({ reason: exitReason.apicWrite, qualification: 0x312n });
    expect(m.resume()).toMatchObject({ reason: exitReason.apicWrite, qualification: 0x313n });
    expect(m.resume().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr32(1)).toBe(0x0a0b_0c0d + 0x55);
    expect(m.register(0x310)).toBe(0x9977_0000);
    expect(m.read32(at + 0x20)).toBe(0);
  });

  it("keeps of VTPR one byte, of VICR_HI one byte", () => {
    m.shadow().enable("secondary.apicRegisterVirtualization");
    m.guest((asm) => {
      write32(0x80)(asm);
      write32(0x310)(asm);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.register(0x80)).toBe(0x78);
    expect(m.register(0x310)).toBe(0x1200_0000);
  });

  it("exits on a write right behind the instruction, in the middle of straight code", () => {
    m.shadow().enable("secondary.apicRegisterVirtualization");
    m.guest((asm) => {
      asm.mov(ecx, 1);
      asm.mov(rdi, at + 0xf0);
      asm.mov(mem32(rdi), 0x1ff);
      asm.mov(ecx, 2);
      asm.vmcall();
    });
    const exit = m.launch();
    expect(exit).toMatchObject({ reason: exitReason.apicWrite, qualification: 0xf0n });
    expect(m.state.gpr32(1)).toBe(1);
    expect(m.register(0xf0)).toBe(0x1ff);
    expect(m.resume().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr32(1)).toBe(2);
  });

  it("takes the first write of a repeated store; the second iteration is an access of its own", () => {
    m.shadow().enable("secondary.apicRegisterVirtualization");
    m.guest((asm) => {
      asm.mov(rdi, at + 0x320);
      asm.mov(ecx, 2);
      asm.mov(eax, 7);
      asm.rep.stosd();
      asm.vmcall();
    });
    const exit = m.launch();
    expect([exitReason.apicWrite, exitReason.apicAccess]).toContain(exit.reason);
    expect(m.register(0x320)).toBe(7);
    expect(m.state.gpr32(1)).toBe(1);
  });

  it("is out of reach for the host, who finds the page itself", () => {
    m.shadow().guest((asm) => asm.vmcall());
    m.launch();
    m.execute((asm) => {
      asm.mov(eax, 0x42);
      asm.mov(mem32(at + 0x80), eax);
    });
    expect(m.read32(at + 0x80)).toBe(0x42);
    expect(m.register(0x80)).toBe(0);
  });
});
