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

/** The devices, as the LPs of other threads ask for them. */
export interface ServedDevices extends PlatformActor {
  /** Who serves the accesses of an LP. */
  serverFor(lp: number): DeviceServer;
  /** Hears devices that live on other threads. @returns whether there was anything */
  serveDevices(answer: (lp: number, value: number) => void): boolean;
}

export interface PlatformRunnerOptions {
  readonly control: ControlRegion;
  readonly clock: Clock;
  readonly platform: ServedDevices;
  /** Called before the platform sleeps: output gathered so far is to be handed on. */
  readonly flush: () => void;
}

/** Serves the devices of a machine whose LPs live on other threads, until the machine is finished. */
export class PlatformRunner {
  readonly #control: ControlRegion;
  readonly #clock: Clock;
  readonly #platform: ServedDevices;
  readonly #servers: readonly DeviceServer[];
  /** LPs whose request a device on another thread has. */
  readonly #deferred = new Set<number>();
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
    this.#servers = this.#slots.map((_, lp) => platform.serverFor(lp));
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
    for (const [lp, slot] of this.#slots.entries()) {
      const server = this.#servers[lp];
      if (slot.state !== RequestState.Requested || this.#deferred.has(lp)) continue;
      if (server !== undefined && !slot.serve(server)) this.#deferred.add(lp);
      served = true;
    }
    return served;
  }

  #answer(lp: number, value: number): void {
    this.#deferred.delete(lp);
    this.#slots[lp]?.answer(value);
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
      const served = this.#serveRequests();
      const heard = this.#platform.serveDevices((lp, value) => this.#answer(lp, value));
      // LPs that ask without a pause must not keep the timers waiting.
      return this.#advance() || served || heard;
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
