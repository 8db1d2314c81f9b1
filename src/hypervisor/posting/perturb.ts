import type { Prng } from "../../base/prng.ts";
import { compute, type Operation, OperationKind, type Script } from "../../isa/operations.ts";

/** How often an operation is held up, 0 to 1, and for how many cycles at most. */
export interface Perturbation {
  readonly part: number;
  readonly cyclesMax: number;
}

type Step = IteratorResult<Operation, void>;

/**
 * The same script with pauses at random places: what a cache miss, an SMI or a slow bus does to a processor. An operation
 * becomes known only when it is about to be executed, so what a script does between two operations stays with the second.
 * No generator: every operation passes here.
 */
class PerturbedScript implements Script {
  readonly #script: Script;
  readonly #random: Prng;
  readonly #perturbation: Perturbation;
  /** Operations up to the next pause. */
  #left: number;
  /** Result of the operation before the pause under way, which the script has not been told of. */
  #held: bigint | undefined;
  /** STI holds interrupts back until behind the next operation: what a script puts there must stay there. */
  #isShadowed = false;

  constructor(script: Script, random: Prng, perturbation: Perturbation) {
    this.#script = script;
    this.#random = random;
    this.#perturbation = perturbation;
    this.#left = this.#distance();
  }

  next(result: bigint): Step {
    if (this.#held === undefined && --this.#left <= 0 && !this.#isShadowed) {
      this.#held = result;
      this.#left = this.#distance();
      const cycles = 1 + this.#random.below(this.#perturbation.cyclesMax);
      return { done: false, value: compute(cycles) };
    }
    const step = this.#script.next(this.#held ?? result);
    this.#held = undefined;
    this.#isShadowed = step.done !== true && step.value.kind === OperationKind.SetInterruptFlag;
    return step;
  }

  /** As if each operation had the same chance. */
  #distance(): number {
    const chance = (this.#random.next() + 1) / 2 ** 32;
    return 1 + Math.floor(Math.log(chance) / Math.log(1 - this.#perturbation.part));
  }

  return(): Step {
    return this.#script.return();
  }
  throw(error: unknown): Step {
    return this.#script.throw(error);
  }
  [Symbol.iterator](): Script {
    return this;
  }
}

export const perturbed = (script: Script, random: Prng, perturbation: Perturbation): Script =>
  new PerturbedScript(script, random, perturbation);
