import type { Prng } from "../../base/prng.ts";
import { compute, type Operation, OperationKind, type Script } from "../../isa/operations.ts";

/** How often an operation is held up, 0 to 1, and for how many cycles at most. */
export interface Perturbation {
  readonly part: number;
  readonly cyclesMax: number;
}

/**
 * The same script with pauses at random places: what a cache miss, an SMI or a slow bus does to a processor. An operation
 * becomes known only when it is about to be executed, so what a script does between two operations stays with the second.
 */
export function* perturbed(
  script: Script,
  random: Prng,
  { part, cyclesMax }: Perturbation,
): Script {
  const limit = part * 2 ** 32;
  let result = 0n;
  /** STI holds interrupts back until behind the next operation: what a script puts there must stay there. */
  let isShadowed = false;
  for (;;) {
    if (random.next() < limit && !isShadowed) yield compute(1 + random.below(cyclesMax));
    const step: IteratorResult<Operation, void> = script.next(result);
    if (step.done === true) return;
    isShadowed = step.value.kind === OperationKind.SetInterruptFlag;
    result = yield step.value;
  }
}
