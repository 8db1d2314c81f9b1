import type { GuestFactory, GuestSoftware } from "../reference/guest-software.ts";
import { guestVector } from "../reference/vectors.ts";
import type { PlacedVm, Workload } from "../scenario.ts";
import { Barrier } from "./barrier.ts";
import { type Group, GuestKit, type RunKit } from "./guest-kit.ts";
import { Hog } from "./hog.ts";
import { Io } from "./io.ts";
import { type Lock, makeLock } from "./locks.ts";
import { Consumer, type Pair, Producer } from "./producer-consumer.ts";
import { answerShootdown, Shootdown } from "./shootdown.ts";
import { Spinlock } from "./spinlock.ts";
import { Bursts, LatencyProbe, Ticks } from "./timers.ts";

/** What the vCPUs that do the same workload share as software, each kind its own. */
interface Shared extends Group {
  readonly locks: readonly Lock[];
  readonly sleepers: Set<GuestKit>;
  readonly pairs: Pair[];
}

/** The guests of a run: each vCPU does what its VM's scenario says. */
export function createGuests(vms: readonly PlacedVm[], run: RunKit): GuestFactory {
  const groups = new Map<string, Shared>();
  return (vcpu) => {
    const placed = vms[vcpu.vm.id];
    const number = placed?.vcpus[vcpu.index]?.workload ?? 0;
    const workload = placed?.workloads[number];
    if (workload === undefined) throw new Error(`vCPU ${vcpu.id} has no workload`);
    const key = `${vcpu.vm.id} ${number}`;
    const shared = groups.get(key) ?? makeShared(workload);
    groups.set(key, shared);
    const kit = new GuestKit(vcpu, run, shared);
    const guest = createGuest(kit, workload, number, shared);
    const shootdown = placed?.workloads.find((one) => one.type === "shootdown");
    return shootdown === undefined ? guest : answering(guest, kit, shootdown.handler);
  };
}

/** The guest, and what every vCPU of a VM does when a sibling shoots its TLB down. */
function answering(guest: GuestSoftware, kit: GuestKit, handler: number): GuestSoftware {
  return {
    isUser: guest.isUser === true,
    main: (environment) => guest.main(environment),
    *interrupt(vector) {
      if (vector === guestVector.shootdown) yield* answerShootdown(kit, handler);
      else if (guest.interrupt !== undefined) yield* guest.interrupt(vector);
    },
  };
}

function makeShared(workload: Workload): Shared {
  const locks =
    workload.type === "spinlock"
      ? Array.from({ length: workload.locks }, (_, n) => makeLock(workload.lock, n, workload.spins))
      : [];
  return { members: [], locks, sleepers: new Set(), pairs: [] };
}

function createGuest(
  kit: GuestKit,
  workload: Workload,
  number: number,
  shared: Shared,
): GuestSoftware {
  switch (workload.type) {
    case "hog":
      return new Hog(kit, workload);
    case "bursts":
      return new Bursts(kit, workload);
    case "spinlock":
      return new Spinlock(kit, workload, shared.locks);
    case "barrier":
      return new Barrier(kit, workload, number, shared.sleepers);
    case "shootdown":
      return new Shootdown(kit, workload);
    case "producer-consumer": {
      const place = kit.group.members.indexOf(kit);
      const pair = shared.pairs[place >> 1] ?? {
        items: 0,
        producer: undefined,
        consumer: undefined,
        sleeping: new Set(),
      };
      shared.pairs[place >> 1] = pair;
      if (place % 2 === 0) {
        pair.producer = kit;
        return new Producer(kit, workload, pair);
      }
      pair.consumer = kit;
      return new Consumer(kit, workload, pair);
    }
    case "io":
      return new Io(kit, workload);
    case "ticks":
      return new Ticks(kit, workload);
    case "latency-probe":
      return new LatencyProbe(kit, workload);
  }
}
