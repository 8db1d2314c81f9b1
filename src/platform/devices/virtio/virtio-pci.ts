import type { Clock } from "../../../cpu/ports.ts";
import { allOnes, type TimedDevice } from "../../device.ts";
import { littleEndian, littleEndianAt } from "../../pci-capability.ts";
import type { PciDevice } from "../../pci-device.ts";
import { PciFunction } from "../../pci-function.ts";
import { MsixCapability } from "../../pci-msix.ts";
import type { PciSlot } from "../../pci-slot.ts";
import type { RequesterPort } from "../../requester.ts";
import { CommonField, commonBytes, noVector } from "./common-configuration.ts";
import type { DescriptorChain } from "./descriptor-chain.ts";
import { type Broken, type QueuePlace, SplitQueue } from "./split-queue.ts";
import { DeviceStatus, featureBit, hasFeature, TransportFeature } from "./virtio-bits.ts";
import {
  AccessCapability,
  type StructurePlace,
  VirtioStructure,
  virtioCapability,
} from "./virtio-capability.ts";
import type { VirtioModel, VirtioQueues } from "./virtio-model.ts";

/** Where the structures lie in the memory window. */
const windowBytes = 0x4000;
const place = {
  common: { bar: 0, offset: 0x0000, bytes: commonBytes },
  interrupt: { bar: 0, offset: 0x1000, bytes: 1 },
  device: { bar: 0, offset: 0x2000, bytes: 0x1000 },
  notify: { bar: 0, offset: 0x3000, bytes: 0x1000 },
} as const satisfies Record<string, StructurePlace>;
/** From one queue's doorbell to the next one's. */
const notifyStride = 4;

const vendorId = 0x1af4;
const firstDeviceId = 0x1040;
const subsystemId = 0x1100;
/** "ISR status capability". */
const interruptBit = { queue: 1, configuration: 2 } as const;
const transportFeatures =
  featureBit(TransportFeature.IndirectDescriptors) |
  featureBit(TransportFeature.EventIndex) |
  featureBit(TransportFeature.Version1) |
  featureBit(TransportFeature.AccessPlatform);
/** Cycles from a doorbell until the device looks at the queue. */
const latency = 1000;
/** Chains of one poll: whoever drives the device has others to serve. */
const chainsPerPoll = 16;
const alignment = { descriptors: 16, driver: 2, device: 4 } as const;

/** A queue as the driver has set it up. */
interface QueueSlot {
  readonly place: QueuePlace;
  vector: number;
  /** Present from when the driver enables it until the reset. */
  queue: SplitQueue | undefined;
  /** Rung, and not yet found empty. */
  isRung: boolean;
}

/**
 * "Virtio Over PCI Bus", the modern transport: finds out what driver and device can agree on, keeps the queues, and
 * interrupts. Whatever makes no sense in a queue stops the device until the driver resets it.
 */
export class VirtioPci implements PciDevice, TimedDevice, VirtioQueues {
  readonly function: PciFunction;
  readonly timed: TimedDevice = this;
  readonly port: RequesterPort;
  readonly #clock: Clock;
  readonly #model: VirtioModel;
  readonly #msix: MsixCapability;
  readonly #queues: readonly QueueSlot[];
  readonly #offered: bigint;
  #status = 0;
  #deviceFeatureSelect = 0;
  #driverFeatureSelect = 0;
  #accepted = 0n;
  #configurationVector: number = noVector;
  #queueSelect = 0;
  #interruptStatus = 0;
  /** When the device looks at its queues; undefined: none is rung. */
  #due: number | undefined;

  constructor(slot: PciSlot, clock: Clock, model: VirtioModel) {
    const { bus, device, function: fn } = slot;
    this.#clock = clock;
    this.#model = model;
    this.#offered = transportFeatures | model.features;
    this.#queues = model.queueSizes.map((size) => ({
      place: { size, descriptors: 0, driver: 0, device: 0 },
      vector: noVector,
      queue: undefined,
      isRung: false,
    }));
    this.#msix = new MsixCapability({ vectors: model.queueSizes.length + 1, barIndex: 1 });
    const configuration = { ...place.device, bytes: model.configuration.length };
    this.function = new PciFunction(
      {
        ...{ bus, device, function: fn },
        ...{ vendorId, deviceId: firstDeviceId + model.deviceType, revision: 1 },
        ...{ classCode: model.classCode, subsystemVendorId: vendorId, subsystemId },
        interruptPin: 1,
        capabilities: [
          this.#msix,
          virtioCapability(VirtioStructure.Common, place.common),
          virtioCapability(VirtioStructure.Interrupt, place.interrupt),
          virtioCapability(VirtioStructure.Device, configuration),
          virtioCapability(VirtioStructure.Notify, place.notify, littleEndian(notifyStride, 4)),
          new AccessCapability((bar) => this.function.identity.bars?.[bar]),
        ],
        bars: [
          {
            space: "memory",
            bytes: windowBytes,
            read: (offset, size) => this.#read(offset, size),
            write: (offset, size, value) => this.#write(offset, size, value),
          },
          this.#msix.bar,
        ],
      },
      slot,
    );
    this.port = exactOnly(this.function.port);
  }

  reset(): void {
    this.#status = 0;
    this.#deviceFeatureSelect = 0;
    this.#driverFeatureSelect = 0;
    this.#accepted = 0n;
    this.#configurationVector = noVector;
    this.#queueSelect = 0;
    this.#interruptStatus = 0;
    this.#due = undefined;
    for (const [n, slot] of this.#queues.entries()) {
      const size = this.#model.queueSizes[n] ?? 0;
      Object.assign(slot.place, { size, descriptors: 0, driver: 0, device: 0 });
      slot.vector = noVector;
      slot.queue = undefined;
      slot.isRung = false;
    }
    this.#driveLine();
  }

  // ---- Work --------------------------------------------------------------------------------------------------------

  deadline(): number | undefined {
    return this.#due;
  }

  /** Looks at the queues that are rung, a chain of each in turn. */
  poll(now: number): void {
    if (this.#due === undefined || this.#due > now) {
      return;
    }
    let left = chainsPerPoll;
    for (let worked = true; worked && left > 0; ) {
      worked = false;
      for (const [n, slot] of this.#queues.entries()) {
        if (slot.isRung && this.#isLive) {
          slot.isRung = this.#model.step(n, this);
          worked ||= slot.isRung;
          left -= 1;
        }
      }
    }
    const isMore = this.#isLive && this.#queues.some(({ isRung }) => isRung);
    this.#due = isMore ? now + 1 : undefined;
  }

  hasChain(queue: number): boolean {
    const available = this.#queueOf(queue)?.available() ?? 0;
    return this.#sound(available) && available > 0;
  }

  take(queue: number): DescriptorChain | undefined {
    const chain = this.#queueOf(queue)?.take();
    return this.#sound(chain) ? chain : undefined;
  }

  give(queue: number, chain: DescriptorChain, written: number): void {
    const wants = this.#queueOf(queue)?.give(chain.head, written);
    if (this.#sound(wants) && wants === true) {
      this.#interrupt(interruptBit.queue, this.#queues[queue]?.vector ?? noVector);
    }
  }

  /** DEVICE_NEEDS_RESET. */
  fail(): void {
    if ((this.#status & DeviceStatus.NeedsReset) !== 0) {
      return;
    }
    const wasLive = this.#isLive;
    this.#status |= DeviceStatus.NeedsReset;
    if (wasLive) {
      this.#interrupt(interruptBit.configuration, this.#configurationVector);
    }
  }

  #sound<T>(outcome: T | Broken): outcome is T {
    if (outcome === "broken") {
      this.fail();
      return false;
    }
    return true;
  }

  #queueOf(n: number): SplitQueue | undefined {
    return this.#isLive ? this.#queues[n]?.queue : undefined;
  }

  /** Driver and device agree, and both are well. */
  get #isLive(): boolean {
    const wanted = DeviceStatus.DriverOk | DeviceStatus.FeaturesOk;
    return (this.#status & (wanted | DeviceStatus.NeedsReset)) === wanted;
  }

  #ring(slot: QueueSlot | undefined): void {
    if (slot?.queue === undefined || !this.#isLive) {
      return;
    }
    slot.isRung = true;
    this.#due ??= this.#clock.now() + latency;
  }

  #interrupt(bit: number, vector: number): void {
    if (this.#msix.isEnabled) {
      this.#msix.signal(vector);
      return;
    }
    this.#interruptStatus |= bit;
    this.#driveLine();
  }

  #driveLine(): void {
    this.function.setInterrupt(this.#interruptStatus !== 0 && !this.#msix.isEnabled);
  }

  // ---- The memory window -------------------------------------------------------------------------------------------

  #read(offset: number, size: number): number {
    if (offset < place.interrupt.offset) {
      return this.#readCommon(offset, size);
    }
    if (offset < place.device.offset) {
      return offset === place.interrupt.offset ? this.#takeInterruptStatus() : 0;
    }
    if (offset < place.notify.offset) {
      return littleEndianAt(this.#model.configuration, offset - place.device.offset, size);
    }
    return 0;
  }

  #write(offset: number, size: number, value: number): void {
    if (offset < place.interrupt.offset) {
      this.#writeCommon(offset, size, value);
    } else if (offset >= place.notify.offset) {
      this.#ring(this.#queues[(offset - place.notify.offset) / notifyStride]);
    } else if (offset >= place.device.offset) {
      this.#model.configurationWritten?.(offset - place.device.offset, size, value);
    }
  }

  /** Reading acknowledges. */
  #takeInterruptStatus(): number {
    const status = this.#interruptStatus;
    this.#interruptStatus = 0;
    this.#driveLine();
    return status;
  }

  #readCommon(offset: number, size: number): number {
    const { place: queue, vector } = this.#selected() ?? absentQueue;
    switch (offset) {
      case CommonField.DeviceFeatureSelect:
        return this.#deviceFeatureSelect;
      case CommonField.DeviceFeature:
        return featureWord(this.#offered, this.#deviceFeatureSelect);
      case CommonField.DriverFeatureSelect:
        return this.#driverFeatureSelect;
      case CommonField.DriverFeature:
        return featureWord(this.#accepted, this.#driverFeatureSelect);
      case CommonField.ConfigurationVector:
        return this.#configurationVector;
      case CommonField.QueueCount:
        return this.#queues.length;
      case CommonField.DeviceStatus:
        return this.#status;
      case CommonField.ConfigurationGeneration:
        return 0;
      case CommonField.QueueSelect:
        return this.#queueSelect;
      case CommonField.QueueSize:
        return queue.size;
      case CommonField.QueueVector:
        return vector;
      case CommonField.QueueEnable:
        return this.#selected()?.queue === undefined ? 0 : 1;
      case CommonField.QueueNotifyOffset:
        return this.#selected() === undefined ? 0 : this.#queueSelect;
      case CommonField.QueueDescriptors:
        return low(queue.descriptors);
      case CommonField.QueueDescriptorsHigh:
        return high(queue.descriptors);
      case CommonField.QueueDriver:
        return low(queue.driver);
      case CommonField.QueueDriverHigh:
        return high(queue.driver);
      case CommonField.QueueDevice:
        return low(queue.device);
      case CommonField.QueueDeviceHigh:
        return high(queue.device);
      default:
        return allOnes(size);
    }
  }

  #writeCommon(offset: number, size: number, value: number): void {
    switch (offset) {
      case CommonField.DeviceFeatureSelect:
        this.#deviceFeatureSelect = value;
        break;
      case CommonField.DriverFeatureSelect:
        this.#driverFeatureSelect = value;
        break;
      case CommonField.DriverFeature:
        this.#acceptFeatures(value);
        break;
      case CommonField.ConfigurationVector:
        this.#configurationVector = this.#knownVector(value);
        break;
      case CommonField.DeviceStatus:
        this.#writeStatus(value & 0xff);
        break;
      case CommonField.QueueSelect:
        this.#queueSelect = value & 0xffff;
        break;
      default: {
        const slot = this.#selected();
        if (slot !== undefined) {
          this.#writeQueue(slot, offset, size, value);
        }
      }
    }
  }

  #selected(): QueueSlot | undefined {
    return this.#queues[this.#queueSelect];
  }

  /** An entry that the table does not have is no entry; the driver sees that it was not taken. */
  #knownVector(value: number): number {
    return value <= this.#queues.length ? value : noVector;
  }

  #acceptFeatures(value: number): void {
    if (this.#driverFeatureSelect > 1 || (this.#status & DeviceStatus.FeaturesOk) !== 0) {
      return;
    }
    const shift = BigInt(32 * this.#driverFeatureSelect);
    const kept = this.#accepted & ~(0xffff_ffffn << shift);
    this.#accepted = kept | (BigInt(value >>> 0) << shift);
  }

  /** "Device Initialization". Zero resets; what the driver accepts must be on offer, and include version 1. */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const isAgreed =
      (this.#accepted & ~this.#offered) === 0n &&
      hasFeature(this.#accepted, TransportFeature.Version1);
    const refused = isAgreed ? 0 : DeviceStatus.FeaturesOk;
    const wasLive = this.#isLive;
    this.#status =
      (value & ~(DeviceStatus.NeedsReset | refused)) | (this.#status & DeviceStatus.NeedsReset);
    if (this.#isLive && !wasLive) {
      for (const slot of this.#queues) {
        this.#ring(slot);
      }
    }
  }

  /** "Virtqueue Configuration". Where a queue lies is fixed once it is enabled. */
  #writeQueue(slot: QueueSlot, offset: number, size: number, value: number): void {
    if (offset === CommonField.QueueVector) {
      slot.vector = this.#knownVector(value);
      return;
    }
    if (slot.queue !== undefined) {
      return;
    }
    const { place: queue } = slot;
    switch (offset) {
      case CommonField.QueueSize:
        if (isQueueSize(value, this.#model.queueSizes[this.#queueSelect] ?? 0)) {
          queue.size = value;
        }
        break;
      case CommonField.QueueEnable:
        if (value === 1 && size === 2) {
          this.#enableQueue(slot);
        }
        break;
      case CommonField.QueueDescriptors:
        queue.descriptors = address(value, high(queue.descriptors));
        break;
      case CommonField.QueueDescriptorsHigh:
        queue.descriptors = address(low(queue.descriptors), value);
        break;
      case CommonField.QueueDriver:
        queue.driver = address(value, high(queue.driver));
        break;
      case CommonField.QueueDriverHigh:
        queue.driver = address(low(queue.driver), value);
        break;
      case CommonField.QueueDevice:
        queue.device = address(value, high(queue.device));
        break;
      case CommonField.QueueDeviceHigh:
        queue.device = address(low(queue.device), value);
        break;
    }
  }

  #enableQueue(slot: QueueSlot): void {
    const { place: queue } = slot;
    const isAligned =
      queue.descriptors % alignment.descriptors === 0 &&
      queue.driver % alignment.driver === 0 &&
      queue.device % alignment.device === 0;
    if (!isAligned) {
      this.fail();
      return;
    }
    slot.queue = new SplitQueue(this.port, queue, {
      indirect: hasFeature(this.#accepted, TransportFeature.IndirectDescriptors),
      eventIndex: hasFeature(this.#accepted, TransportFeature.EventIndex),
    });
  }
}

/** What the registers of a queue read as that the device does not have: its size is 0. */
const absentQueue: QueueSlot = {
  place: { size: 0, descriptors: 0, driver: 0, device: 0 },
  vector: noVector,
  queue: undefined,
  isRung: false,
};

/** Addresses are kept as numbers: those above 2^53, where nothing is, would be rounded, and are refused. */
function exactOnly(port: RequesterPort): RequesterPort {
  return {
    read: (at, into) => at <= Number.MAX_SAFE_INTEGER && port.read(at, into),
    write: (at, from) => at <= Number.MAX_SAFE_INTEGER && port.write(at, from),
    message: (at, data) => port.message(at, data),
  };
}

function featureWord(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffff_ffffn);
}

function isQueueSize(size: number, largest: number): boolean {
  return size > 0 && size <= largest && (size & (size - 1)) === 0;
}

const low = (value: number): number => value >>> 0;
const high = (value: number): number => Math.floor(value / 2 ** 32);
const address = (lowHalf: number, highHalf: number): number => lowHalf + highHalf * 2 ** 32;
