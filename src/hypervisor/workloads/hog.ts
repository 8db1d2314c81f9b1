import { compute, type Script, sti } from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import type { HogWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";

/** Computes for ever. */
export class Hog implements GuestSoftware {
  readonly #kit: GuestKit;
  readonly #unit: number;

  constructor(kit: GuestKit, { unit }: HogWorkload) {
    this.#kit = kit;
    this.#unit = unit;
  }

  *main(): Script {
    yield sti();
    for (;;) {
      yield compute(this.#unit);
      this.#kit.worked(1);
    }
  }
}
