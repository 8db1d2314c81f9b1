import {
  defaultFeatures,
  defaultVm,
  type GuestKind,
  type HypervisorFeatures,
  type IoDevice,
  type LockKind,
  microsecond,
  millisecond,
  type Scenario,
  type ScenarioVm,
  type ShootdownMode,
  type SpinlockWorkload,
  type Workload,
} from "../scenario.ts";

/** Four cores without siblings: the machine of a scenario unless --lps says otherwise. */
const topology = { sockets: 1, coresPerSocket: 4, threadsPerCore: 1 } as const;
const common = {
  topology,
  duration: 500 * millisecond,
  warmup: 50 * millisecond,
  features: defaultFeatures,
} as const;

function scenario(
  name: string,
  description: string,
  vms: readonly ScenarioVm[],
  features: Partial<HypervisorFeatures> = {},
  length: Partial<Pick<Scenario, "duration" | "warmup">> = {},
): Scenario {
  return {
    ...{ ...common, ...length, name, description, vms },
    features: { ...defaultFeatures, ...features },
  };
}

function vm(
  name: string,
  workloads: readonly Workload[],
  other: Partial<ScenarioVm> = {},
): ScenarioVm {
  return { ...defaultVm, name, workloads, ...other };
}

export const hog: Workload = { type: "hog", unit: 100 * microsecond };

/** Locks are held for less than 4096 cycles, as most are. */
const spinlock = (lock: LockKind): SpinlockWorkload => ({
  type: "spinlock",
  lock,
  locks: 1,
  hold: 2 * microsecond,
  think: 20 * microsecond,
  spins: 2048,
  guest: "script",
});

/** Four vCPUs want the lock for more time than there is; nobody waits for as long as a PAUSE window. */
const contest = (guest: GuestKind): Workload => ({
  type: "spinlock",
  lock: "ticket",
  locks: 1,
  hold: microsecond,
  think: 2 * microsecond,
  spins: 2048,
  guest,
});
/** Instructions take the simulator longer than operations. */
const contestLength = { duration: 4 * millisecond, warmup: 400 * microsecond } as const;

/** Milliseconds. */
const bursts = (run: number, sleep: number): Workload => ({
  type: "bursts",
  run: run * millisecond,
  sleep: sleep * millisecond,
});

const shootdown = (mode: ShootdownMode): Workload => ({
  type: "shootdown",
  mode,
  think: 200 * microsecond,
  handler: microsecond,
});

const io = (device: IoDevice): Workload => ({
  type: "io",
  device,
  service: 10 * microsecond,
  think: 30 * microsecond,
  connections: 2,
});

/** As many clients as keep a vCPU busy. */
const busyIo = (device: IoDevice): Workload => ({
  type: "io",
  device,
  service: 10 * microsecond,
  think: 30 * microsecond,
  connections: 16,
});

const barrier: Workload = { type: "barrier", phase: 500 * microsecond, imbalance: 0.1, spins: 0 };
const probe: Workload = { type: "latency-probe", period: millisecond };
const ticks: Workload = { type: "ticks", period: 4 * millisecond, handler: 5 * microsecond };
const producerConsumer: Workload = {
  type: "producer-consumer",
  produce: 20 * microsecond,
  consume: 15 * microsecond,
  depth: 4,
};

/** The scenarios that `--scenario NAME` knows. */
export const builtInScenarios: readonly Scenario[] = [
  scenario("hogs", "vCPUs that compute for ever: shares and the cost of switching", [
    vm("hog", [hog]),
  ]),
  scenario("spinlock-test-and-set", "one test-and-set lock per VM, contended by all its vCPUs", [
    vm("lock", [spinlock("test-and-set")]),
  ]),
  scenario("spinlock-ticket", "one ticket lock per VM: a preempted waiter holds up all behind it", [
    vm("lock", [spinlock("ticket")]),
  ]),
  scenario("spinlock-mcs", "one MCS queue lock per VM", [vm("lock", [spinlock("mcs")])]),
  scenario("spinlock-paravirtual", "one lock per VM whose waiters halt and are kicked", [
    vm("lock", [spinlock("paravirtual")]),
  ]),
  scenario(
    "lock-contest",
    "a lock that is always wanted, for a few milliseconds",
    [vm("contest", [contest("script")])],
    {},
    contestLength,
  ),
  scenario(
    "lock-contest-machine-code",
    "the same contest between guests of machine code",
    [vm("contest", [contest("machine-code")])],
    {},
    contestLength,
  ),
  scenario("barrier", "parallel phases with a spinning barrier after each", [
    vm("phases", [barrier]),
  ]),
  scenario("shootdown", "TLB shootdowns by IPI that wait for every vCPU", [
    vm("shootdown", [shootdown("ipi-wait")]),
  ]),
  scenario("shootdown-paravirtual", "TLB shootdowns that leave preempted vCPUs to flush later", [
    vm("shootdown", [shootdown("paravirtual")]),
  ]),
  scenario("producer-consumer", "pairs of vCPUs that wake each other by IPI", [
    vm("pairs", [producerConsumer]),
  ]),
  scenario(
    "io-emulated",
    "request and response through an emulated device, beside hogs",
    [vm("io", [io("emulated")], { copies: 1 }), vm("hog", [hog])],
    { posting: false },
  ),
  scenario(
    "io-virtio",
    "request and response through a virtio-like device, beside hogs",
    [vm("io", [io("virtio")], { copies: 1 }), vm("hog", [hog])],
    { posting: false },
  ),
  scenario("io-posted", "request and response through posted interrupts, beside hogs", [
    vm("io", [io("posted")], { copies: 1 }),
    vm("hog", [hog]),
  ]),
  scenario(
    "io-busy-emulated",
    "a vCPU with more requests than it can answer, through an emulated device",
    [vm("io", [busyIo("emulated")], { copies: 1, vcpus: 1 })],
    { posting: false },
  ),
  scenario("io-busy-posted", "the same through posted interrupts", [
    vm("io", [busyIo("posted")], { copies: 1, vcpus: 1 }),
  ]),
  scenario("io-alone", "one vCPU that answers requests, with LPs to spare", [
    vm("io", [io("posted")], { copies: 1, vcpus: 1 }),
  ]),
  scenario("io-beside-hog", "one vCPU that answers requests, and a hog on the same LP", [
    vm("io", [io("posted")], { copies: 1, vcpus: 1, affinity: [0] }),
    vm("hog", [hog], { vcpus: 1, affinity: [0] }),
  ]),
  scenario(
    "locks-and-shootdowns",
    "VMs of which half contends for a lock and half shoots TLBs down",
    [vm("file-server", [spinlock("paravirtual"), shootdown("ipi-wait")])],
  ),
  scenario(
    "memory-mappers",
    "VMs of which half waits asleep for a lock and half shoots TLBs down",
    [vm("mapper", [{ ...spinlock("paravirtual"), spins: 1 }, shootdown("ipi-wait")])],
  ),
  scenario("compile", "parallel work that seldom meets at a lock", [
    vm("compile", [
      {
        type: "spinlock",
        lock: "ticket",
        locks: 8,
        hold: 2 * microsecond,
        think: millisecond,
        spins: 2048,
        guest: "script",
      },
    ]),
  ]),
  scenario("thief", "a vCPU that sleeps just when a tick would charge it, beside a hog", [
    vm("thief", [{ type: "bursts", run: 9500 * microsecond, sleep: 500 * microsecond }], {
      copies: 1,
      vcpus: 1,
    }),
    vm("hog", [hog], { vcpus: 1 }),
  ]),
  {
    ...scenario("builds", "vCPUs that compute and wait by turns, on cores of two threads", [
      vm("build", [bursts(2, 1), bursts(3, 4), bursts(4, 2), bursts(5, 3)]),
    ]),
    topology: { sockets: 1, coresPerSocket: 4, threadsPerCore: 2 },
  },
  scenario("ticks", "vCPUs that only handle a periodic timer", [vm("ticks", [ticks])]),
  scenario("latency-probe", "one VM that sleeps and measures how late it wakes, beside hogs", [
    vm("probe", [probe], { copies: 1 }),
    vm("hog", [hog]),
  ]),
  scenario("weights", "hogs of weights 1 : 2 : 4", [
    vm("light", [hog], { weight: 128 }),
    vm("normal", [hog], { weight: 256 }),
    vm("heavy", [hog], { weight: 512 }),
  ]),
  scenario("mixed", "VMs with locks, I/O, phases, timers and hogs side by side", [
    vm("lock", [spinlock("ticket")], { copies: 1 }),
    vm("io", [io("posted")], { copies: 1, vcpus: 2 }),
    vm("phases", [barrier], { copies: 1 }),
    vm("probe", [probe, ticks], { copies: 1, vcpus: 2 }),
    vm("hog", [hog]),
  ]),
];
