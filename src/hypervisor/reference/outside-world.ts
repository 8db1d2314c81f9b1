import { Heap } from "../../base/heap.ts";
import {
  load,
  type Script,
  type ScriptEnvironment,
  type Steps,
  spin,
  wrmsr,
} from "../../isa/operations.ts";
import { noLp } from "../run-record.ts";
import { msr } from "../vmx/architecture.ts";
import { enableApic } from "../vmx/vmx-operation.ts";
import type { PostLog } from "./post-log.ts";
import { postByDescriptor } from "./posted-interrupts.ts";
import { guestVector, hostVector } from "./vectors.ts";
import type { VirtualCpu } from "./virtual-machine.ts";

/** What comes to a device from outside, at a time. */
interface Arrival {
  /** Nanoseconds from the start of the run. */
  readonly time: number;
  readonly vcpu: VirtualCpu;
  /** The device gives the guest what has come, before it interrupts. */
  readonly happen: () => void;
  /** By the descriptor of the vCPU, or to an LP of the hypervisor. */
  readonly isPosted: boolean;
}

/** What the agent's program is given. */
export interface OutsideSetup {
  readonly environment: ScriptEnvironment;
  /** Physical address. */
  readonly doorbell: bigint;
  /** Nanoseconds since the start; undefined before it. */
  readonly now: () => number | undefined;
  readonly posts: PostLog;
}

const longest = 1e9;
const glance = 1000;

/**
 * The network around the machine and its devices' side of the bus: an agent on an LP of its own that no vCPU runs on. It sleeps
 * until something arrives at a device, or somebody rings its doorbell, and sends the device's interrupt.
 */
export class OutsideWorld {
  readonly #arrivals = new Heap<Arrival>(({ time }) => time);
  /** How often the agent has been asked to look. */
  #rings = 0n;
  /** vCPUs whose emulated device has something, by the LP that was interrupted for it. */
  readonly #raised = new Map<number, VirtualCpu[]>();
  /** LPs of the hypervisor; the one behind them is this agent's. Undefined: nobody has a device. */
  isNeeded = false;

  /**
   * Something is to arrive. Whoever asks for it then rings: stores the number to the doorbell. It is another one than before only
   * when the agent has to look sooner than it meant to.
   */
  expect(arrival: Arrival): bigint {
    if (arrival.time < this.#arrivals.least) this.#rings += 1n;
    this.#arrivals.add(arrival);
    return this.#rings;
  }

  /** In the hypervisor's interrupt handler on an LP: whose devices are to be looked at. */
  takeRaised(lp: number): readonly VirtualCpu[] {
    const raised = this.#raised.get(lp) ?? [];
    this.#raised.delete(lp);
    return raised;
  }

  /**
   * The agent's program.
   * @param latency from a device's message until it has arrived, in nanoseconds
   */
  *run(setup: OutsideSetup, latency: number): Script {
    const { doorbell, now, environment } = setup;
    const { own } = environment;
    yield* enableApic();
    while (now() === undefined) yield spin(doorbell, 8, 0n, glance);
    for (;;) {
      const rings = own.execute(load(doorbell, 8));
      const time = now() ?? 0;
      while (this.#arrivals.least + latency <= time) {
        const arrival = this.#arrivals.take();
        if (arrival !== undefined) yield* this.#deliver(setup, arrival);
      }
      const left = Math.min(longest, this.#arrivals.least + latency - (now() ?? 0));
      if (left > 0) yield spin(doorbell, 8, rings, left);
    }
  }

  *#deliver({ environment, posts }: OutsideSetup, arrival: Arrival): Steps<void> {
    const { vcpu, happen, isPosted } = arrival;
    const { apicIds } = environment;
    happen();
    posts.posted(noLp, vcpu, guestVector.device);
    if (isPosted) {
      const owed = environment.own.run(postByDescriptor(vcpu, guestVector.device));
      if (owed !== undefined) yield command(owed.apicId, owed.vector);
      return;
    }
    const lp = vcpu.lp ?? 0;
    const raised = this.#raised.get(lp);
    if (raised === undefined) this.#raised.set(lp, [vcpu]);
    else raised.push(vcpu);
    yield command(apicIds[lp] ?? 0, hostVector.device);
  }
}

const command = (apicId: number, vector: number) =>
  wrmsr(msr.x2apicCommand, (BigInt(apicId) << 32n) | BigInt(vector));
