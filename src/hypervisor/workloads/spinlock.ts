import { compute, type Script, type ScriptEnvironment, sti } from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import { WaitKind } from "../run-record.ts";
import type { SpinlockWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { jittered } from "./jitter.ts";
import type { Lock } from "./locks.ts";

/** Locks that more than one vCPU takes differ from VM to VM: their number in the record. */
const locksPerVm = 1000;

/** Computes, takes one of the VM's locks, holds it. */
export class Spinlock implements GuestSoftware {
  readonly #kit: GuestKit;
  readonly #workload: SpinlockWorkload;
  readonly #locks: readonly Lock[];

  constructor(kit: GuestKit, workload: SpinlockWorkload, locks: readonly Lock[]) {
    this.#kit = kit;
    this.#workload = workload;
    this.#locks = locks;
  }

  *main({ random }: ScriptEnvironment): Script {
    const kit = this.#kit;
    const { recorder, vcpu } = kit;
    const { think, hold } = this.#workload;
    yield sti();
    for (;;) {
      yield compute(jittered(random, think));
      const number = random.below(this.#locks.length);
      const lock = this.#locks[number] as Lock;
      const id = vcpu.vm.id * locksPerVm + number;
      recorder.lockWait(kit.now(), kit.lp, vcpu.id, id, WaitKind.Lock);
      yield* lock.acquire(kit);
      recorder.lockAcquire(kit.now(), kit.lp, vcpu.id, id, WaitKind.Lock);
      yield compute(hold);
      recorder.lockRelease(kit.now(), kit.lp, vcpu.id, id);
      yield* lock.release(kit);
      kit.worked(1);
    }
  }
}
