import { compute, type Operation, type Steps, wrmsr } from "../../isa/operations.ts";
import { msr } from "../vmx/architecture.ts";
import type { HostLp } from "./host-lp.ts";
import type { SharedState } from "./shared-state.ts";
import { hostVector } from "./vectors.ts";

const never = Number.POSITIVE_INFINITY;

/** What an LP does to itself and to other LPs through its local APIC, and how it pays for its work. */
export class LpCalls {
  readonly #hypervisor: SharedState;
  readonly #lp: HostLp;

  constructor(hypervisor: SharedState, lp: HostLp) {
    this.#hypervisor = hypervisor;
    this.#lp = lp;
  }

  /**
   * The LP works for so long. The work is done first and paid for later, in one piece: before anything leaves the LP that others
   * can see, and before it enters a guest or rests.
   */
  owe(nanoseconds: number): void {
    this.#lp.owed += nanoseconds;
  }
  /** To be yielded: it takes as long as what is owed, which is paid thereby. */
  payment(): Operation {
    const { owed } = this.#lp;
    this.#lp.owed = 0;
    return compute(owed);
  }

  /** x2APIC id of this LP. */
  get apicId(): number {
    return this.#lp.environment.apicIds[this.#lp.index] ?? 0;
  }

  /** Has another LP look at what is asked of it, unless it is about to look anyway. */
  *call(target: HostLp): Steps<void> {
    if (target === this.#lp || target.mode === "root" || target.isCalled) return;
    target.isCalled = true;
    yield* this.send(target, hostVector.call);
  }
  *send(target: HostLp, vector: number): Steps<void> {
    if (this.#lp.owed > 0) yield this.payment();
    const apicId = this.#lp.environment.apicIds[target.index] ?? 0;
    yield wrmsr(msr.x2apicCommand, (BigInt(apicId) << 32n) | BigInt(vector));
  }

  /** Sets the local APIC's timer when the next moment is not the one it is set to. */
  armTimer(): void {
    const lp = this.#lp;
    const next = lp.timers.least;
    if (next === lp.armed || next === never) return;
    lp.armed = next;
    const tsc = BigInt(Math.ceil(next + (this.#hypervisor.origin ?? 0)));
    lp.environment.own.execute(wrmsr(msr.tscDeadline, tsc));
  }
}
