import {
  compute,
  type Script,
  type ScriptEnvironment,
  type Steps,
  sti,
} from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import { guestVector } from "../reference/vectors.ts";
import { BlockCause } from "../run-record.ts";
import type { ProducerConsumerWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { jittered } from "./jitter.ts";

/** What a pair of vCPUs shares. */
export interface Pair {
  items: number;
  producer: GuestKit | undefined;
  consumer: GuestKit | undefined;
  /** Who of them has halted and wants an IPI. */
  readonly sleeping: Set<GuestKit>;
}

abstract class Partner implements GuestSoftware {
  protected readonly kit: GuestKit;
  protected readonly pair: Pair;
  protected readonly workload: ProducerConsumerWorkload;

  constructor(kit: GuestKit, workload: ProducerConsumerWorkload, pair: Pair) {
    this.kit = kit;
    this.workload = workload;
    this.pair = pair;
  }

  abstract main(environment: ScriptEnvironment): Script;

  protected *sleepUntil(isOver: () => boolean): Steps<void> {
    if (isOver()) return;
    this.pair.sleeping.add(this.kit);
    yield* this.kit.halt(isOver, BlockCause.Interrupt);
    this.pair.sleeping.delete(this.kit);
  }
  protected *tell(other: GuestKit | undefined): Steps<void> {
    if (other === undefined || !this.pair.sleeping.has(other)) return;
    this.pair.sleeping.delete(other);
    yield* this.kit.sendIpi(other, guestVector.notify);
  }

  *interrupt(vector: number): Steps<void> {
    yield* this.kit.acknowledge(vector);
  }
}

/** Makes items; waits when there are too many. */
export class Producer extends Partner {
  *main({ random }: ScriptEnvironment): Script {
    const { pair, workload } = this;
    yield sti();
    for (;;) {
      yield* this.sleepUntil(() => pair.items < workload.depth);
      yield compute(jittered(random, workload.produce));
      pair.items += 1;
      yield* this.tell(pair.consumer);
    }
  }
}

/** Uses them; waits when there is none. */
export class Consumer extends Partner {
  *main({ random }: ScriptEnvironment): Script {
    const { pair, workload } = this;
    yield sti();
    for (;;) {
      yield* this.sleepUntil(() => pair.items > 0);
      yield compute(jittered(random, workload.consume));
      pair.items -= 1;
      this.kit.worked(1);
      yield* this.tell(pair.producer);
    }
  }
}
