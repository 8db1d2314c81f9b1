import { beforeEach, describe, expect, it } from "vitest";
import { al, cr3, dr7, eax, mem, rax } from "../../src/isa/assembler-operands.ts";
import { ExitClassCounts } from "../../src/vmx/exit-classes.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
beforeEach(() => {
  m = new VmxMachine().root();
});

const details = (): Record<string, number> =>
  Object.fromEntries(
    [...m.vmx.unit.exitClasses.entries()].map(([reason, text, count]) => [
      `${reason} ${text}`,
      count,
    ]),
  );

describe("exits by class of their qualification", () => {
  it("tell control registers, ports and vectors apart", () => {
    m.enable("primary.cr3StoreExiting").enable("primary.unconditionalIoExiting");
    m.set("exceptionBitmap", 1 << 6).guest((asm) => {
      asm.mov(rax, cr3);
      asm.in(al, 0x60);
      asm.out(0x80, eax);
      asm.ud2();
    });
    for (let exit = m.launch(), n = 0; n < 3; n++, exit = m.resume()) {
      m.set("guestRip", exit.rip + BigInt(exit.length));
    }
    expect(details()).toEqual({
      [`${exitReason.controlRegisterAccess} MOV from CR3`]: 1,
      [`${exitReason.ioInstruction} IN, 8 bits`]: 1,
      [`${exitReason.ioInstruction} OUT, 32 bits`]: 1,
      [`${exitReason.exceptionOrNmi} vector 6`]: 1,
    });
  });

  it("tell EPT violations by access and by why", () => {
    const counts = new ExitClassCounts();
    counts.add(exitReason.eptViolation, 0x182, 0);
    counts.add(exitReason.eptViolation, 0x182, 0);
    counts.add(exitReason.eptViolation, 0x18a, 0);
    counts.add(exitReason.eptViolation, 0x192, 0);
    counts.add(exitReason.vmcall, 0, 0);
    expect([...counts.entries()]).toEqual([
      [exitReason.eptViolation, "write, page not present", 2],
      [exitReason.eptViolation, "write, not allowed by the page", 2],
    ]);
  });
});

describe("RDPMC exiting", () => {
  it("makes RDPMC exit", () => {
    m.enable("primary.rdpmcExiting").guest((asm) => asm.rdpmc());
    expect(m.launch()).toMatchObject({ reason: exitReason.rdpmc, length: 2 });
  });
});

describe("a guest state that is not valid", () => {
  it("fails the entry, and says so with bit 31 and the qualification", () => {
    m.set("guestRflags", 0).guest((asm) => asm.vmcall());
    expect(m.launch()).toMatchObject({
      reason: exitReason.invalidGuestState,
      entryFailure: true,
      qualification: 0n,
    });
    expect(details()).toEqual({ [`${exitReason.invalidGuestState} guest state`]: 1 });
  });
});

describe("debug controls", () => {
  const guestDr7 = 0x455;
  const seenInGuest = (): bigint => {
    m.set("guestDr7", guestDr7).guest((asm) => {
      asm.mov(rax, dr7);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    return m.state.gpr(0);
  };

  it("are loaded at entry and saved at exit when asked for", () => {
    m.enable("entry.loadDebugControls").enable("exit.saveDebugControls");
    expect(seenInGuest()).toBe(BigInt(guestDr7));
    expect(m.get("guestDr7")).toBe(BigInt(guestDr7));
  });
  it("are left alone otherwise", () => {
    m.disable("entry.loadDebugControls").disable("exit.saveDebugControls");
    expect(seenInGuest()).toBe(0x400n);
    expect(m.get("guestDr7")).toBe(BigInt(guestDr7));
  });
});

describe("XRSTORS", () => {
  it("exits for the components its bitmap selects", () => {
    m.set("guestCr4", m.get("guestCr4") | (1n << 18n));
    m.enable("secondary.enableXsavesXrstors").set("xssExitingBitmap", 1);
    m.state.setGpr(0, 3n);
    m.state.setGpr(2, 0n);
    m.guest((asm) => asm.xrstors(mem(vmxPlace.ioBitmapA)));
    expect(m.launch().reason).toBe(exitReason.xrstors);
  });
});
