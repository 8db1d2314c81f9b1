import { exchangeAdd, type Script, type Steps, store, vmwrite } from "../../isa/operations.ts";
import { vmcsField } from "../vmx/architecture.ts";
import { type ControlWords, chooseControls } from "../vmx/controls.ts";
import {
  guestLayout,
  guestStart,
  largePageBytes,
  mapWithEpt,
  writeGuestMemory,
} from "../vmx/guest-memory.ts";
import { controlWord } from "../vmx/posted-interrupts.ts";
import { createVmcs } from "../vmx/vmcs.ts";
import { enableApic, enterVmxOperation } from "../vmx/vmx-operation.ts";
import type { LpContext, PostingSetup } from "./context.ts";
import {
  descriptorOf,
  guestPlace,
  hostVector,
  lpBlock,
  lpField,
  machineField,
  place,
  VcpuState,
  vcpuBlock,
  vcpuField,
  virtualApicOf,
  vmcsOf,
  vmxonRegion,
} from "./posting-memory.ts";
import { runVcpus } from "./run-loop.ts";

const commandMsr = 0x830;
const writeBitmapLow = 2048;
const idtEntryBytes = 4096;
const valid = 1n;

/** Writes what a loader would: the guest's memory, extended page tables, and the words the LPs find. */
export function loadPosting(
  ram: Uint8Array,
  setup: Pick<PostingSetup, "lps" | "vcpus" | "ipiVirtualization">,
  apicIds: readonly number[],
  gate: (vcpu: number, vector: number) => bigint | undefined,
): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  const set = (address: bigint, value: bigint): void =>
    view.setBigUint64(Number(address), value, true);
  const guest = ram.subarray(place.guest, place.guest + largePageBytes);
  mapWithEpt(ram, place.ept, place.guest, largePageBytes);
  for (let vcpu = 0; vcpu < setup.vcpus; vcpu++) {
    writeGuestMemory(guest, (vector) => gate(vcpu, vector));
    const table = guest.subarray(guestLayout.idt, guestLayout.idt + idtEntryBytes);
    guest.set(table, guestPlace.idt + vcpu * idtEntryBytes);
    const home = vcpu % setup.lps;
    const block = vcpuBlock(vcpu);
    set(block + vcpuField.state, VcpuState.Runnable);
    set(block + vcpuField.home, BigInt(home));
    const runnable = lpBlock(home) + lpField.runnable;
    set(runnable, view.getBigUint64(Number(runnable), true) | (1n << BigInt(vcpu)));
    set(descriptorOf(vcpu) + 32n, controlWord(hostVector.active, apicIds[home] ?? home));
    set(place.pidTable + BigInt(vcpu * 8), descriptorOf(vcpu) | valid);
  }
  if (!setup.ipiVirtualization) {
    const at = Number(place.msrBitmaps) + writeBitmapLow + (commandMsr >>> 3);
    ram[at] = 1 << (commandMsr & 7);
  }
}

/** The EPT pointer that goes with `loadPosting`: write-back, four levels. */
const eptPointer = BigInt(place.ept) | 6n | (3n << 3n);

/** An LP that runs vCPUs, from its first operation on. */
export function* startLp(context: LpContext, guestEntry: (vcpu: number) => bigint): Script {
  const { environment, lp } = context;
  yield* enableApic();
  yield* enterVmxOperation(environment, vmxonRegion(lp));
  const controls = yield* chooseControls({
    posting: true,
    ipiVirtualization: context.ipiVirtualization,
    pauseLoops: false,
    hltExiting: true,
    preemptionTimer: false,
  });
  for (let vcpu = lp; vcpu < context.vcpus; vcpu += context.lps) {
    yield* createVcpu(context, vcpu, controls, guestEntry(vcpu));
  }
  yield exchangeAdd(machineField.ready, 8, 1n);
  yield* runVcpus(context);
}

function* createVcpu(
  context: LpContext,
  vcpu: number,
  controls: ControlWords,
  entry: bigint,
): Steps<void> {
  yield* createVmcs(context.environment, {
    controls,
    eptPointer,
    pages: {
      vmcs: vmcsOf(vcpu),
      virtualApic: virtualApicOf(vcpu),
      descriptor: descriptorOf(vcpu),
    },
    vpid: vcpu + 1,
    msrBitmaps: place.msrBitmaps,
    notificationVector: hostVector.active,
    pidTable: place.pidTable,
    lastPidIndex: context.vcpus - 1,
    guest: guestStart(vcpu, entry, 0n),
  });
  yield vmwrite(vmcsField.guestIdtrBase, BigInt(guestPlace.idt + vcpu * idtEntryBytes));
  yield store(vcpuBlock(vcpu) + vcpuField.active, 8, BigInt(context.lp + 1));
  context.current = vcpu;
}
