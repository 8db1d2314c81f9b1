import { TickRate } from "../../src/base/tick-rate.ts";
import { LocalApic } from "../../src/cpu/local-apic/local-apic.ts";
import { LpState } from "../../src/cpu/lp-state.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { ModelSpecificRegisters } from "../../src/cpu/msr.ts";
import type { MsrOwner } from "../../src/cpu/msr-register.ts";
import { lpWindowBytes } from "../../src/execution/lp-window.ts";
import { createMemory, layOutMemory, windowBase } from "../../src/memory/physical-memory.ts";

/** The parts of a processor that its model-specific registers need, with a clock that stands still until moved. */
export interface TestOwner extends MsrOwner {
  readonly msrs: ModelSpecificRegisters;
  readonly clock: { frequencyHz: number; time: number; now(): number };
  pagingChanges: number;
}

export function makeOwner(model: CpuModel): TestOwner {
  const layout = layOutMemory(1024 ** 2, 1, lpWindowBytes);
  const state = new LpState(createMemory(layout), windowBase(layout, 0));
  const clock = {
    frequencyHz: 1_000_000_000,
    time: 1000,
    now(): number {
      return this.time;
    },
  };
  const apic = new LocalApic({
    state,
    clock,
    bus: { endOfInterrupt: () => {}, acknowledgeExternal: () => 0 },
    fabric: { send: () => {} },
    index: 0,
    apicId: 0,
    bootProcessor: true,
    features: { physicalAddressBits: model.physicalAddressBits, x2apic: true },
    timerRate: new TickRate(1, 1),
  });
  apic.reset();
  const owner = {
    state,
    model,
    clock,
    apic,
    pagingChanges: 0,
    addressSpace: {
      changed: () => {
        owner.pagingChanges += 1;
      },
      loadKeys: (offset: number, value: number): void => state.write32(offset, value),
    },
    apicBaseChanged: () => {},
  };
  const msrs = new ModelSpecificRegisters(owner);
  msrs.reset();
  return Object.assign(owner, { msrs });
}
