import {
  compute,
  exchangeAdd,
  hlt,
  load,
  type Script,
  type ScriptEnvironment,
  type Steps,
  spin,
  sti,
  store,
  vmcall,
} from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import { hypercall } from "../reference/vectors.ts";
import { BlockCause, WaitKind } from "../run-record.ts";
import type { BarrierWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { barrierCount, barrierPhase } from "./guest-memory-map.ts";
import { jittered } from "./jitter.ts";
import { Patience } from "./patience.ts";

const forever = 1e12;
/** Barriers in the record: behind the numbers of locks. */
const barriersFrom = 1_000_000;

/**
 * Phases of parallel work with a barrier after each. Those that wait without ever going to sleep are an application's: at privilege level 3 a
 * loop of PAUSE causes no VM exits. Who goes to sleep does so in the kernel, and is here as a whole.
 */
export class Barrier implements GuestSoftware {
  readonly isUser: boolean;
  readonly #kit: GuestKit;
  readonly #workload: BarrierWorkload;
  /** Which of the VM's workloads this is. */
  readonly #number: number;
  /** Those that have gone to sleep at the barrier: shared by the group. */
  readonly #sleepers: Set<GuestKit>;

  constructor(kit: GuestKit, workload: BarrierWorkload, number: number, sleepers: Set<GuestKit>) {
    this.#kit = kit;
    this.#workload = workload;
    this.isUser = workload.spins === 0;
    this.#number = number;
    this.#sleepers = sleepers;
  }

  *main({ random }: ScriptEnvironment): Script {
    const kit = this.#kit;
    const { recorder, vcpu } = kit;
    const { phase, imbalance } = this.#workload;
    const id = barriersFrom + vcpu.vm.id * 1000 + this.#number;
    if (!this.isUser) yield sti();
    for (;;) {
      yield compute(jittered(random, phase, imbalance));
      recorder.lockWait(kit.now(), kit.lp, vcpu.id, id, WaitKind.Barrier);
      yield* this.#arrive();
      recorder.lockAcquire(kit.now(), kit.lp, vcpu.id, id, WaitKind.Barrier);
      kit.worked(1);
    }
  }

  *#arrive(): Steps<void> {
    const { members } = this.#kit.group;
    const phaseWord = barrierPhase(this.#number);
    const phase = yield load(phaseWord, 8);
    const before = yield exchangeAdd(barrierCount(this.#number), 8, 1n);
    if (Number(before) === members.length - 1) {
      yield store(barrierCount(this.#number), 8, 0n);
      yield store(phaseWord, 8, phase + 1n);
      yield* this.#wakeSleepers();
    } else {
      yield* this.#wait(phaseWord, phase);
    }
  }

  *#wait(phaseWord: bigint, phase: bigint): Steps<void> {
    const kit = this.#kit;
    const { spins } = this.#workload;
    const { costs } = kit.run;
    const patience = new Patience(kit, spins);
    while ((yield load(phaseWord, 8)) === phase) {
      yield spin(phaseWord, 8, phase, spins === 0 ? forever : patience.begin());
      if (spins === 0 || (yield load(phaseWord, 8)) !== phase || !patience.isOver()) continue;
      this.#sleepers.add(kit);
      kit.vcpu.blockCause = BlockCause.Lock;
      yield hlt();
      kit.vcpu.blockCause = BlockCause.Idle;
      this.#sleepers.delete(kit);
    }
    yield compute(costs["memory.line-transfer"]);
  }

  *#wakeSleepers(): Steps<void> {
    for (const sleeper of [...this.#sleepers]) {
      yield vmcall(hypercall.kick, BigInt(sleeper.vcpu.index));
    }
  }
}
