import { present } from "../../base/assert.ts";
import type { Prng } from "../../base/prng.ts";
import {
  cli,
  compute,
  exchange,
  exchangeAdd,
  hlt,
  load,
  type Script,
  type ScriptEnvironment,
  type Steps,
  sti,
  vmcall,
  wrmsr,
} from "../../isa/operations.ts";
import { msr } from "../vmx/architecture.ts";
import { guestCall } from "./exits.ts";
import type { PostingObserver } from "./observer.ts";
import { guestPlace, letterOf, lineLevel, pinOfVector } from "./posting-memory.ts";
import { isActive } from "./spells.ts";

/** How a scripted guest behaves: chances per round of its loop, 0 to 1. */
export interface GuestHabits {
  readonly vcpus: number;
  /** Vectors that IPIs use, by number from 0. */
  readonly vector: (random: Prng) => number;
  /** Cycles of ordinary work in a round, on the average. */
  readonly work: number;
  readonly halts: number;
  readonly masks: number;
  readonly priorities: number;
  readonly windows: number;
  readonly calls: number;
  /** Handlers that leave the end of interrupt to the loop. */
  readonly lateEnds: number;
  readonly ipis: number;
  readonly ipiVirtualization: boolean;
  /** The planted mistake: the letter comes behind its IPI. */
  readonly lateLetters: boolean;
  readonly seed: number;
  readonly observer: PostingObserver;
}

/** What the loop and the handlers of one vCPU share. */
interface GuestState {
  /** Handlers that have returned without an end of interrupt. */
  endsOwed: number;
  /** From now on every handler ends its interrupt. */
  isFinishing: boolean;
}

/** Guests' numbers among posters begin behind those of LPs. */
const firstGuestPoster = 64;
const longStretch = 60_000;
const settlings = 3;

/** Programs of a guest that takes interrupts in all the ways there are; argument of `guest` is the vCPU's number. */
export function stressGuest(habits: GuestHabits) {
  const states = Array.from({ length: habits.vcpus }, () => ({ endsOwed: 0, isFinishing: false }));
  const stateOf = (vcpu: number): GuestState =>
    present(states[vcpu], `the guest has no vCPU ${vcpu}`);
  return {
    *guest({ random, now }: ScriptEnvironment, vcpu: number): Script {
      const state = stateOf(vcpu);
      const posts = (): boolean => isActive(firstGuestPoster + vcpu, now(), habits.seed);
      yield sti();
      while ((yield load(BigInt(guestPlace.stop))) === 0n) {
        yield* round(habits, state, random, posts);
      }
      yield* finish(habits, state, vcpu);
    },
    /** @param argument vCPU << 8 | vector */
    *handler({ random }: ScriptEnvironment, argument: number): Script {
      const vcpu = argument >>> 8;
      const state = stateOf(vcpu);
      const vector = argument & 0xff;
      habits.observer.handling(vcpu, vector);
      if (random.below(4) === 0) {
        const letters = yield load(BigInt(letterOf(vcpu, vector)));
        habits.observer.lettersSeen(vcpu, vector, Number(letters));
      }
      const pin = pinOfVector(vector);
      // Now and then a device wants more right away: its line stays high.
      if (pin !== undefined && (state.isFinishing || random.below(4) !== 0)) {
        yield exchange(BigInt(lineLevel(pin)), 8, 0n);
      }
      if (random.below(8) === 0) {
        // Higher classes may interrupt.
        yield sti();
        yield compute(1 + random.below(200));
        yield cli();
      }
      if (!state.isFinishing && chance(random, habits.lateEnds)) {
        habits.observer.disturbing("late end");
        state.endsOwed += 1;
      } else {
        yield wrmsr(msr.x2apicEoi, 0n);
      }
    },
  };
}

const chance = (random: Prng, part: number): boolean => random.next() < part * 2 ** 32;

function* round(
  habits: GuestHabits,
  state: GuestState,
  random: Prng,
  posts: () => boolean,
): Steps<void> {
  yield compute(1 + random.below(2 * habits.work));
  if (chance(random, habits.ipis) && posts()) yield* sendIpi(habits, random);
  const { observer } = habits;
  if (chance(random, habits.masks)) {
    observer.disturbing("mask");
    yield cli();
    yield compute(1 + random.below(2 * habits.work));
    yield sti();
  }
  if (chance(random, habits.priorities)) {
    observer.disturbing("priority");
    yield wrmsr(msr.x2apicTpr, BigInt(random.below(16) << 4));
    yield compute(1 + random.below(2 * habits.work));
    yield wrmsr(msr.x2apicTpr, 0n);
  }
  if (chance(random, habits.windows)) {
    observer.disturbing("window");
    yield vmcall(guestCall.interruptWindow);
  }
  if (chance(random, habits.calls)) {
    observer.disturbing("exit");
    yield vmcall(guestCall.nothing);
  }
  yield* endOwed(state);
  if (chance(random, habits.halts)) {
    observer.disturbing("halt");
    yield* halt(state);
  }
}

/** With interrupts off until the very HLT: a handler in between could leave an end of interrupt owed. */
function* halt(state: GuestState): Steps<void> {
  yield cli();
  yield* endOwed(state);
  yield sti();
  yield hlt();
}

function* endOwed(state: GuestState): Steps<void> {
  while (state.endsOwed > 0) {
    state.endsOwed -= 1;
    yield wrmsr(msr.x2apicEoi, 0n);
  }
}

/** First the letter, then the IPI that tells of it. */
function* sendIpi(habits: GuestHabits, random: Prng): Steps<void> {
  const target = random.below(habits.vcpus);
  const vector = habits.vector(random);
  const letter = exchangeAdd(BigInt(letterOf(target, vector)), 8, 1n);
  if (!habits.lateLetters) yield letter;
  if (habits.ipiVirtualization) habits.observer.posting(target, vector, "guest");
  yield wrmsr(msr.x2apicCommand, (BigInt(target) << 32n) | BigInt(vector));
  if (habits.ipiVirtualization) habits.observer.posted(target, "guest");
  if (habits.lateLetters) yield letter;
}

/** Everything posted is to arrive now; then the vCPU rests. */
function* finish(habits: GuestHabits, state: GuestState, vcpu: number): Steps<void> {
  state.isFinishing = true;
  for (let n = 0; n < settlings; n++) {
    yield* endOwed(state);
    yield compute(longStretch);
  }
  habits.observer.settled(vcpu);
  for (;;) yield* halt(state);
}
