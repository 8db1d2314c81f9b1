import { describe, expect, test } from "vitest";
import { TickRate } from "../../src/base/tick-rate.ts";
import { LocalApic } from "../../src/cpu/local-apic/local-apic.ts";
import { lpMailbox } from "../../src/cpu/local-apic/lp-mailbox.ts";
import { ApicRegister } from "../../src/cpu/local-apic/registers.ts";
import { LpState } from "../../src/cpu/lp-state.ts";
import { lpWindowBytes } from "../../src/execution/lp-window.ts";
import type { ExitRequest } from "../../src/platform/exit-request.ts";
import { MailboxFabric } from "../../src/platform/interrupt-fabric.ts";
import { PciFunction } from "../../src/platform/pci-function.ts";
import { Platform } from "../../src/platform/platform.ts";

const frequencyHz = 1e9;
const ioapic = 0xfec0_0000;
const level = 1 << 15;
const masked = 1 << 16;

/** A platform and the local APICs of its LPs, everything on one thread. */
class Machine {
  now = 0;
  serial = "";
  readonly typed: number[] = [];
  readonly exits: ExitRequest[] = [];
  readonly apics: LocalApic[];
  readonly platform: Platform;
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #windows: number[];

  constructor(lpCount = 1, pciFunctions: PciFunction[] = []) {
    const pages = (lpCount * lpWindowBytes) / 65_536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const apicIds = Array.from({ length: lpCount }, (_, index) => index);
    this.#words = new Int32Array(memory.buffer);
    this.#windows = apicIds.map((index) => index * lpWindowBytes);
    const clock = { frequencyHz, now: () => this.now };
    const fabric = new MailboxFabric({
      words: this.#words,
      windows: this.#windows,
      whenFull: (target) => this.deliver(target),
    });
    this.platform = new Platform({
      clock,
      fabric,
      memory: { read: () => false, write: () => false },
      ramBytes: 64 * 1024 ** 2,
      apicIds,
      epochSeconds: 0,
      acpiBase: 0xe_0000,
      serialOutput: (byte) => {
        this.serial += String.fromCharCode(byte);
      },
      serialInput: () => this.typed.shift(),
      debugOutput: () => undefined,
      exit: (request) => this.exits.push(request),
      testDevice: true,
      pciFunctions,
    });
    this.apics = apicIds.map((apicId) => {
      const apic = new LocalApic({
        state: new LpState(memory, this.#windows[apicId] ?? 0),
        clock,
        bus: this.platform,
        fabric,
        index: apicId,
        apicId,
        bootProcessor: apicId === 0,
        features: { physicalAddressBits: 46, x2apic: true },
        timerRate: new TickRate(1, 1),
      });
      apic.reset();
      apic.writeMmio(ApicRegister.SpuriousVector, 4, 0x1ff);
      return apic;
    });
  }

  /** An LP takes in its mail. */
  deliver(lp: number): void {
    lpMailbox(this.#words, this.#windows[lp] ?? 0).drain((entry) => this.apics[lp]?.accept(entry));
  }

  /** The vector that an LP with interrupts enabled takes next, -1 for none. */
  take(lp = 0): number {
    this.deliver(lp);
    const apic = this.apics[lp];
    return apic?.interruptPending() ? apic.acknowledge() : -1;
  }
  endOfInterrupt(lp = 0): void {
    this.apics[lp]?.writeMmio(ApicRegister.EndOfInterrupt, 4, 0);
  }

  setEntry(pin: number, low: number, destination = 0): void {
    this.writeIoApic(0x10 + pin * 2, low);
    this.writeIoApic(0x11 + pin * 2, (destination << 24) >>> 0);
  }
  entry(pin: number): number {
    this.platform.writeMmio(ioapic, 4, 0x10 + pin * 2);
    return this.platform.readMmio(ioapic + 0x10, 4);
  }
  writeIoApic(register: number, value: number): void {
    this.platform.writeMmio(ioapic, 4, register);
    this.platform.writeMmio(ioapic + 0x10, 4, value);
  }
  /** Through the testing device, as a guest does. */
  line(which: number, high: boolean): void {
    this.platform.writePort(0x2000 + which, 1, high ? 1 : 0);
  }
}

describe("interrupts through the I/O APIC", () => {
  test("an edge is taken once", () => {
    const machine = new Machine();
    machine.setEntry(14, 0x76);
    machine.line(14, true);
    machine.line(14, false);
    expect(machine.take()).toBe(0x76);
    machine.endOfInterrupt();
    expect(machine.take()).toBe(-1);
  });

  test("two pending edges are taken in the order of their vectors, the second after the EOI", () => {
    const machine = new Machine();
    machine.setEntry(14, 0x78);
    machine.setEntry(15, 0x66);
    for (const line of [15, 14]) {
      machine.line(line, true);
      machine.line(line, false);
    }
    expect(machine.take()).toBe(0x78);
    expect(machine.take()).toBe(-1);
    machine.endOfInterrupt();
    expect(machine.take()).toBe(0x66);
  });

  test("a level is taken again after each EOI until its handler lowers it", () => {
    const machine = new Machine();
    machine.setEntry(14, 0x9a | level);
    machine.line(14, true);
    expect(machine.take()).toBe(0x9a);
    machine.endOfInterrupt();
    expect(machine.take()).toBe(0x9a);
    machine.line(14, false);
    machine.endOfInterrupt();
    expect(machine.take()).toBe(-1);
    expect(machine.entry(14) & (1 << 14)).toBe(0);
  });

  test("the EOI of another LP frees the pin", () => {
    const machine = new Machine(2);
    machine.setEntry(14, 0x85 | level, 1);
    machine.line(14, true);
    expect(machine.take(0)).toBe(-1);
    expect(machine.take(1)).toBe(0x85);
    machine.line(14, false);
    machine.endOfInterrupt(1);
    expect(machine.entry(14) & (1 << 14)).toBe(0);
  });

  test("a logical destination reaches several LPs in x2APIC mode", () => {
    const machine = new Machine(4);
    for (const apic of machine.apics) {
      apic.writeBaseRegister(apic.baseRegister | 0x400n);
    }
    machine.setEntry(14, 0x86 | (1 << 11), 0x0d);
    machine.line(14, true);
    expect([0, 1, 2, 3].map((lp) => machine.take(lp))).toEqual([0x86, -1, 0x86, 0x86]);
  });

  test("the timer is on pin 2", () => {
    const machine = new Machine();
    machine.setEntry(2, 0x30);
    machine.platform.writePort(0x43, 1, 0x34);
    machine.platform.writePort(0x40, 1, 0xa9);
    machine.platform.writePort(0x40, 1, 0x04);
    // 1193 ticks of 838 ns.
    const deadline = machine.platform.deadline() ?? 0;
    expect(Math.round(deadline / 1000)).toBe(1000);
    while (machine.take() >= 0) {
      machine.endOfInterrupt();
    }
    machine.now = deadline;
    machine.platform.poll(deadline);
    expect(machine.take()).toBe(0x30);
  });
});

describe("interrupts through the 8259 pair", () => {
  test("reach the first LP through LINT0, at the vectors firmware has given", () => {
    const machine = new Machine(2);
    machine.platform.initializeAsFirmware();
    for (const apic of machine.apics) {
      apic.configureVirtualWire();
    }
    machine.line(11, true);
    machine.line(11, false);
    expect(machine.take(1)).toBe(-1);
    expect(machine.take(0)).toBe(0x73);
    expect(machine.take(0)).toBe(-1);
  });

  test("masked they do not", () => {
    const machine = new Machine();
    machine.platform.initializeAsFirmware();
    machine.apics[0]?.configureVirtualWire();
    machine.platform.writePort(0xa1, 1, 0xff);
    machine.line(11, true);
    expect(machine.take()).toBe(-1);
  });

  test("or through pin 0 of the I/O APIC, as an ExtINT message", () => {
    const machine = new Machine();
    machine.platform.initializeAsFirmware();
    machine.setEntry(0, 7 << 8);
    machine.line(5, true);
    expect(machine.take()).toBe(0x0d);
  });

  test("COM1 interrupts on line 4", () => {
    const machine = new Machine();
    machine.setEntry(4, 0x44);
    machine.platform.writePort(0x3fc, 1, 0x09);
    machine.platform.writePort(0x3f9, 1, 0x01);
    expect(machine.platform.receiveSerial()).toBe(false);
    machine.typed.push(0x41);
    expect(machine.platform.receiveSerial()).toBe(true);
    expect(machine.take()).toBe(0x44);
    expect(machine.platform.readPort(0x3f8, 1)).toBe(0x41);
  });
});

describe("port dispatch", () => {
  test("a wide access to narrow ports is one access per byte", () => {
    const machine = new Machine();
    machine.platform.writePort(0x3f8, 2, 0x0041);
    expect(machine.serial).toBe("A");
    machine.platform.writePort(0xe8, 4, 0x1234_5678);
    expect(machine.platform.readPort(0xe8, 4)).toBe(0x1234_5678);
  });

  test("a port that nobody has reads all ones, and is counted", () => {
    const { platform } = new Machine();
    expect(platform.readPort(0x1f0, 1)).toBe(0xff);
    expect(platform.readPort(0x300, 4)).toBe(0xffff_ffff);
    platform.writePort(0x1f0, 1, 0);
    expect(platform.unowned.total).toBe(6);
    expect(platform.unowned.counts.get("port 1F0H")).toBe(2);
  });

  test("an access that only partly has an owner gets both parts", () => {
    const { platform } = new Machine();
    platform.writePort(0x8f, 1, 0x5a);
    expect(platform.readPort(0x8f, 2)).toBe(0xff5a);
  });

  test("the top port wraps instead of running out", () => {
    const { platform } = new Machine();
    expect(platform.readPort(0xffff, 4)).toBe(0xffff_ffff);
  });
});

describe("memory dispatch", () => {
  test("an address that nobody has reads all ones, and is counted by page", () => {
    const { platform } = new Machine();
    expect(platform.readMmio(0xfee0_0030, 4)).toBe(0xffff_ffff);
    expect(platform.readMmio(0xd000_0000, 1)).toBe(0xff);
    platform.writeMmio(0xd000_0ff0, 4, 1);
    expect(platform.unowned.counts.get("page D0000000H")).toBe(2);
  });

  test("an access that runs over the end of a device is nobody's", () => {
    const { platform } = new Machine();
    expect(platform.readMmio(0xff00_fffc, 4)).toBe(0);
    expect(platform.readMmio(0xff00_fffe, 4)).toBe(0xffff_ffff);
  });

  test("a flood of unowned accesses is counted, its places only up to a limit", () => {
    const { platform } = new Machine();
    for (let page = 0; page < 1000; page++) {
      platform.readMmio(0xd000_0000 + page * 4096, 4);
    }
    expect(platform.unowned.total).toBe(1000);
    expect(platform.unowned.counts.size).toBe(64);
  });

  test("PCI windows answer where software has put them", () => {
    const bytes = new Uint8Array(4096);
    const machine = new Machine(1, [
      new PciFunction({
        bus: 0,
        device: 4,
        function: 0,
        vendorId: 0x1234,
        deviceId: 0x11e8,
        classCode: 0xff_0000,
        bars: [
          {
            space: "memory",
            bytes: 4096,
            read: (offset) => bytes[offset] ?? 0,
            write: (offset, _size, value) => {
              bytes[offset] = value;
            },
          },
        ],
      }),
    ]);
    const write = (register: number, value: number): void => {
      machine.platform.writePort(0xcf8, 4, (0x8000_0000 | (4 << 11) | register) >>> 0);
      machine.platform.writePort(0xcfc, 4, value);
    };
    write(0x10, 0xd000_0000);
    write(0x04, 2);
    machine.platform.writeMmio(0xd000_0010, 1, 0x77);
    expect(machine.platform.readMmio(0xd000_0010, 1)).toBe(0x77);
    expect(machine.platform.unowned.total).toBe(0);
  });
});

test("no device is due until one is programmed; the earliest counts", () => {
  const { platform } = new Machine();
  expect(platform.deadline()).toBeUndefined();
  platform.writePort(0x70, 1, 0x0b);
  platform.writePort(0x71, 1, 0x12);
  expect(platform.deadline()).toBe(frequencyHz);
  platform.initializeAsFirmware();
  expect(Math.round((platform.deadline() ?? 0) / 1e6)).toBe(55);
});

test("a reset takes every device back: entries masked, no line high, nothing due", () => {
  const machine = new Machine();
  machine.platform.initializeAsFirmware();
  machine.setEntry(14, 0x76 | level);
  machine.platform.reset();
  expect(machine.entry(14)).toBe(masked);
  expect(machine.platform.deadline()).toBeUndefined();
  expect(machine.exits).toEqual([]);
});

test("exits come from the ports of a PC", () => {
  const { platform, exits } = new Machine();
  platform.writePort(0xf4, 1, 0);
  platform.writePort(0xcf9, 1, 6);
  platform.writePort(0x64, 1, 0xfe);
  platform.writePort(0x604, 2, 0x2000);
  expect(exits).toEqual([
    { type: "debug-exit", status: 1 },
    { type: "reset", soft: false },
    { type: "reset", soft: true },
    { type: "power-off" },
  ]);
});
