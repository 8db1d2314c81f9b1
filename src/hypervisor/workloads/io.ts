import {
  compute,
  portIn,
  portOut,
  type Script,
  type Steps,
  sti,
  store,
} from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import { passThroughDoorbell } from "../reference/memory-plan.ts";
import { devicePort, guestVector } from "../reference/vectors.ts";
import { BlockCause, RequestKind } from "../run-record.ts";
import type { IoWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";

/** Port writes that tell an emulated device of an answer, the notification apart. */
const emulatedWrites = 2;

/** Answers requests that come from outside through a device. */
export class Io implements GuestSoftware {
  readonly #kit: GuestKit;
  readonly #workload: IoWorkload;
  /** Ids of requests in the device, and of those the driver has taken. */
  #arrived: number[] = [];
  readonly #taken: number[] = [];
  #last = 0;

  constructor(kit: GuestKit, workload: IoWorkload) {
    this.#kit = kit;
    this.#workload = workload;
    if (workload.device === "posted") kit.vcpu.vm.usesDescriptors = true;
    kit.run.outside.isNeeded = true;
  }

  *main(): Script {
    const kit = this.#kit;
    const { service, connections } = this.#workload;
    yield sti();
    for (let n = 0; n < connections; n++) yield* this.#ring();
    for (;;) {
      yield* kit.halt(() => this.#taken.length > 0, BlockCause.Idle);
      const id = this.#taken.shift() ?? 0;
      yield compute(service);
      yield* this.#answer(id);
    }
  }

  *interrupt(vector: number): Steps<void> {
    if (vector !== guestVector.device) return;
    if (this.#workload.device === "emulated") yield portIn(devicePort.status, 4);
    this.#taken.push(...this.#arrived);
    this.#arrived = [];
  }

  *#answer(id: number): Steps<void> {
    const kit = this.#kit;
    if (this.#workload.device === "emulated") {
      for (let n = 0; n < emulatedWrites; n++) yield portOut(devicePort.data, 4, BigInt(id));
    }
    kit.recorder.requestComplete(kit.now(), kit.lp, kit.vcpu.id, id, RequestKind.Io);
    kit.worked(1);
    yield* this.#ring();
  }

  /** Tells the device; the next request of the connection comes after a while. */
  *#ring(): Steps<void> {
    const kit = this.#kit;
    const { think } = this.#workload;
    const { vcpu, run } = kit;
    // Without posted interrupts a device that is passed through is as good as one with rings.
    const isPosted = vcpu.vm.usesDescriptors;
    const time = kit.now() + think;
    const rings = run.outside.expect({ time, vcpu, isPosted, happen: () => this.#arrive() });
    if (isPosted) yield store(passThroughDoorbell, 8, rings);
    else yield portOut(devicePort.notify, 4, rings & 0xffff_ffffn);
  }

  #arrive(): void {
    const kit = this.#kit;
    this.#last += 1;
    const id = kit.vcpu.id * 2 ** 24 + this.#last;
    this.#arrived.push(id);
    kit.recorder.requestStart(kit.now(), kit.lp, kit.vcpu.id, id, RequestKind.Io);
  }
}
