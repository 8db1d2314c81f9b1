import { SimulatorBug } from "../../base/assert.ts";
import type { VcpuHandle } from "./scheduler.ts";

/** What a policy keeps of each vCPU. */
export class VcpuStates<State> {
  readonly #states: (State | undefined)[] = [];

  add(vcpu: VcpuHandle, state: State): void {
    this.#states[vcpu.id] = state;
  }

  of(vcpu: VcpuHandle): State {
    const state = this.#states[vcpu.id];
    if (state === undefined) {
      throw new SimulatorBug(`vCPU ${vcpu.index} of ${vcpu.vm.name} was never added to its policy`);
    }
    return state;
  }

  find(vcpu: VcpuHandle): State | undefined {
    return this.#states[vcpu.id];
  }
}
