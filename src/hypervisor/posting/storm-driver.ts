import { load, portIn, portOut, type Steps, store } from "../../isa/operations.ts";

/** Driver of the interrupt-storm device: MSI-X, and a queue that sends at a rate. */
const configurationAddress = 0xcf8;
const configurationData = 0xcfc;
const enableConfiguration = 0x8000_0000;
const command = 0x04;
const bar0 = 0x10;
const capabilities = 0x34;
const memoryAndBusMaster = 6n;
const msixId = 0x11n;
const msixEnable = 1n << 31n;
const tableEntryBytes = 16;
/** The first slot that the chipset leaves free. */
const firstSlot = 4;

const queueStart = 0x1000n;
const queueBytes = 0x40n;
const queueRegister = {
  control: 0x00n,
  first: 0x04n,
  span: 0x08n,
  interval: 0x0cn,
  record: 0x20n,
  seed: 0x28n,
} as const;
const run = 1n;
const randomInterval = 2n;
const randomEntry = 4n;
const controlOffset = 0x10n;
const stopAll = 2n;
const totalOffset = 0x14n;
const intervalMax = 0xffff_ffff;

/** A device of the machine, by its number among them. */
export interface StormDevice {
  /** bus<<8|device<<3|function. */
  readonly requester: number;
  /** Physical addresses of its registers and of its MSI-X table. */
  readonly registers: bigint;
  readonly table: bigint;
}

function* readConfiguration(requester: number, offset: number): Steps<bigint> {
  yield portOut(configurationAddress, 4, configurationOf(requester, offset));
  return yield portIn(configurationData, 4);
}
function* writeConfiguration(requester: number, offset: number, value: bigint): Steps<void> {
  yield portOut(configurationAddress, 4, configurationOf(requester, offset));
  yield portOut(configurationData, 4, value);
}
const configurationOf = (requester: number, offset: number): bigint =>
  BigInt((enableConfiguration | (requester << 8) | (offset & 0xfc)) >>> 0);

/** Finds a device, lets it master the bus and turns its MSI-X on. @param number from 0 */
export function* openStorm(number: number): Steps<StormDevice> {
  const requester = (firstSlot + number) << 3;
  const registers = (yield* readConfiguration(requester, bar0)) & ~0xfn;
  const table = (yield* readConfiguration(requester, bar0 + 4)) & ~0xfn;
  const status = yield* readConfiguration(requester, command);
  yield* writeConfiguration(requester, command, (status & 0xffffn) | memoryAndBusMaster);
  let at = Number((yield* readConfiguration(requester, capabilities)) & 0xfcn);
  while (at !== 0) {
    const header = yield* readConfiguration(requester, at);
    if ((header & 0xffn) === msixId) {
      yield* writeConfiguration(requester, at, header | msixEnable);
      break;
    }
    at = Number((header >> 8n) & 0xfcn);
  }
  return { requester, registers, table };
}

/** The MSI-X entry sends a message in the remappable format. @param handle entry of the interrupt remapping table */
export function* setMessage(device: StormDevice, entry: number, handle: number): Steps<void> {
  const at = device.table + BigInt(entry * tableEntryBytes);
  const remappable = 0xfee0_0010n;
  yield store(at, 4, remappable | (BigInt(handle & 0x7fff) << 5n) | (BigInt(handle >>> 15) << 2n));
  yield store(at + 4n, 4, 0n);
  yield store(at + 8n, 4, 0n);
  yield store(at + 12n, 4, 0n);
}

/** What a queue is to send: messages to a random one of its entries, at random distances. */
export interface StormHabits {
  readonly queue: number;
  readonly firstEntry: number;
  readonly entries: number;
  /** Mean cycles between two. */
  readonly interval: number;
  readonly seed: number;
  /** Where it records what it has sent, 16 bytes for each entry; 0 for nowhere. */
  readonly record: bigint;
}

export function* startStorm(device: StormDevice, habits: StormHabits): Steps<void> {
  const at = device.registers + queueStart + BigInt(habits.queue) * queueBytes;
  const interval = Math.min(intervalMax, Math.max(1, Math.round(habits.interval)));
  yield store(at + queueRegister.first, 4, BigInt(habits.firstEntry));
  yield store(at + queueRegister.span, 4, BigInt(habits.entries));
  yield store(at + queueRegister.interval, 4, BigInt(interval));
  yield store(at + queueRegister.seed, 4, BigInt(habits.seed >>> 0));
  yield store(at + queueRegister.record, 4, habits.record);
  yield store(at + queueRegister.control, 4, run | randomInterval | randomEntry);
}

export function* stopStorm({ registers }: StormDevice): Steps<void> {
  yield store(registers + controlOffset, 4, stopAll);
}

/** Messages it has sent. */
export function* stormTotal({ registers }: StormDevice): Steps<bigint> {
  return yield load(registers + totalOffset, 4);
}
