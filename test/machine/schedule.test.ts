import { describe, expect, it } from "vitest";
import { Prng } from "../../src/base/prng.ts";
import type { LpActor, LpStop, PlatformActor } from "../../src/machine/drivers/actors.ts";
import { Schedule, type StepResult } from "../../src/machine/drivers/schedule.ts";
import { StrictSchedule } from "../../src/machine/drivers/strict-schedule.ts";
import { VirtualClock } from "../../src/machine/drivers/virtual-clock.ts";

/** An LP that retires whatever it may, and does what a test says at each turn. */
class TestLp implements LpActor {
  retired = 0;
  isCalled = false;
  isDeaf = false;
  deadline: number | undefined;
  readonly turns: { at: number; budget: number }[] = [];
  onTurn: (budget: number) => LpStop = (budget) => {
    this.retired += budget;
    return "budget";
  };
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }
  run(budget: number): LpStop {
    this.turns.push({ at: this.#clock.now(), budget });
    return this.onTurn(budget);
  }
  wakeDeadline(): number | undefined {
    return this.deadline;
  }
}

class TestPlatform implements PlatformActor {
  deadline: number | undefined;
  onMoment: () => void = () => undefined;
  nextDeadline(): number | undefined {
    return this.deadline;
  }
  advance(): void {
    this.onMoment();
  }
}

function machine(count: number, seed = 1) {
  const clock = new VirtualClock();
  const lps = Array.from({ length: count }, () => new TestLp(clock));
  const platform = new TestPlatform();
  const schedule = new Schedule(lps, platform, clock, new Prng(seed));
  return { clock, lps, platform, schedule };
}

const first = <T>(list: readonly T[]): T => {
  const [value] = list;
  if (value === undefined) throw new Error("empty");
  return value;
};

describe("the deterministic schedule", () => {
  it("is a function of the seed", () => {
    const order = (seed: number): StepResult[] => {
      const { schedule } = machine(3, seed);
      return Array.from({ length: 200 }, () => schedule.step());
    };
    expect(order(5)).toEqual(order(5));
    expect(order(5)).not.toEqual(order(6));
  });

  it("keeps LPs together in time", () => {
    const { schedule, lps } = machine(4);
    for (let n = 0; n < 5000; n++) {
      schedule.step();
      const counts = lps.map((lp) => lp.retired);
      expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(6000);
    }
  });

  it("shows a clock that never goes back, whoever reads it", () => {
    const { schedule, lps, clock } = machine(3);
    for (let n = 0; n < 1000; n++) schedule.step();
    expect(clock.now()).toBeGreaterThan(100_000);
    const shown: number[] = [];
    for (const lp of lps) {
      lp.onTurn = (budget) => {
        shown.push(clock.now());
        lp.retired += budget;
        shown.push(clock.now());
        return "budget";
      };
    }
    for (let n = 0; n < 1000; n++) schedule.step();
    expect(shown).toEqual([...shown].sort((a, b) => a - b));
  });

  it("lets no turn pass the moment of a device, and gives the device that very moment", () => {
    const { schedule, lps, platform, clock } = machine(1);
    const moments: [number, number][] = [];
    platform.deadline = 777;
    platform.onMoment = () => {
      moments.push([clock.now(), first(lps).retired]);
      platform.deadline = clock.now() + 1000;
    };
    while (moments.length < 3) schedule.step();
    expect(moments).toEqual([
      [777, 777],
      [1777, 1777],
      [2777, 2777],
    ]);
  });

  it("takes an LP out of the order while it is idle, and jumps to its deadline when nobody else can act", () => {
    const { schedule, lps, clock } = machine(1);
    const lp = first(lps);
    lp.onTurn = () => {
      lp.retired += 10;
      lp.deadline = 5_000;
      return "idle";
    };
    expect(schedule.step()).toMatchObject({ type: "turn", stop: "idle" });
    expect(schedule.step()).toEqual({ type: "passed" });
    expect(clock.now()).toBe(5_000);
    schedule.step();
    expect(lp.turns.map((turn) => turn.at)).toEqual([0, 5_000]);
    expect(schedule.haltedCycles(0)).toBe(4_990);
  });

  it("wakes an idle LP at the time of what was sent to it", () => {
    const { schedule, lps, clock } = machine(2);
    const [sleeper, sender] = lps;
    if (sleeper === undefined || sender === undefined) throw new Error("two LPs");
    sleeper.onTurn = () => {
      if (sleeper.isCalled) {
        sleeper.isCalled = false;
        return "stop";
      }
      return "idle";
    };
    let sentAt = 0;
    sender.onTurn = (budget) => {
      sender.retired += budget;
      if (sender.turns.length === 5) {
        sentAt = clock.now();
        sleeper.isCalled = true;
        schedule.call(0);
      }
      return "budget";
    };
    let result: StepResult;
    do result = schedule.step();
    while (!(result.type === "turn" && result.stop === "stop"));
    expect(sleeper.turns.at(-1)?.at).toBeGreaterThanOrEqual(sentAt);
    expect(schedule.haltedCycles(0)).toBeGreaterThan(0);
  });

  it("does not wait for devices when no interrupt of theirs could wake anybody", () => {
    const { schedule, lps, platform } = machine(2);
    platform.deadline = 100;
    for (const lp of lps) {
      lp.isDeaf = true;
      lp.onTurn = () => "idle";
    }
    expect([1, 2, 3].map(() => schedule.step().type)).toEqual(["turn", "turn", "dead"]);
  });

  it("says so when nobody can ever act again", () => {
    const { schedule, lps } = machine(2);
    for (const lp of lps) lp.onTurn = () => "idle";
    expect([1, 2, 3].map(() => schedule.step().type)).toEqual(["turn", "turn", "dead"]);
  });

  it("moves time on when a turn retires nothing", () => {
    const { schedule, lps, platform } = machine(1);
    first(lps).onTurn = () => "budget";
    let moments = 0;
    platform.deadline = 50;
    platform.onMoment = () => {
      moments++;
      platform.deadline = undefined;
    };
    for (let n = 0; n < 100; n++) schedule.step();
    expect(moments).toBe(1);
  });

  it("charges costs to the one who acts", () => {
    const { schedule, lps, clock } = machine(1);
    first(lps).onTurn = (budget) => {
      first(lps).retired += budget;
      clock.charge("deviceAccess");
      return "budget";
    };
    schedule.step();
    expect(clock.now()).toBe(first(lps).retired + 400);
  });

  it("ends a strict turn when a device is set to work that acts before its end", () => {
    const clock = new VirtualClock();
    const lp = new TestLp(clock);
    const ended: number[] = [];
    const actor: LpActor = Object.assign(lp, { endTurn: () => ended.push(clock.now()) });
    const platform = new TestPlatform();
    const schedule = new StrictSchedule([actor], platform, clock, new Prng(1));
    platform.deadline = 1_000_000;
    lp.onTurn = () => {
      lp.retired += 100;
      platform.deadline = 5000;
      schedule.deviceTouched();
      clock.pass(2000);
      expect(ended).toEqual([]);
      clock.pass(3000);
      return "budget";
    };
    schedule.step();
    expect(ended).toEqual([5100]);
  });
});
