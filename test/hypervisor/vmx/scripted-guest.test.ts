import { describe, expect, it } from "vitest";
import {
  entryControl,
  exitControl,
  exitReason,
  pin,
  primary,
  secondary,
  tertiary,
  vmcsField,
} from "../../../src/hypervisor/vmx/architecture.ts";
import { chooseControls } from "../../../src/hypervisor/vmx/controls.ts";
import {
  eptBytes,
  guestLayout,
  guestStart,
  interruptGate,
  largePageBytes,
  mapWithEpt,
  userStart,
  writeGuestMemory,
} from "../../../src/hypervisor/vmx/guest-memory.ts";
import { createVmcs, skipInstruction } from "../../../src/hypervisor/vmx/vmcs.ts";
import { enableApic, enterVmxOperation } from "../../../src/hypervisor/vmx/vmx-operation.ts";
import {
  compute,
  cpuid,
  load,
  portOut,
  type ScriptEnvironment,
  type ScriptedSoftware,
  store,
  vmcall,
  vmlaunch,
  vmread,
  vmresume,
  vmwrite,
} from "../../../src/isa/operations.ts";
import { controlTable } from "../../../src/vmx/controls.ts";
import { vmcsFieldTable } from "../../../src/vmx/vmcs-fields.ts";
import { runScripts } from "../../cpu/scripts/run-scripts.ts";

describe("the hypervisor's header", () => {
  it("has the encodings that the processor has", () => {
    for (const [name, encoding] of Object.entries(vmcsField)) {
      expect([name, encoding]).toEqual([
        name,
        vmcsFieldTable[name as keyof typeof vmcsFieldTable][0],
      ]);
    }
  });
  it("has control bits that the processor has", () => {
    const words = { pin, primary, secondary, tertiary, exit: exitControl, entry: entryControl };
    for (const [word, bits] of Object.entries(words)) {
      const known = Object.values(controlTable[word as keyof typeof words]).map(([bit]) => bit);
      for (const bit of Object.values(bits)) expect(known).toContain(Math.log2(bit >>> 0));
    }
  });
});

const guestBase = 0x40_0000;
const tables = 0x20_0000;
const vmcs = 0x21_0000n;

const vector = 0x41;

/** @param isUser the guest is an application that an interrupt comes to after its hypercall */
function software(log: string[], isUser = false): ScriptedSoftware {
  let eptPointer = 0n;
  return {
    load(ram) {
      eptPointer = mapWithEpt(ram, tables, guestBase, largePageBytes);
      writeGuestMemory(ram.subarray(guestBase, guestBase + largePageBytes), () => undefined);
    },
    programs: {
      *main(environment: ScriptEnvironment) {
        yield* enableApic();
        yield* enterVmxOperation(environment, BigInt(tables + eptBytes));
        const controls = yield* chooseControls({
          posting: true,
          ipiVirtualization: false,
          pauseLoops: false,
          hltExiting: true,
          preemptionTimer: false,
        });
        const [low, high] = interruptGate(environment.gate("handler", vector));
        const gate = BigInt(guestBase + guestLayout.idt + vector * 16);
        yield store(gate, 8, low);
        yield store(gate + 8n, 8, high);
        const entry = environment.entry("guest", 7);
        yield* createVmcs(environment, {
          controls,
          eptPointer,
          pages: { vmcs, virtualApic: vmcs + 0x1000n, descriptor: vmcs + 0x2000n },
          vpid: 1,
          msrBitmaps: vmcs + 0x3000n,
          notificationVector: 0xf2,
          pidTable: 0n,
          lastPidIndex: 0,
          guest: isUser ? userStart(0, entry) : guestStart(0, entry, 0n),
        });
        const registers = new BigUint64Array(16);
        let result = yield vmlaunch(registers);
        for (;;) {
          if (result !== 0n) {
            log.push(`entry failed ${result} ${yield vmread(vmcsField.instructionError)}`);
            yield portOut(0xf4, 1, 1n);
          }
          const reason = Number(yield vmread(vmcsField.exitReason));
          log.push(`exit ${reason}`);
          if (reason === exitReason.vmcall) registers[0] = (registers[0] ?? 0n) * 2n;
          else if (reason === exitReason.cpuid) registers[0] = 77n;
          else yield portOut(0xf4, 1, 0n);
          if (isUser && reason === exitReason.vmcall) {
            log.push(`level ${(yield vmread(vmcsField.guestCsSelector)) & 3n}`);
            yield vmwrite(vmcsField.entryInterruptionInformation, 0x8000_0000n | BigInt(vector));
          }
          yield* skipInstruction();
          result = yield vmresume(registers);
        }
      },
      *handler(_: ScriptEnvironment, argument: number) {
        log.push(`interrupt ${argument}`);
        yield compute(10);
      },
      *guest(_: ScriptEnvironment, argument: number) {
        log.push(`guest ${argument}`);
        log.push(`vmcall ${yield vmcall(21n)}`);
        yield compute(5000);
        yield store(BigInt(guestLayout.free), 8, 5n);
        log.push(`load ${yield load(BigInt(guestLayout.free), 8)}`);
        log.push(`cpuid ${yield cpuid(0)}`);
      },
    },
  };
}

describe("a scripted guest", () => {
  it("runs under a scripted hypervisor through real VM entries and exits", async () => {
    const log: string[] = [];
    const result = await runScripts(software(log), {}, {});
    expect(log).toEqual([
      "guest 7",
      "exit 18",
      "vmcall 42",
      "load 5",
      "exit 10",
      "cpuid 77",
      "exit 12",
    ]);
    expect(result.ending).toEqual({ type: "exit", value: 0 });
    expect(result.lps[0]?.statistics.exits).toMatchObject({ VMCALL: 1, CPUID: 1, HLT: 1 });
  });

  it("may begin as an application, take interrupts at level 0 and go on; HLT at its end faults", async () => {
    const log: string[] = [];
    await runScripts(software(log, true), {}, {});
    expect(log.slice(0, 6)).toEqual([
      "guest 7",
      "exit 18",
      "level 3",
      `interrupt ${vector}`,
      "vmcall 42",
      "load 5",
    ]);
    expect(log.slice(6, 8)).toEqual(["exit 10", "cpuid 77"]);
    expect(log.at(-1)).not.toBe(`exit ${exitReason.hlt}`);
  });
});
