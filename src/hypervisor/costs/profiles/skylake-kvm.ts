import type { CostProfile } from "../cost-profile.ts";

const kvmExitTest = "exit benchmark of the KVM unit tests, as published on the KVM list";
const ipiVirtualization = "Linux patch series on IPI virtualization: IPI benchmark, x2APIC";
const intelIdle = "C-state table of Linux's intel_idle for this processor";
const memoryLatency = "published memory latency measurements of two-socket servers";

/** A hardware cost or a piece of KVM that nobody published by itself. */
const guess = (value: number, source: string) =>
  ({ value, unit: "cycles", source, tag: "estimate" }) as const;
const published = (value: number, source: string) =>
  ({ value, unit: "cycles", source, tag: "published" }) as const;
const nanoseconds = (value: number, source: string, tag: "published" | "estimate" = "estimate") =>
  ({ value, unit: "ns", source, tag }) as const;
const microseconds = (value: number, source: string, tag: "published" | "estimate" = "estimate") =>
  ({ value, unit: "us", source, tag }) as const;

const oneCycle = guess(1, "throughput of a simple instruction");
const lockedCached = guess(20, "a locked instruction on a line the core owns");
const slowRegister = guess(25, "a serializing or microcoded register access");
const nothing = guess(0, "not an instruction");
const lessThanExit = "published total of its exit less exit, entry and dispatch";

/**
 * A two-socket Skylake server under KVM with 4-KByte EPT pages. The parts of a VM exit are guessed so that they add up to the
 * published totals: VMCALL 1181, CPUID 1291, port read 2339, port write 1391 cycles.
 */
export const skylakeKvm = {
  name: "skylake-kvm",
  title: "Skylake server, KVM",
  clock: { value: 2.5, unit: "GHz", source: "base frequency of a usual model", tag: "estimate" },
  costs: {
    "operation.Compute": nothing,
    "operation.Load": guess(4, "load from the first-level cache"),
    "operation.Store": oneCycle,
    "operation.CompareExchange": lockedCached,
    "operation.Exchange": lockedCached,
    "operation.ExchangeAdd": lockedCached,
    "operation.LockedOr": lockedCached,
    "operation.LockedAnd": lockedCached,
    "operation.BitTestAndSet": lockedCached,
    "operation.BitTestAndReset": lockedCached,
    "operation.CompareExchange16": guess(25, "a locked instruction on a line the core owns"),
    "operation.Fence": guess(33, "MFENCE without stores outstanding"),
    "operation.Cpuid": guess(100, "CPUID in root operation"),
    "operation.ReadMsr": guess(40, "RDMSR of a common MSR"),
    "operation.WriteMsr": guess(90, "WRMSR of a common MSR"),
    "operation.ReadTsc": slowRegister,
    "operation.ReadControl": slowRegister,
    "operation.WriteControl": guess(100, "MOV to a control register"),
    "operation.PortIn": nanoseconds(300, "a port of a device near the processor"),
    "operation.PortOut": nanoseconds(300, "a port of a device near the processor"),
    "operation.Halt": oneCycle,
    "operation.Pause": guess(140, "PAUSE since Skylake"),
    "operation.SetInterruptFlag": oneCycle,
    "operation.ClearInterruptFlag": oneCycle,
    "operation.InvalidatePage": guess(120, "INVLPG"),
    "operation.VmxOn": guess(300, "as VMCLEAR"),
    "operation.VmxOff": guess(300, "as VMCLEAR"),
    "operation.VmClear": guess(300, "writes the cached VMCS to memory"),
    "operation.VmPtrLoad": guess(150, "loads a VMCS the LP has not cached"),
    "operation.VmPtrStore": slowRegister,
    "operation.VmRead": guess(30, "without shadowing"),
    "operation.VmWrite": guess(35, "without shadowing"),
    "operation.VmLaunch": nothing,
    "operation.VmResume": nothing,
    "operation.VmCall": nothing,
    "operation.VmFunc": guess(130, "EPTP switching"),
    "operation.InvalidateEpt": guess(500, "single context"),
    "operation.InvalidateVpid": guess(350, "from one address to all contexts"),
    "operation.Note": nothing,
    "operation.Spin": guess(140, "PAUSE since Skylake"),
    "operation.SpinUntil": guess(140, "PAUSE since Skylake"),

    "vmx.exit": guess(500, "half of what hardware takes of a published exit"),
    "vmx.entry": guess(500, "half of what hardware takes of a published exit"),
    "vmx.vmcs-migration": guess(1500, "cache misses on the VMCS, and the IPI's share of work"),

    "event.delivery": guess(350, "IDT, stack and descriptor accesses"),
    "event.return": guess(150, "IRET to the same privilege level"),
    "event.injection": guess(1300, "2500 in all, of which exit, entry and dispatch"),

    "ipi.send": guess(200, "write of the ICR in x2APIC mode"),
    "ipi.latency": guess(1700, "interconnect and APICs"),
    "ipi.to-guest": published(3768, ipiVirtualization),
    "posted.notification": guess(600, "processing of the descriptor in non-root operation"),
    "posted.descheduled": guess(3000, "wake-up vector, list of blocked vCPUs"),
    "device.interrupt": guess(1000, "message through the root complex"),
    "timer.program": guess(2020, "published 3200 of a TSC-deadline write less its exit"),
    "timer.preemption": guess(1220, "published 800 less than with a host timer"),

    "dispatch.exit": guess(180, "published 1181 of VMCALL less exit and entry"),
    "handle.cpuid": guess(110, lessThanExit),
    "handle.hlt": guess(400, "state change, statistics"),
    "handle.pause": guess(200, "window bookkeeping"),
    "handle.pause-candidate": guess(40, "a few cache lines of another vCPU"),
    "handle.external-interrupt": guess(600, "the host's own handler"),
    "handle.interrupt-window": guess(150, "priority check"),
    "handle.vmcall": guess(0, "included in the published exit"),
    "handle.msr": guess(300, "MSR tables"),
    "handle.port-in": guess(1158, lessThanExit),
    "handle.port-out": guess(210, lessThanExit),
    "handle.user-space": published(4900, kvmExitTest),
    "handle.ept-violation": guess(2500, "page fault of the second stage that finds its page"),

    "schedule.pick": guess(500, "a run queue under its lock"),
    "schedule.wake": guess(700, "a run queue under its lock, choice of an LP"),
    "switch.same-vm": guess(2500, "published world switch of 2000 and state of the vCPU"),
    "switch.other-vm": guess(4800, "address spaces, prediction barrier"),
    "warm.same-lp": microseconds(3, "first-level caches and TLB are refilled"),
    "warm.sibling": microseconds(1, "TLB and predictors; the caches are shared"),
    "warm.core": microseconds(10, "first- and second-level caches are refilled"),
    "warm.socket": microseconds(30, "all caches are refilled, memory is remote"),

    "idle.c1-wake": microseconds(2, intelIdle, "published"),
    "idle.c1e-wake": microseconds(10, intelIdle, "published"),
    "idle.c6-wake": microseconds(133, intelIdle, "published"),
    "idle.c1e-after": microseconds(20, `${intelIdle}: target residency`, "published"),
    "idle.c6-after": microseconds(600, `${intelIdle}: target residency`, "published"),

    "memory.local": nanoseconds(78, memoryLatency, "published"),
    "memory.remote": nanoseconds(143, memoryLatency, "published"),
    "memory.line-transfer": nanoseconds(35, "middle of 20 to 51 ns published"),
    "memory.line-transfer-remote": nanoseconds(130, "as an access to remote memory"),
    "tlb.miss-native": guess(35, "four levels, upper ones cached"),
    "tlb.miss-ept-4k": guess(90, "two-dimensional walk, upper levels cached"),
    "tlb.miss-ept-2m": guess(50, "two-dimensional walk, upper levels cached"),
    "iotlb.hit": guess(10, "look-up"),
    "iotlb.miss": guess(900, "walk in memory"),
  },
} as const satisfies CostProfile;
