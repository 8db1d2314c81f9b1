/**
 * Scripts for `measureVmcalls`: every LP enters a guest of its own that does nothing but VMCALL. The last one to end prints the
 * longest time any of them took, in nanoseconds.
 */
import { chooseControls } from "../src/hypervisor/vmx/controls.ts";
import {
  guestStart,
  largePageBytes,
  mapWithEpt,
  writeGuestMemory,
} from "../src/hypervisor/vmx/guest-memory.ts";
import { createVmcs, skipInstruction } from "../src/hypervisor/vmx/vmcs.ts";
import { enterVmxOperation } from "../src/hypervisor/vmx/vmx-operation.ts";
import {
  exchangeAdd,
  load,
  pause,
  portOut,
  type ScriptEnvironment,
  type ScriptedSoftware,
  store,
  vmcall,
  vmlaunch,
  vmresume,
} from "../src/isa/operations.ts";

export interface VmcallLoop {
  /** Round trips of each LP. */
  readonly trips: number;
}

/** Every LP finds its pages here, one region after the other. */
const regions = 0x100_0000;
const regionBytes = 0x80_0000;
const region = {
  guest: 0,
  vmxon: largePageBytes,
  vmcs: largePageBytes + 0x1000,
  virtualApic: largePageBytes + 0x2000,
  descriptor: largePageBytes + 0x3000,
  msrBitmaps: largePageBytes + 0x4000,
  ept: largePageBytes + 0x8000,
} as const;
/** LPs that are ready, and that are done. Where results go: nanoseconds, by LP. */
const ready = 0x80_0000n;
const done = 0x80_0040n;
const results = 0x80_0080n;

/** RAM that so many LPs need. */
export const vmcallRamBytes = (lps: number): number => regions + lps * regionBytes;

const debugExit = 0xf4;
const com1 = 0x3f8;

export function createSoftware({ trips }: VmcallLoop): ScriptedSoftware {
  const base = (lp: number): number => regions + lp * regionBytes;
  return {
    load(ram) {
      for (let at = regions; at + regionBytes <= ram.length; at += regionBytes) {
        mapWithEpt(ram, at + region.ept, at + region.guest, largePageBytes);
        writeGuestMemory(ram.subarray(at, at + largePageBytes), () => undefined);
      }
    },
    programs: {
      *main(environment: ScriptEnvironment) {
        const { lp, lpCount } = environment;
        const at = base(lp);
        yield* enterVmxOperation(environment, BigInt(at + region.vmxon));
        const controls = yield* chooseControls({
          posting: false,
          ipiVirtualization: false,
          pauseLoops: false,
          hltExiting: true,
          preemptionTimer: false,
        });
        const walkLength4WriteBack = 0x1en;
        yield* createVmcs(environment, {
          controls,
          eptPointer: BigInt(at + region.ept) | walkLength4WriteBack,
          pages: {
            vmcs: BigInt(at + region.vmcs),
            virtualApic: BigInt(at + region.virtualApic),
            descriptor: BigInt(at + region.descriptor),
          },
          vpid: lp + 1,
          msrBitmaps: BigInt(at + region.msrBitmaps),
          notificationVector: 0xf2,
          pidTable: 0n,
          lastPidIndex: 0,
          guest: guestStart(0, environment.entry("guest", lp), 0n),
        });
        yield exchangeAdd(ready, 8, 1n);
        while ((yield load(ready)) < BigInt(lpCount)) yield pause();
        const from = environment.now();
        yield vmlaunch();
        for (let trip = 1; trip < trips; trip++) {
          yield* skipInstruction();
          yield vmresume();
        }
        yield store(results + BigInt(lp) * 8n, 8, BigInt(Math.round(environment.now() - from)));
        if ((yield exchangeAdd(done, 8, 1n)) < BigInt(lpCount - 1)) return;
        let slowest = 0n;
        for (let other = 0; other < lpCount; other++) {
          const time = yield load(results + BigInt(other) * 8n);
          if (time > slowest) slowest = time;
        }
        for (const digit of String(slowest)) yield portOut(com1, 1, BigInt(digit.charCodeAt(0)));
        yield portOut(debugExit, 1, 0n);
      },
      *guest() {
        for (;;) yield vmcall();
      },
    },
  };
}
