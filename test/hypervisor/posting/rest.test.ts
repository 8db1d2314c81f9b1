import { describe, expect, it } from "vitest";
import { Prng } from "../../../src/base/prng.ts";
import { lpContext } from "../../../src/hypervisor/posting/context.ts";
import { noObserver } from "../../../src/hypervisor/posting/observer.ts";
import {
  descriptorOf,
  hostVector,
  VcpuState,
  vcpuBlock,
  vcpuField,
} from "../../../src/hypervisor/posting/posting-memory.ts";
import { lookForRest } from "../../../src/hypervisor/posting/rest.ts";
import { sleep } from "../../../src/hypervisor/posting/run-loop.ts";
import { wake } from "../../../src/hypervisor/posting/waking.ts";
import { vmcsField } from "../../../src/hypervisor/vmx/architecture.ts";
import {
  controlAt,
  controlWord,
  outstanding,
} from "../../../src/hypervisor/vmx/posted-interrupts.ts";
import type { OwnOperations, Steps } from "../../../src/isa/operations.ts";
import { ScriptMemory } from "./script-memory.ts";

const vcpu = 0;
const vector = 0x41;
const block = vcpuBlock(vcpu);

/** LP 0, which has just left its vCPU's guest by HLT. */
function halted() {
  const memory = new ScriptMemory();
  const setup = {
    lps: 1,
    vcpus: 1,
    ipiVirtualization: false,
    bug: undefined,
    observer: noObserver,
  };
  const context = lpContext(setup, {
    ...{ lp: 0, lpCount: 2, apicIds: [0, 1], ramBytes: 0, frame: 0n, exitPoint: 0n },
    random: new Prng(1),
    now: () => 0,
    entry: () => 0n,
    gate: () => 0n,
    own: {} as OwnOperations,
    host: {
      ...{ codeSelector: 0, dataSelector: 0, taskSelector: 0 },
      ...{ gdtBase: 0n, idtBase: 0n, taskBase: 0n, stackTop: 0n },
    },
  });
  memory.set(block + vcpuField.state, VcpuState.Running);
  memory.set(block + vcpuField.held, 1n);
  memory.set(controlAt(descriptorOf(vcpu)), controlWord(hostVector.active, 0));
  return { memory, context };
}

function post(memory: ScriptMemory): void {
  memory.set(descriptorOf(vcpu) + 8n, 1n << BigInt(vector - 64));
  const control = controlAt(descriptorOf(vcpu));
  memory.set(control, memory.get(control) | outstanding);
}

/** Executes a script and looks for rest after each operation. @returns what the looks have seen, and the result */
function watched<T>(memory: ScriptMemory, script: Steps<T>) {
  const looks: (bigint | undefined)[] = [];
  for (let result = 0n; ; ) {
    const step = script.next(result);
    if (step.done === true) return { looks, result: step.value };
    result = memory.execute(step.value);
    looks.push(memory.run(lookForRest(1)));
  }
}

describe("a machine", () => {
  it("is not at rest while an LP takes what has been posted to a vCPU that has halted", () => {
    const { memory, context } = halted();
    post(memory);
    const { looks, result } = watched(memory, sleep(context, vcpu));
    expect(result).toBe(false);
    expect(looks.length).toBeGreaterThan(10);
    expect(looks.every((seen) => seen === undefined)).toBe(true);
    expect(memory.fields.get(BigInt(vmcsField.guestInterruptStatus))).toBe(BigInt(vector));
  });
  it("is at rest when the LP has let go of a vCPU that sleeps, and not before", () => {
    for (const devices of [0n, 1n]) {
      const { memory, context } = halted();
      memory.set(block + vcpuField.devices, devices);
      const { looks, result } = watched(memory, sleep(context, vcpu));
      expect(result).toBe(true);
      expect(looks.pop()).toBe(0n);
      expect(looks.every((seen) => seen === undefined)).toBe(true);
    }
  });
  it("is not at rest with a notification under way, nor while a vCPU is woken", () => {
    const { memory, context } = halted();
    memory.run(sleep(context, vcpu));
    post(memory);
    expect(memory.run(lookForRest(1))).toBeUndefined();
    memory.set(controlAt(descriptorOf(vcpu)), controlWord(hostVector.active, 0));
    expect(memory.run(lookForRest(1))).toBe(0n);
    const { looks } = watched(memory, wake(context, vcpu));
    expect(looks.every((seen) => seen === undefined)).toBe(true);
  });
  it("tells two looks between which a vCPU was woken apart", () => {
    const { memory, context } = halted();
    memory.run(sleep(context, vcpu));
    const before = memory.run(lookForRest(1));
    memory.run(wake(context, vcpu));
    memory.set(block + vcpuField.state, VcpuState.Running);
    memory.run(sleep(context, vcpu));
    const after = memory.run(lookForRest(1));
    expect(before).toBe(0n);
    expect(after).toBe(1n);
  });
});
