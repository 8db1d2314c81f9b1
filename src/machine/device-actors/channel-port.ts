import { assert } from "../../base/assert.ts";
import type { RequesterPort } from "../../platform/requester.ts";
import {
  type DeviceChannel,
  DmaState,
  dmaBytesMax,
  type FromDevice,
} from "../../protocol/device-channel.ts";
import type { ControlRegion } from "../control-region.ts";
import { machineGone } from "../drivers/remote-bus.ts";
import type { Outpost } from "./outpost.ts";

/** Looks at a request before going to sleep: the platform usually has it done within microseconds. */
const spins = 2000;
/** A sleep is never longer: the machine may have been finished meanwhile. */
const sleepMs = 50;

/**
 * How a device on its own thread says something, and reaches memory: through the platform, and the VT-d unit there. Its messages
 * it remaps itself, as far as that goes.
 */
export class ChannelPort implements RequesterPort {
  readonly #channel: DeviceChannel;
  readonly #control: ControlRegion;
  readonly #outpost: Outpost;
  /** Something has been said since the platform was last woken. */
  #isUnheard = false;

  constructor(channel: DeviceChannel, control: ControlRegion, outpost: Outpost) {
    this.#channel = channel;
    this.#control = control;
    this.#outpost = outpost;
  }

  read(address: number | bigint, into: Uint8Array): boolean {
    const done = this.#request({ type: "dmaRead", address, bytes: into.length });
    if (done) into.set(this.#channel.data.subarray(0, into.length));
    this.#channel.moveDma(DmaState.Idle);
    return done;
  }

  write(address: number | bigint, from: Uint8Array): boolean {
    this.#channel.data.set(from);
    const done = this.#request({ type: "dmaWrite", address, bytes: from.length });
    this.#channel.moveDma(DmaState.Idle);
    return done;
  }

  message(address: number | bigint, data: number): void {
    if (!this.#outpost.message(address, data)) this.say({ type: "message", address, data });
  }

  /** In order with everything else. The platform hears of it at the next `wake`. */
  say(message: FromDevice): void {
    while (!this.#channel.report(message)) {
      if (this.#control.isFinished) throw machineGone;
      this.#control.platformDoorbell.ring();
      this.#channel.up.awaitRoom(sleepMs);
    }
    this.#isUnheard = true;
  }

  /** Has the platform look, if there is something to hear. */
  wake(): void {
    if (!this.#isUnheard) return;
    this.#isUnheard = false;
    this.#control.platformDoorbell.ring();
  }

  /** @returns whether it was done */
  #request(message: FromDevice & { readonly bytes: number }): boolean {
    const channel = this.#channel;
    assert(message.bytes <= dmaBytesMax, "a DMA request has more data than the channel takes");
    channel.moveDma(DmaState.Requested);
    this.say(message);
    this.wake();
    for (let n = 0; n < spins && channel.dmaState === DmaState.Requested; n++);
    while (channel.dmaState === DmaState.Requested) {
      if (this.#control.isFinished) throw machineGone;
      channel.awaitDma(sleepMs);
    }
    return channel.dmaState === DmaState.Done;
  }
}
