import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Acceptance } from "../../../src/cpu/local-apic/local-apic.ts";
import { ApicRegister } from "../../../src/cpu/local-apic/registers.ts";
import { pinEntry } from "../../../src/protocol/interrupt-entry.ts";
import { DeliveryMode } from "../../../src/protocol/interrupt-message.ts";
import { ApicHarness } from "./apic-harness.ts";

/** The rule said once more, over sets: the highest requested class above task and service is served. */
class PriorityModel {
  readonly requested = new Set<number>();
  /** Ascending. */
  readonly inService: number[] = [];
  task = 0;

  /** @returns the vector that goes into service, -1 for none */
  serve(): number {
    const current = Math.max(this.task, (this.inService.at(-1) ?? 0) >> 4);
    const vector = Math.max(-1, ...[...this.requested].filter((each) => each >> 4 > current));
    if (vector >= 0) {
      this.requested.delete(vector);
      this.inService.push(vector);
    }
    return vector;
  }
}

function expectServed(harness: ApicHarness, vector: number): void {
  expect(harness.apic.highestPending()).toBe(vector);
  if (vector >= 0) {
    expect(harness.apic.acknowledge()).toBe(vector);
  }
}

describe("acceptance", () => {
  test("a fixed interrupt is requested, and the processor told", () => {
    const harness = new ApicHarness().enable();
    harness.takeSignal();
    harness.request(0x41);
    expect(harness.vectors(ApicRegister.InterruptRequest)).toEqual([0x41]);
    expect(harness.takeSignal()).toBe(true);
  });

  test("the trigger mode register says how it came", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x41, true);
    expect(harness.vectors(ApicRegister.TriggerMode)).toEqual([0x41]);
    harness.request(0x41, false);
    expect(harness.vectors(ApicRegister.TriggerMode)).toEqual([]);
  });

  test("a vector below 16 is an error, not a request", () => {
    const harness = new ApicHarness().enable();
    harness.request(15);
    expect(harness.apic.interruptPending()).toBe(false);
    harness.write(ApicRegister.ErrorStatus, 0);
    expect(harness.read(ApicRegister.ErrorStatus)).toBe(1 << 6);
  });

  test("software-disabled: no fixed interrupt, but NMI, INIT and start-up", () => {
    const harness = new ApicHarness();
    harness.request(0x41);
    expect(harness.apic.interruptPending()).toBe(false);
    expect(harness.receive(DeliveryMode.Nmi)).toBe(Acceptance.Nmi);
    expect(harness.receive(DeliveryMode.Init)).toBe(Acceptance.Init);
    expect(harness.receive(DeliveryMode.Startup, 8)).toBe(Acceptance.Startup);
  });

  test("software disabling keeps what is requested, and masks the local vector table for good", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.LvtTimer, 0x40);
    harness.request(0x41);
    harness.write(ApicRegister.SpuriousVector, 0xff);
    expect(harness.apic.highestPending()).toBe(0x41);
    expect(harness.read(ApicRegister.LvtTimer)).toBe(0x1_0040);
    harness.write(ApicRegister.LvtTimer, 0x42);
    expect(harness.read(ApicRegister.LvtTimer)).toBe(0x1_0042);
  });

  test("SMI is let go", () => {
    const harness = new ApicHarness().enable();
    expect(harness.receive(DeliveryMode.Smi)).toBe(Acceptance.None);
    expect(harness.apic.interruptPending()).toBe(false);
  });
});

describe("priorities", () => {
  test("a vector is deliverable when its class is above the processor priority's", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51);
    harness.write(ApicRegister.TaskPriority, 0x50);
    expect(harness.apic.highestPending()).toBe(-1);
    harness.takeSignal();
    harness.write(ApicRegister.TaskPriority, 0x4f);
    expect(harness.apic.highestPending()).toBe(0x51);
    expect(harness.takeSignal()).toBe(true);
  });

  test("acknowledging moves the highest vector into service, and its class into the priority", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51);
    harness.request(0x91);
    harness.request(0x92);
    expect(harness.apic.acknowledge()).toBe(0x92);
    expect(harness.vectors(ApicRegister.InService)).toEqual([0x92]);
    expect(harness.vectors(ApicRegister.InterruptRequest)).toEqual([0x51, 0x91]);
    expect(harness.read(ApicRegister.ProcessorPriority)).toBe(0x90);
    expect(harness.apic.highestPending()).toBe(-1);
  });

  test("the processor priority is the task priority itself when its class is not lower", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51);
    harness.apic.acknowledge();
    harness.write(ApicRegister.TaskPriority, 0x57);
    expect(harness.read(ApicRegister.ProcessorPriority)).toBe(0x57);
    harness.write(ApicRegister.TaskPriority, 0x47);
    expect(harness.read(ApicRegister.ProcessorPriority)).toBe(0x50);
  });

  test("arbitration priority: the task's when it rules, else the highest request's class", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.TaskPriority, 0x65);
    expect(harness.read(ApicRegister.ArbitrationPriority)).toBe(0x65);
    harness.request(0x83);
    expect(harness.read(ApicRegister.ArbitrationPriority)).toBe(0x80);
  });

  test("a request that is gone is answered with the spurious vector, and nothing is in service", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.SpuriousVector, 0x1ef);
    harness.request(0x51);
    harness.write(ApicRegister.TaskPriority, 0x60);
    expect(harness.apic.acknowledge()).toBe(0xef);
    expect(harness.vectors(ApicRegister.InService)).toEqual([]);
    expect(harness.vectors(ApicRegister.InterruptRequest)).toEqual([0x51]);
  });

  test("property: every vector is delivered once, highest class first, however requests and dismissals mix", () => {
    const step = fc.oneof(
      fc.record({ request: fc.integer({ min: 16, max: 255 }) }),
      fc.constant("serve" as const),
      fc.constant("dismiss" as const),
      fc.record({ priority: fc.integer({ min: 0, max: 15 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const harness = new ApicHarness().enable();
        const model = new PriorityModel();
        for (const each of steps) {
          if (each === "serve") {
            expectServed(harness, model.serve());
          } else if (each === "dismiss") {
            model.inService.pop();
            harness.write(ApicRegister.EndOfInterrupt, 0);
          } else if ("request" in each) {
            model.requested.add(each.request);
            harness.request(each.request);
          } else {
            model.task = each.priority;
            harness.apic.cr8 = each.priority;
          }
        }
        expect(harness.vectors(ApicRegister.InService)).toEqual(model.inService);
        expect(harness.vectors(ApicRegister.InterruptRequest)).toEqual(
          [...model.requested].sort((a, b) => a - b),
        );
      }),
      { numRuns: 40 },
    );
  });
});

describe("end of interrupt", () => {
  test("dismisses the highest vector in service", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51);
    harness.apic.acknowledge();
    harness.request(0x91);
    harness.apic.acknowledge();
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.vectors(ApicRegister.InService)).toEqual([0x51]);
    expect(harness.read(ApicRegister.ProcessorPriority)).toBe(0x50);
    expect(harness.broadcasts).toEqual([]);
  });

  test("is broadcast for a level-triggered vector", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51, true);
    harness.apic.acknowledge();
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.broadcasts).toEqual([0x51]);
  });

  test("is not broadcast when software suppresses that", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.SpuriousVector, 0x11ff);
    harness.request(0x51, true);
    harness.apic.acknowledge();
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.broadcasts).toEqual([]);
  });

  test("with nothing in service does nothing", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x51, true);
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.broadcasts).toEqual([]);
    expect(harness.apic.highestPending()).toBe(0x51);
  });

  test("tells the processor of the next vector", () => {
    const harness = new ApicHarness().enable();
    harness.request(0x91);
    harness.apic.acknowledge();
    harness.request(0x51);
    harness.takeSignal();
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.takeSignal()).toBe(true);
  });
});

describe("pins", () => {
  const raise = (harness: ApicHarness, pin: 0 | 1): number =>
    harness.apic.accept(pinEntry(pin, true));
  const lower = (harness: ApicHarness, pin: 0 | 1): number =>
    harness.apic.accept(pinEntry(pin, false));

  test("LINT0 in ExtINT mode: the vector is the 8259 pair's, and nothing is in service", () => {
    const harness = new ApicHarness();
    harness.apic.configureVirtualWire();
    raise(harness, 0);
    expect(harness.takeSignal()).toBe(true);
    expect(harness.apic.interruptPending()).toBe(true);
    expect(harness.apic.highestPending()).toBe(-1);
    harness.externalVector = 0x0b;
    expect(harness.apic.acknowledge()).toBe(0x0b);
    expect(harness.vectors(ApicRegister.InService)).toEqual([]);
    lower(harness, 0);
    expect(harness.apic.interruptPending()).toBe(false);
  });

  test("ExtINT does not ask the task priority", () => {
    const harness = new ApicHarness();
    harness.apic.configureVirtualWire();
    harness.apic.cr8 = 15;
    raise(harness, 0);
    expect(harness.apic.interruptPending()).toBe(true);
  });

  test("a masked pin keeps quiet, and speaks when unmasked while still high", () => {
    const harness = new ApicHarness().enable();
    raise(harness, 0);
    expect(harness.apic.interruptPending()).toBe(false);
    harness.takeSignal();
    harness.write(ApicRegister.LvtLint0, DeliveryMode.ExtInt << 8);
    expect(harness.apic.interruptPending()).toBe(true);
    expect(harness.takeSignal()).toBe(true);
  });

  test("LINT1 in NMI mode: one NMI per rising edge", () => {
    const harness = new ApicHarness();
    harness.apic.configureVirtualWire();
    expect(raise(harness, 1)).toBe(Acceptance.Nmi);
    expect(raise(harness, 1)).toBe(Acceptance.None);
    expect(lower(harness, 1)).toBe(Acceptance.None);
    expect(raise(harness, 1)).toBe(Acceptance.Nmi);
  });

  test("fixed and edge: a request per rising edge", () => {
    const harness = new ApicHarness().enable();
    harness.write(ApicRegister.LvtLint0, 0x61);
    raise(harness, 0);
    expect(harness.apic.acknowledge()).toBe(0x61);
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.apic.interruptPending()).toBe(false);
  });

  test("fixed and level: requested again after each EOI while the pin is high", () => {
    const harness = new ApicHarness().enable();
    const remoteIrr = 1 << 14;
    harness.write(ApicRegister.LvtLint0, 0x8061);
    raise(harness, 0);
    expect(harness.read(ApicRegister.LvtLint0) & remoteIrr).toBe(remoteIrr);
    expect(harness.apic.acknowledge()).toBe(0x61);
    expect(harness.apic.interruptPending()).toBe(false);
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.apic.acknowledge()).toBe(0x61);
    lower(harness, 0);
    harness.write(ApicRegister.EndOfInterrupt, 0);
    expect(harness.apic.interruptPending()).toBe(false);
    expect(harness.read(ApicRegister.LvtLint0) & remoteIrr).toBe(0);
  });

  test("without an APIC the pins are INTR and NMI", () => {
    const harness = new ApicHarness();
    harness.apic.writeBaseRegister(0xfee0_0000n);
    raise(harness, 0);
    expect(harness.apic.interruptPending()).toBe(true);
    expect(harness.apic.acknowledge()).toBe(0x20);
    expect(raise(harness, 1)).toBe(Acceptance.Nmi);
  });
});

test("an ExtINT message waits until it is acknowledged", () => {
  const harness = new ApicHarness().enable();
  harness.receive(DeliveryMode.ExtInt);
  expect(harness.apic.interruptPending()).toBe(true);
  expect(harness.apic.acknowledge()).toBe(0x20);
  expect(harness.apic.interruptPending()).toBe(false);
});

test("local sources are delivered as their entries say; the performance entry masks itself", () => {
  const harness = new ApicHarness().enable();
  harness.write(ApicRegister.LvtThermal, 0x71);
  harness.write(ApicRegister.LvtPerformance, DeliveryMode.Nmi << 8);
  expect(harness.apic.trigger(ApicRegister.LvtThermal)).toBe(Acceptance.None);
  expect(harness.apic.acknowledge()).toBe(0x71);
  expect(harness.apic.trigger(ApicRegister.LvtPerformance)).toBe(Acceptance.Nmi);
  expect(harness.apic.trigger(ApicRegister.LvtPerformance)).toBe(Acceptance.None);
  expect(harness.apic.trigger(ApicRegister.LvtCmci)).toBe(Acceptance.None);
});
