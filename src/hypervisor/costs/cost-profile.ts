import { OperationKind } from "../../isa/operations.ts";

/** What is known of a cost: measured by somebody who published it, or a guess of ours. */
export const costTags = ["published", "estimate"] as const;
export type CostTag = (typeof costTags)[number];

export const costUnits = ["cycles", "ns", "us"] as const;
export type CostUnit = (typeof costUnits)[number];

/** One entry of a profile. */
export interface Cost {
  readonly value: number;
  readonly unit: CostUnit;
  /** Where the value comes from, or how it was guessed. */
  readonly source: string;
  readonly tag: CostTag;
}

/** Cycles per nanosecond of the processor the profile speaks of: turns its cycles into time. */
export interface ClockRate {
  readonly value: number;
  readonly unit: "GHz";
  readonly source: string;
  readonly tag: CostTag;
}

/** What everything costs on one kind of machine under one kind of hypervisor. */
export interface CostProfile {
  /** As given on the command line. */
  readonly name: string;
  readonly title: string;
  readonly clock: ClockRate;
  readonly costs: Readonly<Record<CostKey, Cost>>;
}

/** An operation of scripted software by itself, without the VM exit it may cause. `Compute` costs this beside its own cycles. */
export type OperationCostKey = `operation.${keyof typeof OperationKind}`;

/** Everything else, with what it stands for. Each is charged in addition to what it is made of. */
export const otherCosts = {
  "vmx.exit": "the processor leaves a guest, until the first operation of the hypervisor",
  "vmx.entry": "VMLAUNCH or VMRESUME, until the first operation of the guest",
  "vmx.vmcs-migration": "a VMCS is moved to another LP, beside VMCLEAR and VMPTRLD",
  "event.delivery":
    "an interrupt or exception goes through the IDT, until its handler's first operation",
  "event.return": "IRET",
  "event.injection":
    "an interrupt reaches a guest through a VM exit and injection, beside that exit",
  "ipi.send": "the sender's part of an IPI",
  "ipi.latency": "from there until the target LP has it",
  "ipi.to-guest": "an IPI between vCPUs that run, with IPI virtualization, until it is handled",
  "posted.notification": "a posted interrupt reaches a guest that runs",
  "posted.descheduled": "a posted interrupt makes the hypervisor wake a vCPU that does not run",
  "device.interrupt": "from a device's message until an LP has it",
  "timer.program": "setting a guest's deadline timer through a VM exit, beside that exit",
  "timer.preemption": "setting it in the VMX-preemption timer",
  "dispatch.exit": "software part of every VM exit: saving registers, finding the handler",
  "handle.cpuid": "emulation of CPUID",
  "handle.hlt": "HLT: deciding to poll or to block",
  "handle.pause": "PAUSE-loop exit, without the candidate scan",
  "handle.pause-candidate": "each candidate a directed yield looks at",
  "handle.external-interrupt": "external interrupt",
  "handle.interrupt-window": "interrupt window",
  "handle.vmcall": "a hypercall",
  "handle.msr": "RDMSR or WRMSR, a write to the ICR among them",
  "handle.port-in": "a read of an I/O port in the kernel",
  "handle.port-out": "a write of an I/O port in the kernel",
  "handle.user-space": "emulation in user space, beside its kernel part",
  "handle.ept-violation": "EPT violation",
  "schedule.pick": "a decision of the policy",
  "schedule.wake": "making a vCPU ready",
  "switch.same-vm": "another vCPU of the same VM is loaded, beside the VMCS",
  "switch.other-vm": "a vCPU of another VM is loaded, beside the VMCS",
  "warm.same-lp": "a vCPU finds its LP's caches used by another",
  "warm.sibling": "a vCPU comes from the SMT sibling",
  "warm.core": "a vCPU comes from another core of the socket",
  "warm.socket": "a vCPU comes from another socket",
  "idle.c1-wake": "an LP leaves C1",
  "idle.c1e-wake": "an LP leaves C1E",
  "idle.c6-wake": "an LP leaves C6",
  "idle.c1e-after": "an LP idle for so long is in C1E",
  "idle.c6-after": "an LP idle for so long is in C6",
  "memory.local": "an access to memory of the same socket",
  "memory.remote": "an access to memory of another socket",
  "memory.line-transfer": "a cache line another core of the socket has changed",
  "memory.line-transfer-remote": "a cache line another socket has changed",
  "tlb.miss-native": "TLB miss without second-stage translation",
  "tlb.miss-ept-4k": "TLB miss with EPT of 4-KByte pages",
  "tlb.miss-ept-2m": "TLB miss with EPT of 2-MByte pages",
  "iotlb.hit": "DMA translation found in the IOTLB",
  "iotlb.miss": "DMA translation by a page walk",
} as const;

export type CostKey = OperationCostKey | keyof typeof otherCosts;

const operationNames = Object.keys(OperationKind).filter(isOperationName);

function isOperationName(name: string): name is keyof typeof OperationKind {
  return Object.hasOwn(OperationKind, name);
}

/** All keys of a profile, operations first. */
export const costKeys: readonly CostKey[] = [
  ...operationNames.map((name): CostKey => `operation.${name}`),
  ...Object.keys(otherCosts).filter(isOtherCost),
];

function isOtherCost(key: string): key is keyof typeof otherCosts {
  return Object.hasOwn(otherCosts, key);
}

/** How many entries of a profile are known in which way, its clock not counted. */
export function tagMix(profile: CostProfile): Readonly<Record<CostTag, number>> {
  const mix = { published: 0, estimate: 0 };
  for (const key of costKeys) {
    mix[profile.costs[key].tag]++;
  }
  return mix;
}

/** The profile with all entries of a tag multiplied: for asking whether a result hangs on what was only guessed. */
export function scaled(profile: CostProfile, factor: number, tag: CostTag): CostProfile {
  const entries = costKeys.map((key): [CostKey, Cost] => {
    const cost = profile.costs[key];
    return [key, cost.tag === tag ? { ...cost, value: cost.value * factor } : cost];
  });
  return {
    ...profile,
    name: `${profile.name} (${tag} ×${factor})`,
    costs: Object.fromEntries(entries) as Record<CostKey, Cost>,
  };
}

/** A profile as the machine uses it: whole nanoseconds. */
export interface CostTable {
  /** By `OperationKind`. */
  readonly operations: Float64Array;
  readonly of: Readonly<Record<CostKey, number>>;
}

export function costTable(profile: CostProfile): CostTable {
  const of = Object.fromEntries(
    costKeys.map((key) => [key, Math.round(nanoseconds(profile, profile.costs[key]))]),
  ) as Record<CostKey, number>;
  const operations = new Float64Array(operationNames.length);
  for (const name of operationNames) {
    operations[OperationKind[name]] = of[`operation.${name}`];
  }
  return { operations, of };
}

function nanoseconds(profile: CostProfile, { value, unit }: Cost): number {
  switch (unit) {
    case "cycles":
      return value / profile.clock.value;
    case "ns":
      return value;
    case "us":
      return value * 1000;
  }
}
