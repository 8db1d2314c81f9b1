import { assert, present } from "../base/assert.ts";
import type { Bus, Clock, TraceSink } from "../cpu/ports.ts";
import { type AcpiImage, buildAcpiTables, sciLine, timerPin } from "./acpi.ts";
import { AcpiPm } from "./acpi-pm.ts";
import { MmioMap, PortMap } from "./address-ranges.ts";
import { chipsetFunctions } from "./chipset.ts";
import { DebugConsole } from "./debug-console.ts";
import { DebugExit } from "./debug-exit.ts";
import {
  allOnes,
  type DmaMemory,
  type Line,
  lowBytes,
  type PortDevice,
  type TimedDevice,
} from "./device.ts";
import { type DeviceConfiguration, findDeviceKind } from "./devices/device-kinds.ts";
import type { DeviceServices } from "./devices/device-services.ts";
import { DirectPort } from "./direct-port.ts";
import { ioapicRequester } from "./dmar.ts";
import type { ExitSink } from "./exit-request.ts";
import { FwCfg } from "./fw-cfg.ts";
import type { DeviceFabric } from "./interrupt-fabric.ts";
import { IoApic, ioapicPins } from "./ioapic.ts";
import { KeyboardController } from "./keyboard-controller.ts";
import { PageRegisters } from "./page-registers.ts";
import { PciBus } from "./pci.ts";
import type { PciDevice } from "./pci-device.ts";
import { placePciFunctions } from "./pci-firmware.ts";
import type { PciFunction } from "./pci-function.ts";
import type { PciSlot } from "./pci-slot.ts";
import { PicPair } from "./pic.ts";
import { Pit } from "./pit.ts";
import { type RequesterPort, requesterId } from "./requester.ts";
import { ResetControl, SystemControlPort } from "./reset-ports.ts";
import { Rtc } from "./rtc.ts";
import { Serial } from "./serial.ts";
import { ShutdownPort } from "./shutdown-port.ts";
import { TestDevice } from "./testdev.ts";
import { UnownedAccesses } from "./unowned-accesses.ts";
import type { VtdCapabilities } from "./vtd/capabilities.ts";
import { type EntryFetch, noRequester, type RemappingOutpost } from "./vtd/interrupt-remapping.ts";
import { VtdUnit } from "./vtd/vtd-unit.ts";

export interface PlatformOptions {
  readonly clock: Clock;
  readonly fabric: DeviceFabric;
  readonly memory: DmaMemory;
  readonly ramBytes: number;
  /** Local APIC ids, by LP index; the first LP's INTR pin is wired to the 8259 pair. */
  readonly apicIds: readonly number[];
  /** Time of day at clock value 0: whole seconds since 1970, UTC. */
  readonly epochSeconds: number;
  /** Where the ACPI tables will be put: 64-byte aligned, in E0000H–FFFFFH. */
  readonly acpiBase: number;
  /** A byte that the guest sends on COM1. */
  readonly serialOutput: (byte: number) => void;
  /** The next byte for the guest on COM1, if there is one by now. */
  readonly serialInput?: (() => number | undefined) | undefined;
  /** A byte that the guest writes to a debug port. */
  readonly debugOutput: (byte: number) => void;
  /** Called in the middle of a port write; the platform may be used until the caller stops it. */
  readonly exit: ExitSink;
  /** The testing device of kvm-unit-tests is there. */
  readonly testDevice: boolean;
  /** Files of the firmware configuration interface. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
  /** PCI functions besides the chipset's. */
  readonly pciFunctions?: readonly PciFunction[];
  /** A VT-d unit between the devices and the rest. */
  readonly iommu?: IommuOptions;
  /** Opens files for devices. */
  readonly openStore?: DeviceServices["openStore"];
  /** Makes a device that lives elsewhere; undefined for one that is to live here. */
  readonly createElsewhere?: (
    slot: PciSlot,
    configuration: DeviceConfiguration,
    index: number,
  ) => PciDevice | undefined;
  /** Devices for the PCI bus, from slot 4 on in this order. */
  readonly devices?: readonly DeviceConfiguration[];
}

export interface IommuOptions {
  readonly capabilities: VtdCapabilities;
  /** The shared memory in 32-bit words, RAM from its beginning. */
  readonly words: Int32Array<ArrayBufferLike>;
  /** How interrupt remapping entries are fetched; 128 bits at once if not given. */
  readonly fetch?: EntryFetch;
  /** Where devices remap their messages themselves. */
  readonly outposts?: readonly RemappingOutpost[];
  readonly trace?: TraceSink | undefined;
}

/** Interrupt lines of the devices here, as ISA numbers them. */
const line = { timer: 0, serial: 4, sci: sciLine, clock: 8 } as const;
const firstSerialPort = 0x3f8;
/** Lines 0 to 15 reach the 8259 pair too. */
const isaLines = 16;
/** The 8259 pair's own cascade. */
const cascadeLine = 2;
/** Slots of a PCI bus. */
export const slotCount = 32;
/** The first PCI slot that the chipset leaves free. */
export const firstFreeSlot = 4;
/** Lines that the INTx pins share. */
const pciLines: readonly number[] = [10, 11];
/** Lines of no device on the board: 5, and those of PCI. */
const freeLines = (1 << 5) | (1 << 10) | (1 << 11);

const picPort = {
  masterCommand: 0x20,
  masterData: 0x21,
  slaveCommand: 0xa0,
  slaveData: 0xa1,
} as const;
/** Where a BIOS has the 8259 pair's vectors. */
const firmwareVectors = { master: 0x08, slave: 0x70 } as const;

interface Resettable {
  reset(): void;
}

/**
 * Everything outside the processors and RAM: a PC of the 440FX kind. One thread uses it. Nothing happens in it but through
 * its methods: whoever drives the machine calls `poll` when `deadline` has come.
 *
 * ```
 *   LP ─ port, MMIO ─▶ Platform ─ ranges ─▶ device ─ line ─▶ 8259 pair ─ INTR ─▶ LINT0 of LP 0
 *                                                      └───▶ I/O APIC ─ message ─▶ fabric ─▶ LPs
 * ```
 */
export class Platform implements Bus {
  /** What firmware leaves in memory, to be copied there. */
  readonly acpi: AcpiImage;
  /** Accesses that no device answered. */
  readonly unowned = new UnownedAccesses();
  readonly #options: PlatformOptions;
  readonly #ports = new PortMap();
  readonly #mmio = new MmioMap();
  readonly #timed: readonly TimedDevice[];
  readonly #resettable: readonly Resettable[];
  readonly #pic: PicPair;
  readonly #ioapic: IoApic;
  readonly #vtd: VtdUnit | undefined;
  readonly #pit: Pit;
  readonly #serial: Serial;
  readonly #pci: PciBus;
  readonly #devices: readonly PciDevice[];
  /** INTx pins that hold a line high, by slot, for each of the lines. */
  readonly #pins = new Uint32Array(pciLines.length);
  /** The function that last raised each of the lines. */
  readonly #raisers: number[] = [];
  /** Levels of the lines, bit n for line n. */
  #lines = 0;

  constructor(options: PlatformOptions) {
    this.#options = options;
    const { clock, exit, ramBytes, apicIds } = options;
    const lpCount = apicIds.length;
    this.acpi = buildAcpiTables({
      ...{ base: options.acpiBase, apicIds, ramBytes },
      ...(options.iommu === undefined ? {} : { iommu: options.iommu.capabilities }),
    });
    this.#vtd = this.#makeVtdUnit();
    this.#ioapic = new IoApic(options.fabric, (pin, low, high) => this.#remap(pin, low, high));
    this.#pic = new PicPair((high) => this.#driveIntr(high));
    this.#pit = new Pit(clock, this.#line(line.timer));
    this.#serial = new Serial({
      firstPort: firstSerialPort,
      interrupt: this.#line(line.serial),
      output: options.serialOutput,
      input: options.serialInput,
    });
    this.#devices = (options.devices ?? []).map((device, n) => this.#makeDevice(device, n));
    this.#pci = new PciBus([
      ...chipsetFunctions(),
      ...(options.pciFunctions ?? []),
      ...this.#devices.map((device) => device.function),
    ]);
    const rtc = new Rtc({
      clock,
      epochSeconds: options.epochSeconds,
      ramBytes,
      lpCount,
      interrupt: this.#line(line.clock),
    });
    const acpiPm = new AcpiPm(clock, this.#line(line.sci), exit);
    const files = options.files ?? new Map<string, Uint8Array>();
    const others = [
      new FwCfg({ ramBytes, lpCount, files, memory: options.memory }),
      new KeyboardController(exit),
      new SystemControlPort(exit),
      new ResetControl(exit),
      new ShutdownPort(exit),
      new PageRegisters(),
    ];
    this.#timed = [
      ...[this.#pit, rtc, acpiPm],
      ...this.#devices.flatMap(({ timed }) => (timed === undefined ? [] : [timed])),
    ];
    const chips = [this.#pic, this.#pit, this.#serial, this.#pci, rtc, acpiPm, ...others];
    const vtd = this.#vtd === undefined ? [] : [this.#vtd];
    this.#resettable = [this.#ioapic, ...vtd, ...chips, ...this.#devices];
    const stateless: PortDevice[] = [
      new DebugExit(exit),
      new DebugConsole(options.debugOutput, !options.testDevice),
    ];
    for (const device of [...chips, ...stateless]) {
      this.#ports.add(device);
    }
    for (const device of [this.#ioapic, ...vtd]) {
      this.#mmio.add(device);
    }
    if (options.testDevice) {
      const device = new TestDevice((which, high) => this.setLine(which, high));
      this.#ports.add(device);
      this.#mmio.add(device);
    }
  }

  /** Power-up state of every device, all lines low. */
  reset(): void {
    for (let gsi = 0; gsi < ioapicPins; gsi++) {
      this.setLine(gsi, false);
    }
    for (const device of this.#resettable) {
      device.reset();
    }
  }

  /**
   * What a PC's firmware leaves, for machines that start an image without firmware: 8259 pair at vectors 08H and 70H, timer
   * at 18.2 Hz. The timer's and the other devices' lines are masked, for there is nobody to serve them; the lines that
   * are free for extension cards are open. Devices on the PCI bus have their windows placed.
   */
  initializeAsFirmware(): void {
    const edgeCascadeIcw4 = 0x11;
    const cascadeMask = 1 << cascadeLine;
    const x86Mode = 0x01;
    for (const [command, data, vectors, wiring] of [
      [picPort.masterCommand, picPort.masterData, firmwareVectors.master, cascadeMask],
      [picPort.slaveCommand, picPort.slaveData, firmwareVectors.slave, cascadeLine],
    ] as const) {
      this.#pic.writePort(command, 1, edgeCascadeIcw4);
      this.#pic.writePort(data, 1, vectors);
      this.#pic.writePort(data, 1, wiring);
      this.#pic.writePort(data, 1, x86Mode);
    }
    this.#pic.writePort(picPort.masterData, 1, 0xff & ~(cascadeMask | freeLines));
    this.#pic.writePort(picPort.slaveData, 1, 0xff & ~(freeLines >>> 8));
    this.#pit.initializeAsFirmware();
    const functions = this.#devices.map((device) => device.function);
    placePciFunctions(functions, ({ identity }) => {
      return pciLines[pciLineIndex(identity.device, (identity.interruptPin ?? 1) - 1)] ?? 0;
    });
  }

  // ---- Interrupt lines ---------------------------------------------------------------------------------------------

  /** Sets the level of global system interrupt or ISA line `gsi`, 0..23. Line 0 is the timer, on pin 2 of the I/O APIC. */
  setLine(gsi: number, high: boolean): void {
    const bit = 1 << gsi;
    if (((this.#lines & bit) !== 0) === high) {
      return;
    }
    this.#lines ^= bit;
    if (gsi < isaLines && gsi !== cascadeLine) {
      this.#pic.setLine(gsi, high);
    }
    this.#ioapic.setLine(gsi === line.timer ? timerPin : gsi, high);
  }

  endOfInterrupt(vector: number): void {
    this.#ioapic.endOfInterrupt(vector);
  }

  acknowledgeExternal(): number {
    return this.#pic.acknowledge();
  }

  #line(which: number): Line {
    return (high) => this.setLine(which, high);
  }

  #makeDevice(configuration: DeviceConfiguration, n: number): PciDevice {
    const kind = findDeviceKind(configuration.kind);
    assert(kind !== undefined, "nobody makes such a device");
    const device = firstFreeSlot + n;
    assert(device < slotCount, "more devices than slots");
    const slot: PciSlot = {
      ...{ bus: 0, device, function: 0 },
      port: this.#port(requesterId(0, device, 0)),
      interrupt: (high) => this.#drivePciPin(device, high),
    };
    const { clock, openStore, serialOutput, createElsewhere } = this.#options;
    const elsewhere = createElsewhere?.(slot, configuration, n);
    if (elsewhere !== undefined) {
      return elsewhere;
    }
    return kind.create(slot, configuration, {
      clock,
      openStore: (name, isReadOnly) => {
        return present(openStore, "nobody opens files here")(name, isReadOnly);
      },
      output: serialOutput,
    });
  }

  #makeVtdUnit(): VtdUnit | undefined {
    const { iommu, memory, fabric, ramBytes } = this.#options;
    if (iommu === undefined) {
      return undefined;
    }
    const { words, capabilities, fetch = {}, outposts = [], trace } = iommu;
    const read = memory.read.bind(memory);
    const write = memory.write.bind(memory);
    const ram = { read, write, words, ramBytes };
    return new VtdUnit({ memory: ram, fabric, capabilities, fetch, outposts, trace });
  }

  #port(requester: number): RequesterPort {
    return this.#vtd?.port(requester) ?? new DirectPort(this.#options.memory, this.#options.fabric);
  }

  /** An interrupt of the I/O APIC may use the entries of the function whose INTx pin raised the line. */
  #remap(pin: number, low: number, high: number): boolean {
    const alias = this.#raisers[pciLines.indexOf(pin)] ?? noRequester;
    return this.#vtd?.ioapicMessage(ioapicRequester, low, high, alias) ?? false;
  }

  /** Pins that share a line hold it together. */
  #drivePciPin(device: number, high: boolean): void {
    const index = pciLineIndex(device, 0);
    const others = (this.#pins[index] ?? 0) & ~(1 << device);
    this.#pins[index] = high ? others | (1 << device) : others;
    if (high) {
      this.#raisers[index] = requesterId(0, device, 0);
    }
    this.setLine(pciLines[index] ?? 0, this.#pins[index] !== 0);
  }

  /** The 8259 pair's output goes to LINT0 of the first LP and to pin 0 of the I/O APIC. */
  #driveIntr(high: boolean): void {
    this.#options.fabric.drivePin(0, 0, high);
    this.#ioapic.setLine(0, high);
  }

  // ---- Ports -------------------------------------------------------------------------------------------------------

  readPort(port: number, size: number): number {
    const owner = this.#ports.owner(port);
    if (owner !== undefined && size <= this.#ports.widest(port)) {
      return lowBytes(owner.readPort(port, size), size);
    }
    const window = this.#pci.decode("io", port);
    if (window !== undefined) {
      return lowBytes(window.bar.read(window.offset, size), size);
    }
    if (size === 1) {
      this.unowned.countPort(port);
      return allOnes(1);
    }
    let value = 0;
    for (let n = 0; n < size; n++) {
      value |= this.readPort((port + n) & 0xffff, 1) << (8 * n);
    }
    return value >>> 0;
  }

  writePort(port: number, size: number, value: number): void {
    const owner = this.#ports.owner(port);
    if (owner !== undefined && size <= this.#ports.widest(port)) {
      owner.writePort(port, size, lowBytes(value, size));
      return;
    }
    const window = this.#pci.decode("io", port);
    if (window !== undefined) {
      window.bar.write(window.offset, size, lowBytes(value, size));
      return;
    }
    if (size === 1) {
      this.unowned.countPort(port);
      return;
    }
    for (let n = 0; n < size; n++) {
      this.writePort((port + n) & 0xffff, 1, (value >>> (8 * n)) & 0xff);
    }
  }

  // ---- Memory-mapped registers -------------------------------------------------------------------------------------

  readMmio(address: number, size: number): number {
    const owner = this.#mmio.owner(address, size);
    if (owner !== undefined) {
      return lowBytes(owner.readMmio(address, size), size);
    }
    const window = this.#pci.decode("memory", address);
    if (window !== undefined) {
      return lowBytes(window.bar.read(window.offset, size), size);
    }
    this.unowned.countMmio(address);
    return allOnes(size);
  }

  writeMmio(address: number, size: number, value: number): void {
    const owner = this.#mmio.owner(address, size);
    if (owner !== undefined) {
      owner.writeMmio(address, size, lowBytes(value, size));
      return;
    }
    const window = this.#pci.decode("memory", address);
    if (window !== undefined) {
      window.bar.write(window.offset, size, lowBytes(value, size));
      return;
    }
    this.unowned.countMmio(address);
  }

  // ---- Time and input ----------------------------------------------------------------------------------------------

  /** Clock value at which some device will have something to do, undefined when none will. */
  deadline(): number | undefined {
    let earliest: number | undefined;
    for (const device of this.#timed) {
      const deadline = device.deadline();
      if (deadline !== undefined && (earliest === undefined || deadline < earliest)) {
        earliest = deadline;
      }
    }
    return earliest;
  }

  poll(now: number): void {
    for (const device of this.#timed) {
      device.poll(now);
    }
  }

  /** COM1 takes input that has come. @returns whether there was any */
  receiveSerial(): boolean {
    return this.#serial.receive();
  }
}

/** Which of `pciLines` a slot's pin (0 for INTA) is wired to. */
function pciLineIndex(device: number, pin: number): number {
  return (device + pin) % pciLines.length;
}
