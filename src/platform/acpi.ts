import { acpiPmPort, softOffSleepType } from "./acpi-pm.ts";
import { buildTable, checksum, oemId, TableWriter } from "./acpi-table.ts";
import {
  amlDevice,
  amlEisaId,
  amlInteger,
  amlName,
  amlPackage,
  amlPorts,
  amlResources,
  amlScope,
  amlWindow,
  ResourceType,
} from "./aml.ts";
import { type DmarOptions, writeDmar } from "./dmar.ts";
import { ioapicAddress } from "./ioapic.ts";

/** Line of the system control interrupt, level-triggered. */
export const sciLine = 9;
/** I/O APIC pin of the timer; its line 0 is the 8259 pair's output. */
export const timerPin = 2;

export interface AcpiOptions {
  /** Physical address the image will be put at: 64-byte aligned, in E0000H–FFFFFH so that the RSDP is found. */
  readonly base: number;
  /** Local APIC ids, by LP index. */
  readonly apicIds: readonly number[];
  readonly ramBytes: number;
  /** The VT-d unit, if there is one. */
  readonly iommu?: DmarOptions;
}

/** All tables, to be copied to `base` as they are; the RSDP comes first. */
export interface AcpiImage {
  readonly base: number;
  readonly bytes: Uint8Array;
}

const localApicAddress = 0xfee0_0000;
const rsdpBytes = 36;
const tableAlignment = 64;

/** Builds what firmware would leave in memory: RSDP, RSDT, XSDT, FADT, FACS, DSDT, MADT, and DMAR with a VT-d unit. */
export function buildAcpiTables(options: AcpiOptions): AcpiImage {
  const area = new TableArea(options.base + rsdpBytes);
  const facs = area.add(buildFacs());
  const dsdt = area.add(buildTable("DSDT", 2, (table) => table.bytes(dsdtAml(options.ramBytes))));
  const fadt = area.add(buildTable("FACP", 3, (table) => writeFadt(table, facs, dsdt)));
  const madt = area.add(buildTable("APIC", 3, (table) => writeMadt(table, options.apicIds)));
  const { iommu } = options;
  const dmar =
    iommu === undefined
      ? []
      : [area.add(buildTable("DMAR", 1, (table) => writeDmar(table, iommu)))];
  const tables = [fadt, madt, ...dmar];
  const rsdt = area.add(buildTable("RSDT", 1, (table) => table.bytes(pointers(tables, 4))));
  const xsdt = area.add(buildTable("XSDT", 1, (table) => table.bytes(pointers(tables, 8))));
  const bytes = area.image(options.base);
  bytes.set(buildRsdp(rsdt, xsdt));
  return { base: options.base, bytes };
}

/** Addresses below 4 GiB, little-endian. */
function pointers(addresses: readonly number[], bytes: 4 | 8): number[] {
  return addresses.flatMap((address) =>
    Array.from({ length: bytes }, (_, n) => Math.floor(address / 256 ** n) % 256),
  );
}

/** Tables one after the other in physical memory. */
class TableArea {
  readonly #tables: [address: number, table: Uint8Array][] = [];
  #next: number;

  constructor(start: number) {
    this.#next = start;
  }

  /** @returns the address that the table will have */
  add(table: Uint8Array): number {
    const address = Math.ceil(this.#next / tableAlignment) * tableAlignment;
    this.#tables.push([address, table]);
    this.#next = address + table.length;
    return address;
  }

  image(base: number): Uint8Array {
    const bytes = new Uint8Array(this.#next - base);
    for (const [address, table] of this.#tables) {
      bytes.set(table, address - base);
    }
    return bytes;
  }
}

function buildRsdp(rsdt: number, xsdt: number): Uint8Array {
  const revision = 2;
  const oldLength = 20;
  const bytes = new TableWriter()
    .text("RSD PTR ", 8)
    .u8(0)
    .text(oemId, 6)
    .u8(revision)
    .u32(rsdt)
    .u32(rsdpBytes)
    .u64(xsdt)
    .u8(0)
    .zeros(3)
    .toBytes();
  bytes[8] = checksum(bytes.subarray(0, oldLength));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** Firmware ACPI control structure: no checksum, and nothing in it that we use. */
function buildFacs(): Uint8Array {
  const length = 64;
  return new TableWriter().text("FACS", 4).u32(length).zeros(24).u8(1).zeros(31).toBytes();
}

/** FADT fields that are not zero or an address. */
const fadt = {
  /** Enterprise server: a profile that implies nothing about buttons or sleep. */
  profile: 4,
  /** No C2, no C3. */
  c2Latency: 101,
  c3Latency: 1001,
  centuryRegister: 0x32,
  /** Legacy devices, 8042; no VGA. */
  bootArchitecture: 0b111,
  /** WBINVD works; C1 on all processors; no fixed power or sleep button; 32-bit timer; reset register. */
  flags: (1 << 0) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 10),
  resetPort: 0xcf9,
  resetValue: 0x06,
} as const;

/** Fixed ACPI description table, revision 3. No SMI command port: the machine is always in ACPI mode. */
function writeFadt(table: TableWriter, facs: number, dsdt: number): void {
  table.u32(facs).u32(dsdt).u8(0).u8(fadt.profile).u16(sciLine);
  table.u32(0).zeros(4);
  table.u32(acpiPmPort.event).u32(0).u32(acpiPmPort.control).u32(0).u32(0);
  table.u32(acpiPmPort.timer).u32(0).u32(0);
  // Lengths of the blocks: event, control, control 2, timer; the rest are absent.
  table.u8(4).u8(2).u8(0).u8(4).zeros(4);
  table.u16(fadt.c2Latency).u16(fadt.c3Latency).zeros(8);
  table.u8(fadt.centuryRegister).u16(fadt.bootArchitecture).u8(0).u32(fadt.flags);
  table.ioAddress(fadt.resetPort, 1).u8(fadt.resetValue).zeros(3);
  table.u64(facs).u64(dsdt);
  table.ioAddress(acpiPmPort.event, 4).noAddress();
  table.ioAddress(acpiPmPort.control, 2).noAddress().noAddress();
  table.ioAddress(acpiPmPort.timer, 4).noAddress().noAddress();
}

const madtEntry = {
  localApic: 0,
  ioApic: 1,
  override: 2,
  localApicNmi: 4,
  x2apic: 9,
  x2apicNmi: 10,
} as const;
const madtFlag = { pcCompatible: 1, processorEnabled: 1 } as const;
/** Polarity and trigger of an override: as the bus says, or active high and level. */
const lineFlags = { busDefault: 0, activeHighLevel: 0x0d } as const;
/** Local APIC ids from here on need the 32-bit entries. */
const firstWideApicId = 255;
const allProcessors = { narrow: 0xff, wide: 0xffff_ffff } as const;
const nmiPin = 1;

/** Multiple APIC description table. */
function writeMadt(table: TableWriter, apicIds: readonly number[]): void {
  table.u32(localApicAddress).u32(madtFlag.pcCompatible);
  const uids = [...apicIds.entries()];
  for (const [uid, id] of uids.filter(([, id]) => id < firstWideApicId)) {
    table.u8(madtEntry.localApic).u8(8).u8(uid).u8(id).u32(madtFlag.processorEnabled);
  }
  const wide = uids.filter(([, id]) => id >= firstWideApicId);
  for (const [uid, id] of wide) {
    table.u8(madtEntry.x2apic).u8(16).u16(0).u32(id).u32(madtFlag.processorEnabled).u32(uid);
  }
  table.u8(madtEntry.ioApic).u8(12).u8(0).u8(0).u32(ioapicAddress).u32(0);
  table.u8(madtEntry.override).u8(10).u8(0).u8(0).u32(timerPin).u16(lineFlags.busDefault);
  table.u8(madtEntry.override).u8(10).u8(0).u8(sciLine).u32(sciLine).u16(lineFlags.activeHighLevel);
  table.u8(madtEntry.localApicNmi).u8(6).u8(allProcessors.narrow).u16(0).u8(nmiPin);
  if (wide.length > 0) {
    table.u8(madtEntry.x2apicNmi).u8(12).u16(0).u32(allProcessors.wide).u8(nmiPin).zeros(3);
  }
}

/** Address space that the PCI root bridge passes on: ports but for its own, memory from the end of RAM to the I/O APIC. */
const pciWindow = {
  ports: [
    [0, 0xcf7],
    [0xd00, 0xffff],
  ],
  memoryFirst: 0xc000_0000,
  memoryLast: ioapicAddress - 1,
} as const;

/** The soft-off state, and a PCI root bridge. */
function dsdtAml(ramBytes: number): Uint8Array {
  const sleep = amlInteger(softOffSleepType);
  const resources = amlResources([
    amlWindow(ResourceType.BusNumber, 0, 0),
    amlPorts(0xcf8, 8),
    ...pciWindow.ports.map(([first, last]) => amlWindow(ResourceType.Io, first, last)),
    amlWindow(ResourceType.Memory, Math.max(pciWindow.memoryFirst, ramBytes), pciWindow.memoryLast),
  ]);
  const bridge = [
    ...amlName("_HID", amlEisaId("PNP0A03")),
    ...amlName("_UID", amlInteger(0)),
    ...amlName("_CRS", resources),
  ];
  return Uint8Array.from([
    ...amlName("\\_S5", amlPackage([sleep, sleep, amlInteger(0), amlInteger(0)])),
    ...amlScope("\\_SB", amlDevice("PCI0", bridge)),
  ]);
}
