import { type OwnOperations, type Steps, store, wrmsr } from "../../isa/operations.ts";
import type { CostKey } from "../costs/cost-profile.ts";
import { DescheduleReason } from "../run-record.ts";
import {
  blockingByMovSs,
  blockingBySti,
  exitReason,
  flagIf,
  injectExternalInterrupt,
  msr,
  primary,
  vmcsField,
} from "../vmx/architecture.ts";
import { takePosted } from "../vmx/posted-interrupts.ts";
import { skipInstructionAtOnce } from "../vmx/vmcs-at-once.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { HostLp } from "./host-lp.ts";
import type { LpCalls } from "./lp-calls.ts";
import type { VcpuInterrupts } from "./lp-interrupts.ts";
import type { LpPolicy } from "./lp-policy.ts";
import type { LpTimers } from "./lp-timers.ts";
import { populate } from "./second-stage.ts";
import type { SharedState } from "./shared-state.ts";
import { devicePort, hypercall } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

const rax = 0;
const rcx = 1;
const rdx = 2;
const rbx = 3;
const vectorMask = 0xffn;
const vectorBits = 0xff;
const endOfInterrupt = wrmsr(msr.x2apicEoi, 0n);
const shorthandShift = 18n;
/** Destination shorthands of the interrupt command register. */
const Shorthand = { None: 0, Self: 1, All: 2, Others: 3 } as const;
/** Exit qualification of a port access. */
const portShift = 16n;
const portIsIn = 8n;

/** What the handlers ask of the LP that they handle exits for. */
export interface ExitContext {
  readonly hypervisor: SharedState;
  readonly lp: HostLp;
  readonly calls: LpCalls;
  readonly policy: LpPolicy;
  readonly interrupts: VcpuInterrupts;
  readonly timers: LpTimers;
  /** An interrupt for the host has been acknowledged. */
  took(vector: number): Steps<void> | undefined;
  /** The vCPU has executed HLT. */
  halted(vcpu: VirtualCpu): Steps<void> | undefined;
}

/** Does what it can at once. @returns what is left that others have to do with, if anything */
type Handler = (vcpu: VirtualCpu) => Steps<void> | undefined;

/** What an LP does about a VM exit, by basic reason. */
export class ExitHandlers {
  readonly #loop: ExitContext;
  readonly #own: OwnOperations;
  readonly #handlers: Readonly<Record<number, readonly [CostKey, Handler]>>;

  constructor(loop: ExitContext) {
    this.#loop = loop;
    this.#own = loop.lp.environment.own;
    this.#handlers = {
      [exitReason.externalInterrupt]: ["handle.external-interrupt", () => this.#external()],
      [exitReason.interruptWindow]: ["handle.interrupt-window", (vcpu) => this.#window(vcpu)],
      [exitReason.cpuid]: ["handle.cpuid", (vcpu) => this.#cpuid(vcpu)],
      [exitReason.hlt]: ["handle.hlt", (vcpu) => this.#halt(vcpu)],
      [exitReason.vmcall]: ["handle.vmcall", (vcpu) => this.#call(vcpu)],
      [exitReason.wrmsr]: ["handle.msr", (vcpu) => this.#writeMsr(vcpu)],
      [exitReason.rdmsr]: ["handle.msr", (vcpu) => this.#readMsr(vcpu)],
      [exitReason.io]: ["handle.port-out", (vcpu) => this.#port(vcpu)],
      [exitReason.eptViolation]: ["handle.ept-violation", (vcpu) => this.#violation(vcpu)],
      [exitReason.pause]: ["handle.pause", (vcpu) => this.#pause(vcpu)],
    };
  }

  handle(vcpu: VirtualCpu, reason: number): Steps<void> | undefined {
    const row = this.#handlers[reason];
    if (row === undefined) {
      const qualification = this.#own.vmread(vmcsField.exitQualification);
      throw new HypervisorError(
        `vCPU ${vcpu.index} of ${vcpu.vm.name}: no handler for VM exit 0x${reason.toString(16)}, qualification 0x${qualification.toString(16)}`,
      );
    }
    const [cost, handler] = row;
    const { costs } = this.#loop.hypervisor.setup;
    this.#loop.calls.owe(costs["dispatch.exit"] + costs[cost]);
    return handler(vcpu);
  }

  // ——— interrupts

  /** "Acknowledge interrupt on exit": the vector is in the VMCS, the interrupt is in service. */
  #external(): Steps<void> | undefined {
    const information = this.#own.vmreadLow(vmcsField.exitInterruptionInformation);
    this.#own.execute(endOfInterrupt);
    this.#loop.lp.reason = DescheduleReason.Preempt;
    return this.#loop.took(information & vectorBits);
  }

  /**
   * Something waits for a vCPU that is about to be entered: its interrupt of highest priority is injected, or as soon as it can
   * take one there is to be a VM exit.
   */
  prepareInterrupt(vcpu: VirtualCpu): void {
    if (this.#posts()) {
      this.#own.run(takePosted(vcpu.pages.descriptor, vcpu.pages.virtualApic));
      return;
    }
    if (vcpu.pending.isEmpty) return;
    const flags = this.#own.vmread(vmcsField.guestRflags);
    const shadow = this.#own.vmread(vmcsField.guestInterruptibility);
    const isOpen = (flags & flagIf) !== 0n && (shadow & (blockingBySti | blockingByMovSs)) === 0n;
    if (isOpen) this.#inject(vcpu);
    if (!vcpu.pending.isEmpty) this.#setWindow(vcpu, true);
  }

  #inject(vcpu: VirtualCpu): void {
    const vector = vcpu.pending.takeHighest();
    if (vector === undefined) return;
    this.#loop.calls.owe(this.#loop.hypervisor.setup.costs["event.injection"]);
    const information = injectExternalInterrupt | BigInt(vector);
    this.#own.vmwrite(vmcsField.entryInterruptionInformation, information);
  }

  #window(vcpu: VirtualCpu): undefined {
    this.#setWindow(vcpu, false);
    this.#inject(vcpu);
    if (!vcpu.pending.isEmpty) this.#setWindow(vcpu, true);
  }

  #setWindow(vcpu: VirtualCpu, isOn: boolean): void {
    if (vcpu.hasInterruptWindow === isOn) return;
    vcpu.hasInterruptWindow = isOn;
    const word = vcpu.controls?.primary ?? 0n;
    const bit = isOn ? BigInt(primary.interruptWindowExiting) : 0n;
    this.#own.vmwrite(vmcsField.primaryControls, word | bit);
  }

  // ——— instructions

  #cpuid(vcpu: VirtualCpu): undefined {
    vcpu.registers.fill(0n, rax, rbx + 1);
    skipInstructionAtOnce(this.#own);
  }

  /** HLT: the vCPU rests until an interrupt, or a sibling's kick. */
  #halt(vcpu: VirtualCpu): Steps<void> | undefined {
    skipInstructionAtOnce(this.#own);
    if (this.#posts() && !vcpu.hasRequest && this.#isRequesting()) return undefined;
    const steps = vcpu.isAwake ? undefined : this.#loop.halted(vcpu);
    if (steps === undefined) {
      vcpu.isKicked = false;
      return undefined;
    }
    return forgettingKicks(vcpu, steps);
  }

  /** The current VMCS's virtual APIC has an interrupt to deliver: handlers of these guests do not nest. */
  #isRequesting(): boolean {
    return (this.#own.vmreadLow(vmcsField.guestInterruptStatus) & vectorBits) !== 0;
  }

  #posts(): boolean {
    return this.#loop.hypervisor.setup.features.posting;
  }

  #pause(vcpu: VirtualCpu): Steps<void> | undefined {
    const { policy } = this.#loop;
    policy.pauseLoop(vcpu);
    skipInstructionAtOnce(this.#own);
    return policy.hasWishes ? policy.carryOut() : undefined;
  }

  #call(vcpu: VirtualCpu): Steps<void> | undefined {
    const { interrupts, policy } = this.#loop;
    const number = vcpu.registers[rax] ?? 0n;
    const argument = Number(vcpu.registers[rbx] ?? 0n);
    vcpu.registers[rax] = 0n;
    skipInstructionAtOnce(this.#own);
    const { vcpus } = vcpu.vm;
    if (number === hypercall.yield) {
      policy.yielded(vcpu, vcpus[argument - 1]);
      return policy.hasWishes ? policy.carryOut() : undefined;
    }
    if (number === hypercall.kick) {
      const target = vcpus[argument];
      return target === undefined ? undefined : interrupts.kick(target, vcpu);
    }
    vcpu.registers[rax] = 0xffff_ffff_ffff_ffffn;
    return undefined;
  }

  /**
   * A port of the device. It is emulated by a program of the host, but for the notification, which only makes another thread look: that
   * is settled in the kernel.
   */
  *#port(vcpu: VirtualCpu): Steps<void> {
    const qualification = this.#own.vmread(vmcsField.exitQualification);
    const port = Number(qualification >> portShift);
    const { registers } = vcpu;
    const { calls, hypervisor } = this.#loop;
    const { costs } = hypervisor.setup;
    skipInstructionAtOnce(this.#own);
    if ((qualification & portIsIn) !== 0n) {
      registers[rax] = 0n;
      calls.owe(costs["handle.port-in"] - costs["handle.port-out"]);
    }
    if (port !== devicePort.notify) {
      calls.owe(costs["handle.user-space"]);
      return;
    }
    yield calls.payment();
    const { devices } = this.#loop.hypervisor.plan;
    yield store(BigInt(devices), 8, (registers[rax] ?? 0n) & 0xffff_ffffn);
  }

  *#violation(vcpu: VirtualCpu): Steps<void> {
    const address = this.#own.vmread(vmcsField.guestPhysicalAddress);
    const { plan } = this.#loop.hypervisor;
    if (yield* populate(plan, vcpu.vm.id, address)) {
      this.#deliverAgain(vcpu);
      return;
    }
    throw new HypervisorError(
      `vCPU ${vcpu.index} of ${vcpu.vm.name} accesses guest-physical 0x${address.toString(16)}, where there is nothing`,
    );
  }

  /** An interrupt that was on the way to its handler when the guest was left has not arrived, and is not pending any more. */
  #deliverAgain(vcpu: VirtualCpu): void {
    const information = this.#own.vmread(vmcsField.idtVectoringInformation);
    if ((information & injectExternalInterrupt) === 0n) return;
    const vector = information & vectorMask;
    if (this.#posts()) {
      this.#own.vmwrite(vmcsField.entryInterruptionInformation, injectExternalInterrupt | vector);
    } else {
      vcpu.pending.add(Number(vector));
      vcpu.hasRequest = true;
    }
  }

  #readMsr(vcpu: VirtualCpu): undefined {
    const index = Number((vcpu.registers[rcx] ?? 0n) & 0xffff_ffffn);
    vcpu.registers[rax] = index === msr.x2apicId ? BigInt(vcpu.index) : 0n;
    vcpu.registers[rdx] = 0n;
    skipInstructionAtOnce(this.#own);
  }

  #writeMsr(vcpu: VirtualCpu): Steps<void> | undefined {
    const { registers } = vcpu;
    const index = Number((registers[rcx] ?? 0n) & 0xffff_ffffn);
    const value = ((registers[rdx] ?? 0n) << 32n) | ((registers[rax] ?? 0n) & 0xffff_ffffn);
    skipInstructionAtOnce(this.#own);
    if (index === msr.x2apicCommand) return this.#sendIpi(vcpu, value);
    if (index === msr.tscDeadline) {
      const { origin = 0, setup } = this.#loop.hypervisor;
      this.#loop.calls.owe(setup.costs["timer.program"]);
      const time = value === 0n ? Number.POSITIVE_INFINITY : Number(value) - origin;
      this.#loop.timers.set(vcpu, time);
    }
    return undefined;
  }

  /** The interrupt command register in x2APIC mode: fixed interrupts to one, to all others, or to oneself. */
  *#sendIpi(vcpu: VirtualCpu, command: bigint): Steps<void> {
    const vector = Number(command & vectorMask);
    const shorthand = Number((command >> shorthandShift) & 3n);
    const { vcpus } = vcpu.vm;
    const { interrupts } = this.#loop;
    if (shorthand === Shorthand.None) {
      const target = vcpus[Number(command >> 32n)];
      if (target !== undefined) yield* interrupts.interrupt(target, vector, "interrupt", vcpu);
      return;
    }
    for (const target of vcpus) {
      const isMeant =
        shorthand === Shorthand.All || (shorthand === Shorthand.Self) === (target === vcpu);
      if (isMeant) yield* interrupts.interrupt(target, vector, "interrupt", vcpu);
    }
  }
}

/** Behind HLT kicks that have come so far count no more. */
function* forgettingKicks(vcpu: VirtualCpu, steps: Steps<void>): Steps<void> {
  yield* steps;
  vcpu.isKicked = false;
}
