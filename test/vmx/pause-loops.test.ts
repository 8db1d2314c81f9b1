import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Assembler } from "../../src/isa/assembler.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import { selector } from "../cpu/test-machine.ts";
import { type Exit, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;
/** Cycles that pass with each reading of the clock. */
let step = 0;

beforeAll(() => {
  m = new VmxMachine().root();
  const { clock } = m.lp;
  const now = clock.now.bind(clock);
  Object.assign(clock, {
    now: () => {
      m.time += step;
      return now();
    },
  });
  m.enable("secondary.pauseLoopExiting").set("pleGap", 100).set("pleWindow", 1000);
  restore = m.checkpoint();
});
beforeEach(() => {
  restore();
  m.time += 1_000_000;
});

/** How many PAUSEs the guest gets through, of at most 40. */
function pauses(cycles: number, resume = false): number {
  step = cycles;
  m.guest((asm: Assembler) => {
    for (let n = 0; n < 40; n++) {
      asm.pause();
    }
    asm.vmcall();
  });
  m.set("guestRip", vmxPlace.guestCode);
  const exit: Exit = resume ? m.resume() : m.launch();
  const done = (Number(exit.rip) - vmxPlace.guestCode) / 2;
  expect(exit.reason).toBe(done < 40 ? exitReason.pause : exitReason.vmcall);
  return done;
}

describe("PAUSE-loop exiting", () => {
  it("exits when the loop lasts longer than the window", () => {
    // The first PAUSE begins the loop; 1000 cycles after it are not too many yet.
    expect(pauses(100)).toBe(11);
    expect(pauses(50, true)).toBe(21);
  });

  it("leaves PAUSEs alone that are further apart than the gap", () => {
    expect(pauses(101)).toBe(40);
  });

  it("leaves a short loop alone", () => {
    expect(pauses(25)).toBe(40);
  });

  it("begins anew with each VM entry", () => {
    m.set("pleWindow", 0);
    expect(pauses(1)).toBe(1);
    expect(pauses(1, true)).toBe(1);
  });

  it("is only for CPL 0", () => {
    m.set("pleWindow", 0);
    m.set("guestCsSelector", selector.userCode64).set("guestCsAccessRights", 0xa0fb);
    m.set("guestSsSelector", selector.userData).set("guestSsAccessRights", 0xc0f3);
    expect(pauses(1)).toBe(40);
  });

  it("gives way to PAUSE exiting, and does nothing when it is off", () => {
    m.enable("primary.pauseExiting");
    expect(pauses(1000)).toBe(0);
    restore();
    m.time += 1_000_000;
    m.disable("secondary.pauseLoopExiting").set("pleWindow", 0);
    expect(pauses(1)).toBe(40);
  });
});
