import type { Clock } from "../../cpu/ports.ts";
import {
  type DeviceServer,
  type RequestSlot,
  RequestState,
} from "../../protocol/device-request.ts";
import type { ControlRegion } from "../control-region.ts";
import type { PlatformActor } from "./actors.ts";
import { machineGone } from "./remote-bus.ts";

/** Looks for further requests before going to sleep: a guest that polls a device asks again within a microsecond. */
const spins = 500;
/** A sleep is never longer, so that nothing depends on a ring alone. */
const sleepMsMax = 200;

export interface PlatformRunnerOptions {
  readonly control: ControlRegion;
  readonly clock: Clock;
  readonly platform: PlatformActor & DeviceServer;
  /** Called before the platform sleeps: output gathered so far is to be handed on. */
  readonly flush: () => void;
}

/** Serves the devices of a machine whose LPs live on other threads, until the machine is finished. */
export class PlatformRunner {
  readonly #control: ControlRegion;
  readonly #clock: Clock;
  readonly #platform: PlatformActor & DeviceServer;
  readonly #flush: () => void;
  readonly #slots: readonly RequestSlot[];

  constructor({ control, clock, platform, flush }: PlatformRunnerOptions) {
    this.#control = control;
    this.#clock = clock;
    this.#platform = platform;
    this.#flush = flush;
    this.#slots = Array.from({ length: control.layout.lpCount }, (_, lp) =>
      control.requestSlot(lp),
    );
  }

  run(): void {
    const { platformDoorbell } = this.#control;
    let idleLooks = 0;
    while (!this.#control.isFinished) {
      const seen = platformDoorbell.rings;
      const worked = this.#work();
      idleLooks = worked ? 0 : idleLooks + 1;
      if (idleLooks <= spins) continue;
      this.#flush();
      platformDoorbell.sleep(seen, this.#sleepMs());
      idleLooks = 0;
    }
    this.#flush();
  }

  /** @returns whether there was a request */
  #serveRequests(): boolean {
    let served = false;
    for (const slot of this.#slots) {
      if (slot.state === RequestState.Requested) {
        slot.serve(this.#platform);
        served = true;
      }
    }
    return served;
  }

  #advance(): boolean {
    const deadline = this.#platform.nextDeadline();
    if (deadline === undefined || deadline > this.#clock.now()) return false;
    this.#platform.advance();
    return true;
  }

  /** @returns whether there was anything to do */
  #work(): boolean {
    try {
      return this.#serveRequests() || this.#advance();
    } catch (error) {
      // A message could not be delivered because the LP has stopped: nobody waits for the rest of it.
      if (error === machineGone) return false;
      throw error;
    }
  }

  #sleepMs(): number {
    const deadline = this.#platform.nextDeadline();
    if (deadline === undefined) return sleepMsMax;
    const wait = ((deadline - this.#clock.now()) * 1000) / this.#clock.frequencyHz;
    return Math.min(sleepMsMax, Math.max(0, wait));
  }
}
