import { present } from "../../base/assert.ts";
import type { Clock } from "../../cpu/ports.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { lowBytes } from "../../platform/device.ts";
import { type DeviceConfiguration, findDeviceKind } from "../../platform/devices/device-kinds.ts";
import { MailboxFabric } from "../../platform/interrupt-fabric.ts";
import type { PciDevice } from "../../platform/pci-device.ts";
import { firstFreeSlot } from "../../platform/platform.ts";
import { requesterId } from "../../platform/requester.ts";
import {
  type DeviceChannel,
  noTag,
  outputBytesMax,
  type ToDevice,
} from "../../protocol/device-channel.ts";
import type { ControlRegion } from "../control-region.ts";
import { awaitRoom } from "../drivers/await-room.ts";
import { machineGone } from "../drivers/remote-bus.ts";
import { ChannelPort } from "./channel-port.ts";
import { OpenFiles } from "./file-store.ts";
import { Outpost } from "./outpost.ts";

/** Looks for something to do before going to sleep: a driver that polls asks again within microseconds. */
const spins = 200;
/** For so long others are let run. */
const restMs = 0.05;
/** A sleep is never longer: the machine may have been finished meanwhile. */
const sleepMsMax = 100;
/** Messages that are heard before the device gets on with what is due. */
const messagesPerTurn = 64;

export interface DeviceRunnerOptions {
  readonly configuration: DeviceConfiguration;
  /** Its number among the devices: they lie in the slots in this order. */
  readonly index: number;
  readonly channel: DeviceChannel;
  readonly control: ControlRegion;
  readonly clock: Clock;
  /** There is a VT-d unit that offers interrupt posting. */
  readonly posting: boolean;
}

/** Runs a device on this thread until the machine is finished. */
export class DeviceRunner {
  readonly #control: ControlRegion;
  readonly #channel: DeviceChannel;
  readonly #clock: Clock;
  readonly #outpost: Outpost;
  readonly #port: ChannelPort;
  readonly #files = new OpenFiles();
  readonly #device: PciDevice;
  #line = false;
  #output: number[] = [];

  /** @throws {UserError} the device's file cannot be opened */
  constructor(options: DeviceRunnerOptions) {
    const { configuration, index, channel, control, clock } = options;
    this.#control = control;
    this.#channel = channel;
    this.#clock = clock;
    const place = { bus: 0, device: firstFreeSlot + index, function: 0 };
    const requester = requesterId(place.bus, place.device, place.function);
    this.#outpost = makeOutpost(options, requester);
    this.#port = new ChannelPort(channel, control, this.#outpost);
    const kind = present(findDeviceKind(configuration.kind), "nobody makes such a device");
    const slot = {
      ...place,
      port: this.#port,
      interrupt: (high: boolean) => this.#drive(high),
    };
    this.#device = kind.create(slot, configuration, {
      clock,
      openStore: this.#files.open,
      output: (byte) => this.#add(byte),
    });
  }

  run(): void {
    try {
      this.#untilFinished();
    } catch (error) {
      // The platform has left, and with it whoever would hear the rest.
      if (error !== machineGone) throw error;
    } finally {
      this.#files.close();
    }
  }

  #untilFinished(): void {
    let idleLooks = 0;
    while (!this.#control.isFinished) {
      const listened = this.#listen();
      const worked = this.#advance() || listened;
      this.#flush();
      this.#port.wake();
      if (this.#outpost.takeHint()) this.#channel.down.awaitRecord(restMs);
      idleLooks = worked ? 0 : idleLooks + 1;
      if (idleLooks <= spins) continue;
      this.#channel.down.awaitRecord(this.#sleepMs());
      idleLooks = 0;
    }
  }

  /** @returns whether there was a message */
  #listen(): boolean {
    for (let n = 0; n < messagesPerTurn; n++) {
      const message = this.#channel.nextForDevice();
      if (message === undefined) return n > 0;
      this.#hear(message);
      this.#port.wake();
    }
    return true;
  }

  #hear(message: ToDevice): void {
    const { function: fn } = this.#device;
    switch (message.type) {
      case "read": {
        const value = this.#window(message.bar).read(message.offset, message.size);
        this.#answer(message.tag, lowBytes(value, message.size));
        break;
      }
      case "write":
        this.#window(message.bar).write(message.offset, message.size, message.value);
        this.#answer(message.tag, 0);
        break;
      case "readConfiguration":
        this.#answer(message.tag, fn.readConfiguration(message.offset, message.size));
        break;
      case "writeConfiguration":
        fn.writeConfiguration(message.offset, message.size, message.value);
        this.#answer(message.tag, 0);
        break;
      case "reset":
        fn.reset();
        this.#device.reset();
        break;
    }
  }

  #window(index: number) {
    const found = this.#device.function.bars.find(([n]) => n === index);
    return present(found, "a device was asked for a window it does not have")[1];
  }

  #answer(tag: number, value: number): void {
    if (tag !== noTag) this.#port.say({ type: "answer", tag, value });
  }

  #advance(): boolean {
    const { timed } = this.#device;
    const deadline = timed?.deadline();
    if (deadline === undefined) return false;
    const now = this.#clock.now();
    if (deadline > now) return false;
    timed?.poll(now);
    return true;
  }

  #drive(high: boolean): void {
    if (high === this.#line) return;
    this.#line = high;
    this.#port.say({ type: "line", high });
  }

  #add(byte: number): void {
    this.#output.push(byte);
    if (this.#output.length === outputBytesMax) this.#flush();
  }
  #flush(): void {
    if (this.#output.length === 0) return;
    this.#port.say({ type: "output", bytes: Uint8Array.from(this.#output) });
    this.#output = [];
  }

  #sleepMs(): number {
    const deadline = this.#device.timed?.deadline();
    if (deadline === undefined) return sleepMsMax;
    const wait = ((deadline - this.#clock.now()) * 1000) / this.#clock.frequencyHz;
    return Math.min(sleepMsMax, Math.max(0, wait));
  }
}

function makeOutpost(
  { channel, control, posting }: DeviceRunnerOptions,
  requester: number,
): Outpost {
  const { words, layout } = control;
  const fabric = new MailboxFabric({
    words,
    windows: Array.from({ length: layout.lpCount }, (_, lp) => windowBase(layout, lp)),
    whenFull: (lp) => awaitRoom(control, lp),
  });
  const { ramBytes } = layout;
  return new Outpost({ requester, shared: channel.remapping, words, ramBytes, fabric, posting });
}
