/**
 * The VT-d unit by itself, on one thread: translations that hit and that miss, interrupts posted and remapped, and DMA of whole
 * pages. Requests come as a device makes them, through its port.
 */
import { present } from "../src/base/assert.ts";
import { formatTable } from "../src/cli/table.ts";
import type { RequesterPort } from "../src/platform/requester.ts";
import { serverCapabilities } from "../src/platform/vtd/capabilities.ts";
import { GlobalBit, VtdRegister, vtdAddress } from "../src/platform/vtd/registers.ts";
import { VtdUnit } from "../src/platform/vtd/vtd-unit.ts";
import { median } from "./statistics.ts";

const ramBytes = 64 * 2 ** 20;
const place = {
  root: 0x1000,
  context: 0x2000,
  interruptTable: 0x4000,
  descriptor: 0x8000,
  tables: 0x10_0000,
  data: 0x200_0000,
} as const;
/** Devices are the functions 0 of the slots from this one on, each with a domain of its own. */
const firstSlot = 4;
const requesterOf = (device: number): number => (firstSlot + device) << 3;
const levels = 4;
/** Mapped pages. The first of them fit the IOTLB; all of them are several times what it holds. */
const pages = { hit: 1024, all: 16_384 } as const;
/** Entries of the interrupt remapping table: one posted, one remapped. */
const entry = { posted: 1, remapped: 2 } as const;
const vector = 0x51;
const seconds = 0.4;

export interface VtdRate {
  readonly phase: string;
  readonly unit: string;
  readonly value: number;
}

interface Phase {
  readonly name: string;
  readonly unit: string;
  /** What one request counts in the unit. */
  readonly worth: number;
  /** The n-th request. */
  readonly request: (n: number) => void;
}

/** Memory with tables in it, and a unit that uses them. */
class Machine {
  readonly ram = new Uint8Array(new SharedArrayBuffer(ramBytes));
  readonly words = new Int32Array(this.ram.buffer);
  readonly #view = new DataView(this.ram.buffer);
  readonly ports: readonly RequesterPort[];
  notifications = 0;

  constructor(devices: number) {
    const unit = new VtdUnit({
      memory: {
        words: this.words,
        ramBytes,
        read: (address, into) => {
          if (address + into.length > ramBytes) return false;
          into.set(this.ram.subarray(address, address + into.length));
          return true;
        },
        write: (address, from) => {
          if (address + from.length > ramBytes) return false;
          this.ram.set(from, address);
          return true;
        },
      },
      fabric: {
        send: () => {
          this.notifications++;
        },
      },
      capabilities: serverCapabilities,
    });
    this.ports = Array.from({ length: devices }, (_, device) => unit.port(requesterOf(device)));
    this.#writeTables(devices);
    const write = (offset: number, value: number): void =>
      unit.writeMmio(vtdAddress + offset, 4, value >>> 0);
    write(VtdRegister.RootTable, place.root);
    write(VtdRegister.InterruptTable, place.interruptTable | 7);
    const enabled = GlobalBit.Translation | GlobalBit.InterruptRemapping;
    write(VtdRegister.GlobalCommand, GlobalBit.RootTable | GlobalBit.InterruptTable | enabled);
  }

  /** The processor's answer to a notification: ON and the requests are cleared. */
  takePosts(): void {
    this.words.fill(0, place.descriptor / 4, place.descriptor / 4 + 9);
  }

  #writeTables(devices: number): void {
    const store = (address: number, value: bigint): void =>
      this.#view.setBigUint64(address, value, true);
    store(place.root, BigInt(place.context) | 1n);
    for (let device = 0; device < devices; device++) {
      const at = place.context + requesterOf(device) * 16;
      store(at, BigInt(place.tables) | 1n);
      store(at + 8, BigInt(levels - 2) | (BigInt(device + 1) << 8n));
    }
    // One table of each upper level, and as many of the lowest as there are pages for.
    for (let level = levels; level > 2; level--) {
      const table = place.tables + (levels - level) * 4096;
      store(table, BigInt(table + 4096) | 3n);
    }
    const second = place.tables + (levels - 2) * 4096;
    for (let page = 0; page < pages.all; page++) {
      const lowest = second + (1 + (page >>> 9)) * 4096;
      store(second + (page >>> 9) * 8, BigInt(lowest) | 3n);
      store(lowest + (page & 511) * 8, BigInt(place.data + (page % 4096) * 4096) | 3n);
    }
    const posted = 1n | (1n << 15n) | (BigInt(vector) << 16n) | (BigInt(place.descriptor) << 32n);
    store(place.interruptTable + entry.posted * 16, posted);
    store(place.interruptTable + entry.remapped * 16, 1n | (BigInt(vector) << 16n));
  }
}

function phases(machine: Machine): readonly Phase[] {
  const { ports } = machine;
  const devices = ports.length;
  // In turns. What all of them use together is what one alone would.
  const port = (n: number): RequesterPort => present(ports[n % devices], "there is no such device");
  const at = (n: number, count: number): number =>
    (Math.floor(n / devices) % (count / devices)) * 4096;
  const word = new Uint8Array(4);
  const page = new Uint8Array(4096);
  const address = (index: number): number => 0xfee0_0010 + (index << 5);
  const megabytes = 4096 / 1e6;
  return [
    {
      name: "DMA of 4 bytes, hit",
      ...{ unit: "1000/s", worth: 1e-3 },
      request: (n) => port(n).read(at(n, pages.hit), word),
    },
    {
      name: "DMA of 4 bytes, miss",
      ...{ unit: "1000/s", worth: 1e-3 },
      request: (n) => port(n).read(at(n, pages.all), word),
    },
    {
      name: "DMA write of 4 KiB, hit",
      ...{ unit: "MB/s", worth: megabytes },
      request: (n) => port(n).write(at(n, pages.hit), page),
    },
    {
      name: "DMA read of 4 KiB, hit",
      ...{ unit: "MB/s", worth: megabytes },
      request: (n) => port(n).read(at(n, pages.hit), page),
    },
    {
      name: "post, notified",
      ...{ unit: "1000/s", worth: 1e-3 },
      request: (n) => {
        port(n).message(address(entry.posted), 0);
        machine.takePosts();
      },
    },
    {
      name: "post, ON already set",
      ...{ unit: "1000/s", worth: 1e-3 },
      request: (n) => port(n).message(address(entry.posted), 0),
    },
    {
      name: "remapped interrupt",
      ...{ unit: "1000/s", worth: 1e-3 },
      request: (n) => port(n).message(address(entry.remapped), 0),
    },
  ];
}

/** Requests per second of one phase. */
function measure(phase: Phase): number {
  const batch = 2048;
  let count = 0;
  const start = performance.now();
  let elapsed = 0;
  while (elapsed < seconds * 1000) {
    for (let n = 0; n < batch; n++) phase.request(count + n);
    count += batch;
    elapsed = performance.now() - start;
  }
  return (count / elapsed) * 1000;
}

/** The median of some runs of each phase, after one that does not count. @param devices that make the requests in turn */
export function benchVtd(runs: number, devices = 1): readonly VtdRate[] {
  const machine = new Machine(devices);
  return phases(machine).map((phase) => {
    measure(phase);
    const rates = Array.from({ length: runs }, () => measure(phase) * phase.worth);
    return { phase: phase.name, unit: phase.unit, value: median(rates) ?? Number.NaN };
  });
}

export function formatVtdRates(rates: readonly VtdRate[]): string {
  return formatTable([
    ["VT-d unit", "rate", ""],
    ...rates.map(({ phase, unit, value }) => [phase, value.toFixed(0), unit]),
  ]);
}
