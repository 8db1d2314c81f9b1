import type { PciDevice } from "../../../src/platform/pci-device.ts";
import type { PciSlot } from "../../../src/platform/pci-slot.ts";
import type { RequesterPort } from "../../../src/platform/requester.ts";

/** Where messages go; anything but RAM. */
export const messageAddress = 0xfee0_0000;
const ramBytes = 0x1_0000;
const command = { register: 0x04, memoryAndMaster: 6 } as const;
const msixId = 0x11;

/** A device on a bench: 64 KiB of RAM, a clock that is set by hand, and a note of every message. */
export class DeviceBench<Device extends PciDevice> {
  readonly ram = new Uint8Array(ramBytes);
  readonly view = new DataView(this.ram.buffer);
  readonly messages: number[] = [];
  readonly clock = { frequencyHz: 1e9, now: () => this.now };
  readonly device: Device;
  now = 0;
  line = false;
  /** Requests refused from here on, as a VT-d unit does. */
  isBlocked = false;

  constructor(create: (slot: PciSlot, bench: DeviceBench<Device>) => Device) {
    const port: RequesterPort = {
      read: (address, into) => this.#reach(address, into.length, (at) => into.set(at)),
      write: (address, from) => this.#reach(address, from.length, (at) => at.set(from)),
      message: (address, data) => {
        if (Number(address) === messageAddress) this.messages.push(data);
      },
    };
    const interrupt = (high: boolean): void => {
      this.line = high;
    };
    this.device = create({ bus: 0, device: 4, function: 0, port, interrupt }, this);
    this.device.function.reset();
    this.device.reset();
    this.device.function.writeConfiguration(command.register, 2, command.memoryAndMaster);
  }

  /** Turns MSI-X on; entry n sends vector `first` + n. */
  enableMsix(entries: number, first: number, barIndex = 1): void {
    for (let n = 0; n < entries; n++) {
      this.write(16 * n, messageAddress, barIndex);
      this.write(16 * n + 8, first + n, barIndex);
      this.write(16 * n + 12, 0, barIndex);
    }
    const at = this.capability(msixId);
    this.device.function.writeConfiguration(at + 2, 2, 0x8000);
  }

  /** Offset of a capability in configuration space. */
  capability(id: number, skip = 0): number {
    const { function: fn } = this.device;
    let left = skip;
    for (let at = fn.readConfiguration(0x34, 1); at !== 0; at = fn.readConfiguration(at + 1, 1)) {
      if (fn.readConfiguration(at, 1) === id && left-- === 0) return at;
    }
    throw new Error(`there is no capability ${id}`);
  }

  read(offset: number, barIndex = 0, size = 4): number {
    return this.#bar(barIndex).read(offset, size) >>> 0;
  }
  write(offset: number, value: number, barIndex = 0, size = 4): void {
    this.#bar(barIndex).write(offset, size, value);
  }

  /** Lets time pass, with a poll at each moment the device asks for. */
  advance(until: number): void {
    const { timed } = this.device;
    for (let due = timed?.deadline(); due !== undefined && due <= until; due = timed?.deadline()) {
      this.now = Math.max(this.now, due);
      timed?.poll(this.now);
    }
    this.now = until;
  }

  #bar(index: number) {
    const found = this.device.function.bars.find(([n]) => n === index);
    if (found === undefined) throw new Error(`there is no window ${index}`);
    return found[1];
  }

  #reach(address: number | bigint, bytes: number, act: (at: Uint8Array) => void): boolean {
    const start = Number(address);
    if (this.isBlocked || start + bytes > this.ram.length) return false;
    act(this.ram.subarray(start, start + bytes));
    return true;
  }
}
