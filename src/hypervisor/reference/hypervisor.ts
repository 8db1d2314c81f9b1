import { Prng } from "../../base/prng.ts";
import type { Script, ScriptEnvironment, ScriptedSoftware } from "../../isa/operations.ts";
import { store, wrmsr } from "../../isa/operations.ts";
import type { Scheduler } from "../schedulers/scheduler.ts";
import { msr } from "../vmx/architecture.ts";
import { largePageBytes, writeGuestMemory } from "../vmx/guest-memory.ts";
import { type GuestSoftware, guestProgram } from "./guest-software.ts";
import type { HostLp } from "./host-lp.ts";
import { LpLoop } from "./lp-loop.ts";
import { type MemoryPlan, planMemory, wakeWord } from "./memory-plan.ts";
import { writeMsrBitmaps } from "./msr-bitmaps.ts";
import { PolicyHost } from "./policy-host.ts";
import { PostLog } from "./post-log.ts";
import { mapGuest } from "./second-stage.ts";
import type { HypervisorSetup, SharedState } from "./shared-state.ts";
import { VirtualCpu, VirtualMachine } from "./virtual-machine.ts";

const registersOfMsr = 4096;

/** Script of a vCPU that runs machine code. */
function* nothing(): Script {}

/**
 * The reference hypervisor: what all its LPs share. It is the software of a whole machine; each LP runs `LpLoop`. LPs share it as
 * objects, which needs the deterministic driver.
 */
export class ReferenceHypervisor implements SharedState {
  readonly setup: HypervisorSetup;
  readonly vms: readonly VirtualMachine[];
  readonly vcpus: readonly VirtualCpu[];
  readonly lps: HostLp[] = [];
  readonly policyHost: PolicyHost;
  /** By vCPU; undefined: it runs machine code. */
  readonly guests: readonly (GuestSoftware | undefined)[];
  readonly posts: PostLog;
  /** LPs that are in VMX operation and wait for the start. */
  prepared = 0;
  /** Clock of the machine at the start of the run; undefined before it. */
  origin: number | undefined = undefined;
  /** Why the run has ended early. */
  failure: string | undefined = undefined;
  /** The machine's clock, from the first program on. */
  #clock: () => number = () => 0;
  #scheduler: Scheduler | undefined;
  #plan: MemoryPlan | undefined;
  #eptPointers: readonly bigint[] = [];

  constructor(setup: HypervisorSetup) {
    this.setup = setup;
    this.vms = setup.vms.map(
      ({ name, weight, cap }, id) => new VirtualMachine(id, name, weight, cap),
    );
    let id = 0;
    this.vcpus = setup.vms.flatMap(({ affinities }, vm) =>
      affinities.map((affinity) => new VirtualCpu(this.vms[vm] as VirtualMachine, id++, affinity)),
    );
    this.policyHost = new PolicyHost(
      setup.topology,
      new Prng(setup.seed),
      () => this.now(),
      (lp) => this.lps[lp]?.current,
    );
    this.posts = new PostLog(setup.recorder, () => this.now());
    this.guests = this.vcpus.map((vcpu) =>
      setup.vms[vcpu.vm.id]?.image === undefined ? setup.guests(vcpu) : undefined,
    );
  }

  get plan(): MemoryPlan {
    if (this.#plan === undefined) throw new Error("the hypervisor has not been loaded");
    return this.#plan;
  }
  get scheduler(): Scheduler {
    if (this.#scheduler === undefined) throw new Error("the run has not started");
    return this.#scheduler;
  }
  /** The EPT pointer of a VM. */
  eptPointer(vm: VirtualMachine): bigint {
    return this.#eptPointers[vm.id] ?? 0n;
  }

  /** Nanoseconds since the start of the run, as whoever executes sees it. */
  now(): number {
    return this.#clock() - (this.origin ?? 0);
  }

  /** All LPs are ready: the policy comes to life. */
  start(): void {
    this.origin = this.#clock();
    this.#scheduler = this.setup.createScheduler(this.policyHost);
    for (const vcpu of this.vcpus) this.#scheduler.add(vcpu);
  }

  /** The software of the machine. */
  software(): ScriptedSoftware {
    return {
      programs: {
        main: (environment) => this.#main(environment),
        interrupt: (environment, vector) => this.#hostHandler(environment, vector),
        [guestProgram.main]: (environment, id) => this.#guestMain(environment, id),
        [guestProgram.interrupt]: (environment, vector) => this.#guestHandler(environment, vector),
      },
      load: (ram, freeFrom) => this.#load(ram, freeFrom),
    };
  }

  /** The LP behind those of the hypervisor is the outside world's. */
  #main(environment: ScriptEnvironment): Script {
    const { outside, topology, costs } = this.setup;
    this.#clock = environment.now;
    if (environment.lp < topology.lps.length) return new LpLoop(this, environment).run();
    const now = (): number | undefined => (this.origin === undefined ? undefined : this.now());
    const doorbell = BigInt(this.plan.devices);
    return outside.run(
      { environment, doorbell, now, posts: this.posts },
      costs["device.interrupt"],
    );
  }

  #load(ram: Uint8Array, freeFrom: number): void {
    const plan = planMemory(
      freeFrom,
      this.setup.topology.lps.length,
      this.vms.length,
      this.vcpus.length,
    );
    this.#plan = plan;
    for (const vcpu of this.vcpus) {
      vcpu.pages = plan.vcpus[vcpu.id] as MemoryPlan["vcpus"][number];
    }
    writeMsrBitmaps(
      ram.subarray(plan.msrBitmaps, plan.msrBitmaps + registersOfMsr),
      this.setup.features,
    );
    this.#eptPointers = this.vms.map((vm) => {
      const base = plan.guests[vm.id] ?? 0;
      const image = this.setup.vms[vm.id]?.image;
      const memory = ram.subarray(base, base + largePageBytes);
      // Scripts have their addresses when an LP begins: it writes their gates.
      writeGuestMemory(memory, (vector) => image?.gate(vector));
      if (image !== undefined) memory.set(image.bytes, image.address);
      return mapGuest(ram, plan, vm.id, base);
    });
  }

  /** An interrupt has ended an LP's rest, or came while it polled. */
  *#hostHandler({ lp }: ScriptEnvironment, vector: number): Script {
    const host = this.lps[lp];
    host?.taken.push(vector);
    if (host?.current?.isPolled) yield store(wakeWord(host.current.pages), 8, 1n);
    yield wrmsr(msr.x2apicEoi, 0n);
  }

  #guestMain(environment: ScriptEnvironment, id: number): Script {
    return this.guests[id]?.main(environment) ?? nothing();
  }

  *#guestHandler({ lp }: ScriptEnvironment, vector: number): Script {
    const vcpu = this.lps[lp]?.current;
    const guest = vcpu === undefined ? undefined : this.guests[vcpu.id];
    if (vcpu !== undefined) this.posts.delivered(lp, vcpu, vector);
    if (guest?.interrupt !== undefined) yield* guest.interrupt(vector);
    yield wrmsr(msr.x2apicEoi, 0n);
  }
}
