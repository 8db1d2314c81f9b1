import { compute, type Steps, store, vmread, wrmsr } from "../../isa/operations.ts";
import type { CostKey } from "../costs/cost-profile.ts";
import { DescheduleReason } from "../run-record.ts";
import type { WakeReason } from "../schedulers/scheduler.ts";
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
import { skipInstruction, writeField } from "../vmx/vmcs.ts";
import { HypervisorError } from "../vmx/vmx-operation.ts";
import type { HostLp } from "./host-lp.ts";
import { isRequesting } from "./posted-interrupts.ts";
import { populate } from "./second-stage.ts";
import type { SharedState } from "./shared-state.ts";
import { devicePort, hypercall } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

const rax = 0;
const rcx = 1;
const rdx = 2;
const rbx = 3;
const vectorMask = 0xffn;
const shorthandShift = 18n;
/** Exit qualification of a port access. */
const portShift = 16n;
const portIsIn = 8n;

/** What the handlers ask of the LP that they handle exits for. */
export interface ExitContext {
  readonly hypervisor: SharedState;
  readonly lp: HostLp;
  /** An interrupt for the host has been acknowledged. */
  took(vector: number): Steps<void>;
  /** The vCPU has executed HLT, has given way, spins in a loop of PAUSE. */
  halted(vcpu: VirtualCpu): Steps<void>;
  yielded(vcpu: VirtualCpu, to: VirtualCpu | undefined): Steps<void>;
  pauseLoop(vcpu: VirtualCpu): Steps<void>;
  /** An interrupt for a vCPU; `sender` when another one sends it. */
  interrupt(
    vcpu: VirtualCpu,
    vector: number,
    reason: WakeReason,
    sender: VirtualCpu | undefined,
  ): Steps<void>;
  /** A vCPU is to go on though nothing interrupts it. */
  kick(vcpu: VirtualCpu, sender: VirtualCpu): Steps<void>;
  /** @param time nanoseconds from the start of the run, infinity for none */
  setGuestTimer(vcpu: VirtualCpu, time: number): Steps<void>;
}

type Handler = (vcpu: VirtualCpu) => Steps<void>;

/** What an LP does about a VM exit, by basic reason. */
export class ExitHandlers {
  readonly #loop: ExitContext;
  readonly #handlers: Readonly<Record<number, readonly [CostKey, Handler]>>;

  constructor(loop: ExitContext) {
    this.#loop = loop;
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

  *handle(vcpu: VirtualCpu, reason: number): Steps<void> {
    const row = this.#handlers[reason];
    if (row === undefined) {
      const qualification = yield vmread(vmcsField.exitQualification);
      throw new HypervisorError(
        `vCPU ${vcpu.index} of ${vcpu.vm.name}: no handler for VM exit 0x${reason.toString(16)}, qualification 0x${qualification.toString(16)}`,
      );
    }
    const [cost, handler] = row;
    const { costs } = this.#loop.hypervisor.setup;
    yield compute(costs["dispatch.exit"] + costs[cost]);
    yield* handler(vcpu);
  }

  // ——— interrupts

  /** "Acknowledge interrupt on exit": the vector is in the VMCS, the interrupt is in service. */
  *#external(): Steps<void> {
    const information = yield vmread(vmcsField.exitInterruptionInformation);
    yield wrmsr(msr.x2apicEoi, 0n);
    this.#loop.lp.reason = DescheduleReason.Preempt;
    yield* this.#loop.took(Number(information & vectorMask));
  }

  /**
   * Something waits for a vCPU that is about to be entered: its interrupt of highest priority is injected, or as soon as it can
   * take one there is to be a VM exit.
   */
  *prepareInterrupt(vcpu: VirtualCpu): Steps<void> {
    if (this.#posts) {
      yield* takePosted(vcpu.pages.descriptor, vcpu.pages.virtualApic);
      return;
    }
    if (vcpu.pending.isEmpty) return;
    const flags = yield vmread(vmcsField.guestRflags);
    const shadow = yield vmread(vmcsField.guestInterruptibility);
    const isOpen = (flags & flagIf) !== 0n && (shadow & (blockingBySti | blockingByMovSs)) === 0n;
    if (isOpen) yield* this.#inject(vcpu);
    if (!vcpu.pending.isEmpty) yield* this.#setWindow(vcpu, true);
  }

  *#inject(vcpu: VirtualCpu): Steps<void> {
    const vector = vcpu.pending.takeHighest();
    if (vector === undefined) return;
    yield compute(this.#loop.hypervisor.setup.costs["event.injection"]);
    yield* writeField(
      vmcsField.entryInterruptionInformation,
      injectExternalInterrupt | BigInt(vector),
    );
  }

  *#window(vcpu: VirtualCpu): Steps<void> {
    yield* this.#setWindow(vcpu, false);
    yield* this.#inject(vcpu);
    if (!vcpu.pending.isEmpty) yield* this.#setWindow(vcpu, true);
  }

  *#setWindow(vcpu: VirtualCpu, isOn: boolean): Steps<void> {
    if (vcpu.hasInterruptWindow === isOn) return;
    vcpu.hasInterruptWindow = isOn;
    const word = vcpu.controls?.primary ?? 0n;
    const bit = isOn ? BigInt(primary.interruptWindowExiting) : 0n;
    yield* writeField(vmcsField.primaryControls, word | bit);
  }

  // ——— instructions

  *#cpuid(vcpu: VirtualCpu): Steps<void> {
    vcpu.registers.fill(0n, rax, rbx + 1);
    yield* skipInstruction();
  }

  /** HLT: the vCPU rests until an interrupt, or a sibling's kick. */
  *#halt(vcpu: VirtualCpu): Steps<void> {
    yield* skipInstruction();
    if (this.#posts && !vcpu.hasRequest && (yield* isRequesting())) return;
    if (!vcpu.isAwake) yield* this.#loop.halted(vcpu);
    vcpu.isKicked = false;
  }

  get #posts(): boolean {
    return this.#loop.hypervisor.setup.features.posting;
  }

  *#pause(vcpu: VirtualCpu): Steps<void> {
    yield* skipInstruction();
    yield* this.#loop.pauseLoop(vcpu);
  }

  *#call(vcpu: VirtualCpu): Steps<void> {
    const number = vcpu.registers[rax] ?? 0n;
    const argument = Number(vcpu.registers[rbx] ?? 0n);
    vcpu.registers[rax] = 0n;
    yield* skipInstruction();
    const { vcpus } = vcpu.vm;
    if (number === hypercall.yield) {
      yield* this.#loop.yielded(vcpu, vcpus[argument - 1]);
    } else if (number === hypercall.kick) {
      const target = vcpus[argument];
      if (target !== undefined) yield* this.#loop.kick(target, vcpu);
    } else {
      vcpu.registers[rax] = 0xffff_ffff_ffff_ffffn;
    }
  }

  /**
   * A port of the device. It is emulated by a program of the host, but for the notification, which only makes another thread look: that
   * is settled in the kernel.
   */
  *#port(vcpu: VirtualCpu): Steps<void> {
    const qualification = yield vmread(vmcsField.exitQualification);
    const port = Number(qualification >> portShift);
    const { registers } = vcpu;
    const { costs } = this.#loop.hypervisor.setup;
    yield* skipInstruction();
    if ((qualification & portIsIn) !== 0n) {
      registers[rax] = 0n;
      yield compute(costs["handle.port-in"] - costs["handle.port-out"]);
    }
    if (port !== devicePort.notify) {
      yield compute(costs["handle.user-space"]);
      return;
    }
    const { devices } = this.#loop.hypervisor.plan;
    yield store(BigInt(devices), 8, (registers[rax] ?? 0n) & 0xffff_ffffn);
  }

  *#violation(vcpu: VirtualCpu): Steps<void> {
    const address = yield vmread(vmcsField.guestPhysicalAddress);
    const { plan } = this.#loop.hypervisor;
    if (yield* populate(plan, vcpu.vm.id, address)) {
      yield* this.#deliverAgain(vcpu);
      return;
    }
    throw new HypervisorError(
      `vCPU ${vcpu.index} of ${vcpu.vm.name} accesses guest-physical 0x${address.toString(16)}, where there is nothing`,
    );
  }

  /** An interrupt that was on the way to its handler when the guest was left has not arrived, and is not pending any more. */
  *#deliverAgain(vcpu: VirtualCpu): Steps<void> {
    const information = yield vmread(vmcsField.idtVectoringInformation);
    if ((information & injectExternalInterrupt) === 0n) return;
    const vector = information & vectorMask;
    if (this.#posts) {
      yield* writeField(vmcsField.entryInterruptionInformation, injectExternalInterrupt | vector);
    } else {
      vcpu.pending.add(Number(vector));
      vcpu.hasRequest = true;
    }
  }

  *#readMsr(vcpu: VirtualCpu): Steps<void> {
    const index = Number((vcpu.registers[rcx] ?? 0n) & 0xffff_ffffn);
    vcpu.registers[rax] = index === msr.x2apicId ? BigInt(vcpu.index) : 0n;
    vcpu.registers[rdx] = 0n;
    yield* skipInstruction();
  }

  *#writeMsr(vcpu: VirtualCpu): Steps<void> {
    const { registers } = vcpu;
    const index = Number((registers[rcx] ?? 0n) & 0xffff_ffffn);
    const value = ((registers[rdx] ?? 0n) << 32n) | ((registers[rax] ?? 0n) & 0xffff_ffffn);
    yield* skipInstruction();
    if (index === msr.x2apicCommand) {
      yield* this.#sendIpi(vcpu, value);
    } else if (index === msr.tscDeadline) {
      const { origin = 0, setup } = this.#loop.hypervisor;
      yield compute(setup.costs["timer.program"]);
      const time = value === 0n ? Number.POSITIVE_INFINITY : Number(value) - origin;
      yield* this.#loop.setGuestTimer(vcpu, time);
    }
  }

  /** The interrupt command register in x2APIC mode: fixed interrupts to one, to all others, or to oneself. */
  *#sendIpi(vcpu: VirtualCpu, command: bigint): Steps<void> {
    const vector = Number(command & vectorMask);
    const shorthand = Number((command >> shorthandShift) & 3n);
    const destination = Number(command >> 32n);
    for (const target of vcpu.vm.vcpus) {
      const isMeant = [target.index === destination, target === vcpu, true, target !== vcpu][
        shorthand
      ];
      if (isMeant) yield* this.#loop.interrupt(target, vector, "interrupt", vcpu);
    }
  }
}
