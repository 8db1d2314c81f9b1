import {
  compute,
  rdmsr,
  type ScriptEnvironment,
  type Steps,
  store,
  vmclear,
  wrmsr,
} from "../../isa/operations.ts";
import { msr, vmcsField } from "../vmx/architecture.ts";
import { type ControlWords, chooseControls } from "../vmx/controls.ts";
import { guestLayout, guestStart, interruptGate, userStart } from "../vmx/guest-memory.ts";
import { createVmcs, writeField } from "../vmx/vmcs.ts";
import { enableApic, enterVmxOperation } from "../vmx/vmx-operation.ts";
import { guestProgram } from "./guest-software.ts";
import { fillPidTable, setVirtualApicId } from "./posted-interrupts.ts";
import type { SharedState } from "./shared-state.ts";
import { guestVector, hostVector } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** How long an LP waits between two looks at whether the others are ready. */
const glance = 200;
/** TSC-deadline mode of the local APIC's timer. */
const deadlineMode = 2n << 17n;
const gateBytes = 16;

/**
 * Takes an LP into VMX operation, makes its part of the VMCSs, and waits until all have done so and the run has started. LP 0, which prepares
 * the guests, does not wait for the start: it is to make it.
 * @returns by how much the preemption timer's ticks are longer than nanoseconds, as a shift
 */
export function* prepareLp(hypervisor: SharedState, environment: ScriptEnvironment): Steps<number> {
  const { plan, setup, vcpus } = hypervisor;
  const { lp } = environment;
  const lpCount = setup.topology.lps.length;
  yield* enableApic();
  yield wrmsr(msr.x2apicTimer, deadlineMode | BigInt(hostVector.timer));
  yield* enterVmxOperation(environment, BigInt(plan.vmxonRegions[lp] ?? 0));
  const timerShift = Number((yield rdmsr(msr.misc)) & 31n);
  const { posting, ipiVirtualization, pauseWindow } = setup.features;
  const controls = yield* chooseControls({
    posting,
    ipiVirtualization,
    pauseLoops: pauseWindow > 0,
    hltExiting: true,
    preemptionTimer: true,
  });
  if (lp === 0) yield* prepareGuests(hypervisor, environment);
  for (const vcpu of vcpus) {
    if (vcpu.id % lpCount === lp) yield* prepareVcpu(hypervisor, environment, vcpu, controls);
  }
  hypervisor.prepared += 1;
  while (hypervisor.prepared < lpCount || (hypervisor.origin === undefined && lp !== 0)) {
    yield compute(glance);
  }
  return timerShift;
}

function* prepareGuests(hypervisor: SharedState, environment: ScriptEnvironment): Steps<void> {
  const { plan, vms, setup } = hypervisor;
  const { ipiVirtualization, posting } = setup.features;
  for (const vm of vms) {
    if (ipiVirtualization) vm.usesDescriptors = true;
    if (!posting) vm.usesDescriptors = false;
    yield* fillPidTable(BigInt(plan.pidTables[vm.id] ?? 0), vm.vcpus);
    if (setup.vms[vm.id]?.image !== undefined) continue;
    const idt = BigInt((plan.guests[vm.id] ?? 0) + guestLayout.idt);
    for (const vector of Object.values(guestVector)) {
      const gate = environment.gate(guestProgram.interrupt, vector);
      const at = idt + BigInt(vector * gateBytes);
      const [low, high] = interruptGate(gate);
      yield store(at, 8, low);
      yield store(at + 8n, 8, high);
    }
  }
}

function* prepareVcpu(
  hypervisor: SharedState,
  environment: ScriptEnvironment,
  vcpu: VirtualCpu,
  controls: ControlWords,
): Steps<void> {
  const { plan, setup } = hypervisor;
  const { pauseGap, pauseWindow } = setup.features;
  const isUser = hypervisor.guests[vcpu.id]?.isUser === true;
  const entry =
    setup.vms[vcpu.vm.id]?.image?.entry(vcpu.index) ??
    environment.entry(guestProgram.main, vcpu.id);
  yield* createVmcs(environment, {
    controls,
    pages: vcpu.pages,
    eptPointer: hypervisor.eptPointer(vcpu.vm),
    vpid: vcpu.vpid,
    msrBitmaps: BigInt(plan.msrBitmaps),
    notificationVector: hostVector.posted,
    pidTable: BigInt(plan.pidTables[vcpu.vm.id] ?? 0),
    lastPidIndex: vcpu.vm.vcpus.length - 1,
    guest: isUser ? userStart(vcpu.index, entry) : guestStart(vcpu.index, entry, 0n),
  });
  if (pauseWindow > 0) {
    yield* writeField(vmcsField.pleGap, BigInt(pauseGap));
    yield* writeField(vmcsField.pleWindow, BigInt(pauseWindow));
    vcpu.pauseGap = pauseGap;
    vcpu.pauseWindow = pauseWindow;
  }
  vcpu.controls = controls;
  yield* setVirtualApicId(vcpu);
  yield vmclear(vcpu.pages.vmcs);
}
