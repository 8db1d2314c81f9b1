import {
  compute,
  exchangeAdd,
  load,
  type Script,
  type ScriptEnvironment,
  type Steps,
  spinUntil,
  sti,
  store,
} from "../../isa/operations.ts";
import type { GuestSoftware } from "../reference/guest-software.ts";
import { guestVector } from "../reference/vectors.ts";
import type { ShootdownWorkload } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { shootdownWord } from "./guest-memory-map.ts";
import { jittered } from "./jitter.ts";

const forever = 1e12;
const minusOne = 0xffff_ffff_ffff_ffffn;

/** Computes, then has all siblings flush their TLBs and waits for them. */
export class Shootdown implements GuestSoftware {
  readonly #kit: GuestKit;
  readonly #workload: ShootdownWorkload;

  constructor(kit: GuestKit, workload: ShootdownWorkload) {
    this.#kit = kit;
    this.#workload = workload;
  }

  *main({ random }: ScriptEnvironment): Script {
    yield sti();
    for (;;) {
      yield compute(jittered(random, this.#workload.think));
      yield* this.#shootDown();
      this.#kit.worked(1);
    }
  }

  *#shootDown(): Steps<void> {
    const kit = this.#kit;
    const { recorder, vcpu } = kit;
    const targets = yield* this.#targets();
    const id = recorder.count;
    recorder.shootdownBegin(kit.now(), kit.lp, vcpu.id, id, targets.length);
    const word = shootdownWord(vcpu.index);
    yield store(word, 8, BigInt(targets.length));
    for (const target of targets) yield* kit.sendIpi(target, guestVector.shootdown);
    while ((yield load(word, 8)) !== 0n) yield spinUntil(word, 8, 0n, forever);
    recorder.shootdownEnd(kit.now(), kit.lp, vcpu.id, id);
  }

  /** Whom to send to. A paravirtual guest sees who does not run, and leaves a flush to the hypervisor. */
  *#targets(): Steps<readonly GuestKit[]> {
    const kit = this.#kit;
    const others = kit.siblings();
    if (this.#workload.mode === "ipi-wait") return others;
    yield compute(others.length * kit.run.costs["memory.line-transfer"]);
    return others.filter(({ vcpu }) => {
      if (vcpu.state !== "running") vcpu.mustFlush = true;
      return vcpu.state === "running";
    });
  }
}

/** Every vCPU of a VM handles the interrupt, whatever it does otherwise. */
export function* answerShootdown(kit: GuestKit, handler: number): Steps<void> {
  yield compute(handler);
  for (const { vcpu } of kit.takeIpis(guestVector.shootdown)) {
    yield exchangeAdd(shootdownWord(vcpu.index), 8, minusOne);
  }
}
