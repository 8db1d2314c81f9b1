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
import type { BurstWorkload, LatencyProbeWorkload, TicksWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { jittered } from "./jitter.ts";

/** Software that waits for its own deadline timer. */
abstract class Sleeper implements GuestSoftware {
  protected readonly kit: GuestKit;
  #hasFired = false;

  constructor(kit: GuestKit) {
    this.kit = kit;
  }
  abstract main(environment: ScriptEnvironment): Script;

  /** @param time nanoseconds since the start of the run */
  protected *sleepUntil(time: number): Steps<void> {
    this.#hasFired = false;
    yield* this.kit.setTimer(time);
    yield* this.kit.halt(() => this.#hasFired, BlockCause.Idle);
  }
  *interrupt(vector: number): Steps<void> {
    if (vector !== guestVector.timer) return;
    this.#hasFired = true;
    yield* this.fired();
  }
  /** In the handler of the timer. */
  protected *fired(): Steps<void> {}
}

/** Computes for a while and sleeps until its period, of both together, is over: later bursts do not shift by the delay of one. */
export class Bursts extends Sleeper {
  readonly #workload: BurstWorkload;

  constructor(kit: GuestKit, workload: BurstWorkload) {
    super(kit);
    this.#workload = workload;
  }
  *main(): Script {
    const { run, sleep } = this.#workload;
    const period = run + sleep;
    yield sti();
    for (;;) {
      yield compute(run);
      this.kit.worked(1);
      const now = yield* this.kit.readTime();
      yield* this.sleepUntil((Math.floor(now / period) + 1) * period);
    }
  }
}

/** A periodic timer; nothing else. */
export class Ticks extends Sleeper {
  readonly #workload: TicksWorkload;
  #due = 0;

  constructor(kit: GuestKit, workload: TicksWorkload) {
    super(kit);
    this.#workload = workload;
  }
  *main({ random }: ScriptEnvironment): Script {
    const { period } = this.#workload;
    yield sti();
    this.#due = (yield* this.kit.readTime()) + jittered(random, period);
    for (;;) {
      yield* this.sleepUntil(this.#due);
      const now = yield* this.kit.readTime();
      this.#due += period * Math.max(1, Math.ceil((now - this.#due) / period));
      this.kit.worked(1);
    }
  }
  protected override *fired(): Steps<void> {
    const { kit } = this;
    kit.recorder.tick(kit.now(), kit.lp, kit.vcpu.id, Math.max(0, kit.now() - this.#due));
    yield compute(this.#workload.handler);
  }
}

/** Sleeps until a time, and sees how late it is when it goes on. */
export class LatencyProbe extends Sleeper {
  readonly #workload: LatencyProbeWorkload;

  constructor(kit: GuestKit, workload: LatencyProbeWorkload) {
    super(kit);
    this.#workload = workload;
  }
  *main({ random }: ScriptEnvironment): Script {
    const { period } = this.#workload;
    const { kit } = this;
    yield sti();
    let due = (yield* kit.readTime()) + jittered(random, period);
    for (;;) {
      yield* this.sleepUntil(due);
      const now = yield* kit.readTime();
      kit.recorder.tick(kit.now(), kit.lp, kit.vcpu.id, Math.max(0, now - due));
      kit.worked(1);
      due = Math.max(due + period, now);
    }
  }
}
