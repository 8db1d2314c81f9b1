import { compareExchange, load, type Steps } from "../../isa/operations.ts";
import { controlAt } from "../vmx/posted-interrupts.ts";
import type { PostingObserver } from "./observer.ts";
import { descriptorOf } from "./posting-memory.ts";

/** The control word of a vCPU's descriptor. */
export const controlOf = (vcpu: number): bigint => controlAt(descriptorOf(vcpu));

/**
 * Changes the control word as a whole while others change its bits.
 * @param change must keep ON. @returns the new word
 */
export function* changeControl(
  vcpu: number,
  observer: PostingObserver,
  change: (was: bigint) => bigint,
): Steps<bigint> {
  const at = controlOf(vcpu);
  let seen = yield load(at);
  for (;;) {
    const next = change(seen);
    observer.controlChanging(vcpu, seen, next);
    const found = yield compareExchange(at, 8, seen, next);
    if (found === seen) return next;
    seen = found;
  }
}
