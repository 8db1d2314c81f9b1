import {
  compareExchange,
  compute,
  exchange,
  exchangeAdd,
  hlt,
  load,
  type Steps,
  spin,
  spinUntil,
  store,
  vmcall,
} from "../../isa/operations.ts";
import { hypercall } from "../reference/vectors.ts";
import { BlockCause } from "../run-record.ts";
import type { LockKind } from "../scenario.ts";
import type { GuestKit } from "./guest-kit.ts";
import { lockLine, nodeLocked, nodeNext, waitingWord } from "./guest-memory-map.ts";
import { Patience } from "./patience.ts";

/** Longest spin of one operation, in cycles: a waiter looks again and again. */
const forever = 1e12;

/** A spin lock in guest memory. */
export interface Lock {
  acquire(kit: GuestKit): Steps<void>;
  release(kit: GuestKit): Steps<void>;
}

/** @param number of the lock in its VM. @param spins rounds of PAUSE before a paravirtual waiter halts */
export function makeLock(kind: LockKind, number: number, spins: number): Lock {
  switch (kind) {
    case "test-and-set":
      return new TestAndSetLock(number);
    case "ticket":
      return new TicketLock(number);
    case "mcs":
      return new McsLock(number);
    case "paravirtual":
      return new ParavirtualTicketLock(number, spins);
  }
}

/** The line of a lock that another core has changed comes over. */
const transfer = ({ run }: GuestKit) => compute(run.costs["memory.line-transfer"]);

class TestAndSetLock implements Lock {
  readonly #word: bigint;

  constructor(number: number) {
    this.#word = lockLine(number, 0);
  }
  *acquire(kit: GuestKit): Steps<void> {
    while ((yield exchange(this.#word, 8, 1n)) !== 0n) {
      yield spin(this.#word, 8, 1n, forever);
      yield transfer(kit);
    }
  }
  *release(): Steps<void> {
    yield store(this.#word, 8, 0n);
  }
}

/** Who waits for which ticket: for the record. */
class TicketLock implements Lock {
  protected readonly next: bigint;
  protected readonly serving: bigint;
  protected readonly number: number;
  readonly #waiters = new Map<bigint, GuestKit>();
  #held = 0n;

  constructor(number: number) {
    this.number = number;
    this.next = lockLine(number, 0);
    this.serving = lockLine(number, 1);
  }
  *acquire(kit: GuestKit): Steps<void> {
    const ticket = yield exchangeAdd(this.next, 8, 1n);
    if ((yield load(this.serving, 8)) !== ticket) {
      this.#waiters.set(ticket, kit);
      yield* this.wait(kit, ticket);
      this.#waiters.delete(ticket);
    }
    this.#held = ticket;
  }
  protected *wait(kit: GuestKit, ticket: bigint): Steps<void> {
    while ((yield load(this.serving, 8)) !== ticket) {
      yield spinUntil(this.serving, 8, ticket, forever);
      yield transfer(kit);
    }
  }
  *release(kit: GuestKit): Steps<void> {
    const following = this.#held + 1n;
    yield store(this.serving, 8, following);
    const waiter = this.#waiters.get(following);
    if (waiter === undefined) return;
    kit.recorder.lockHandoff(kit.now(), kit.lp, kit.vcpu.id, this.number, waiter.vcpu.id);
    yield* this.handOver(following);
  }
  protected *handOver(_ticket: bigint): Steps<void> {}
}

/** A ticket lock whose waiters halt after a while and are kicked when it is their turn. */
class ParavirtualTicketLock extends TicketLock {
  readonly #spins: number;

  constructor(number: number, spins: number) {
    super(number);
    this.#spins = spins;
  }
  protected override *wait(kit: GuestKit, ticket: bigint): Steps<void> {
    const patience = new Patience(kit, this.#spins);
    const slot = waitingWord(this.number, Number(ticket & 0xffffn));
    while ((yield load(this.serving, 8)) !== ticket) {
      yield spinUntil(this.serving, 8, ticket, patience.begin());
      yield transfer(kit);
      if ((yield load(this.serving, 8)) === ticket) return;
      if (!patience.isOver()) continue;
      yield exchange(slot, 8, BigInt(kit.vcpu.index + 1));
      if ((yield load(this.serving, 8)) === ticket) return;
      kit.vcpu.blockCause = BlockCause.Lock;
      yield hlt();
      kit.vcpu.blockCause = BlockCause.Idle;
    }
  }
  protected override *handOver(ticket: bigint): Steps<void> {
    const sleeper = yield exchange(waitingWord(this.number, Number(ticket & 0xffffn)), 8, 0n);
    if (sleeper !== 0n) yield vmcall(hypercall.kick, sleeper - 1n);
  }
}

/** Each waiter spins on a line of its own, and knows who comes after it. */
class McsLock implements Lock {
  readonly #number: number;
  readonly #tail: bigint;

  constructor(number: number) {
    this.#number = number;
    this.#tail = lockLine(number, 0);
  }
  *acquire(kit: GuestKit): Steps<void> {
    const { index } = kit.vcpu;
    yield store(nodeLocked(index), 8, 1n);
    yield store(nodeNext(index), 8, 0n);
    const before = yield exchange(this.#tail, 8, BigInt(index + 1));
    if (before === 0n) return;
    yield store(nodeNext(Number(before - 1n)), 8, BigInt(index + 1));
    while ((yield load(nodeLocked(index), 8)) !== 0n) {
      yield spin(nodeLocked(index), 8, 1n, forever);
      yield transfer(kit);
    }
  }
  *release(kit: GuestKit): Steps<void> {
    const { index } = kit.vcpu;
    const own = BigInt(index + 1);
    if ((yield load(nodeNext(index), 8)) === 0n) {
      if ((yield compareExchange(this.#tail, 8, own, 0n)) === own) return;
      while ((yield load(nodeNext(index), 8)) === 0n) {
        yield spin(nodeNext(index), 8, 0n, forever);
      }
    }
    const following = Number((yield load(nodeNext(index), 8)) - 1n);
    const waiter = kit.group.members.find(({ vcpu }) => vcpu.index === following);
    if (waiter !== undefined) {
      kit.recorder.lockHandoff(kit.now(), kit.lp, kit.vcpu.id, this.#number, waiter.vcpu.id);
    }
    yield store(nodeLocked(following), 8, 0n);
  }
}
