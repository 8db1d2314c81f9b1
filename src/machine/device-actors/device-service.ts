import { parentPort, workerData } from "node:worker_threads";
import { expose } from "comlink";
import { present } from "../../base/assert.ts";
import { DeviceChannel } from "../../protocol/device-channel.ts";
import { type HostMoment, WallClock } from "../clock.ts";
import { ControlRegion } from "../control-region.ts";
import { comlinkEndpoint } from "../drivers/comlink-endpoint.ts";
import type { MachineBlueprint } from "../machine.ts";
import { DeviceRunner } from "./device-runner.ts";

/** What a device's worker is started with. */
export interface DeviceWorkerData {
  readonly memory: WebAssembly.Memory;
  readonly layout: MachineBlueprint["layout"];
  readonly configuration: MachineBlueprint["devices"][number];
  /** Its number among the devices. */
  readonly index: number;
  readonly channel: SharedArrayBuffer;
  readonly posting: boolean;
  readonly start: HostMoment;
}

/** A device's worker, as the main thread calls it. */
export interface DeviceControl {
  ready(): void;
  /** Runs until the machine is finished. */
  run(): void;
}

/** One device on its worker's thread. */
class DeviceService implements DeviceControl {
  readonly #runner: DeviceRunner;

  constructor({ memory, layout, channel, start, ...rest }: DeviceWorkerData) {
    this.#runner = new DeviceRunner({
      ...rest,
      channel: new DeviceChannel(channel),
      control: new ControlRegion(memory, layout),
      clock: new WallClock(start),
    });
  }

  ready(): void {
    // Being asked and answering is all.
  }

  run(): void {
    this.#runner.run();
  }
}

/** The whole of a device's worker. */
export function startDeviceService(): void {
  const port = present(parentPort, "the device service runs in a worker");
  expose(new DeviceService(workerData as DeviceWorkerData), comlinkEndpoint(port));
}
