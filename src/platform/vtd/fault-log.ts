import type { TraceSink } from "../../cpu/ports.ts";
import type { EventInterrupt } from "./event-interrupt.ts";
import type { FaultReason } from "./fault-reasons.ts";
import { FaultStatusBit, type RegisterFile, VtdRegister } from "./registers.ts";

/** Address type of a request: how its address is to be taken. */
export const AddressType = { Untranslated: 0, TranslationRequest: 1, Translated: 2 } as const;
export type AddressType = (typeof AddressType)[keyof typeof AddressType];

/** A blocked request. */
export interface Fault {
  readonly reason: FaultReason;
  readonly requester: number;
  /** Number of the page, for DMA. For an interrupt: its index, in bits 51:36 of a page number. */
  readonly page: number;
  readonly isRead: boolean;
  readonly addressType: AddressType;
}

const recordBytes = 16;
/** In the last word of a record. */
const recordBit = { fault: 0x8000_0000, read: 0x4000_0000, addressTypeShift: 28 } as const;
const firstRecordShift = 8;
const clearable =
  FaultStatusBit.Overflow |
  FaultStatusBit.QueueError |
  FaultStatusBit.CompletionError |
  FaultStatusBit.TimeOut;
const causes = clearable | FaultStatusBit.Pending;

/**
 * "Primary Fault Logging": records in the order of the faults, round and round; when the next record is not free the fault is lost and
 * the overflow is told. One event tells that the status is no longer clear.
 */
export class FaultLog {
  readonly #registers: RegisterFile;
  readonly #event: EventInterrupt;
  readonly #count: number;
  readonly #trace: TraceSink | undefined;
  /** The record of the next fault. */
  #next = 0;
  /** The oldest record that is in use. */
  #first = 0;

  constructor(
    registers: RegisterFile,
    event: EventInterrupt,
    count: number,
    trace: TraceSink | undefined = undefined,
  ) {
    this.#registers = registers;
    this.#event = event;
    this.#count = count;
    this.#trace = trace;
  }

  reset(): void {
    this.#next = 0;
    this.#first = 0;
  }

  get status(): number {
    return this.#registers.get(VtdRegister.FaultStatus);
  }

  record({ reason, requester, page, isRead, addressType }: Fault): void {
    const isLost = (this.status & FaultStatusBit.Overflow) !== 0 || this.#isInUse(this.#next);
    this.#trace?.("remapping-fault", { requester, reason, page, recorded: !isLost });
    if (isLost) {
      this.raise(FaultStatusBit.Overflow);
      return;
    }
    const at = VtdRegister.FaultRecord + this.#next * recordBytes;
    const registers = this.#registers;
    registers.set(at, (page * 4096) % 2 ** 32);
    registers.set(at + 4, Math.floor(page / 2 ** 20));
    registers.set(at + 8, requester);
    const direction = isRead ? recordBit.read : 0;
    const kind = addressType << recordBit.addressTypeShift;
    registers.set(at + 12, recordBit.fault | direction | kind | reason);
    this.#next = (this.#next + 1) % this.#count;
    this.raise(FaultStatusBit.Pending);
  }

  /** Sets bits of the status; the first cause brings the event. */
  raise(bits: number): void {
    const before = this.status;
    this.#setStatus(before | bits);
    if ((before & causes) === 0) {
      this.#event.raise();
    }
  }

  /** Software's write to the status register: ones clear. */
  writeStatus(value: number): void {
    this.#setStatus(this.status & ~(value & clearable));
    this.#settle();
  }

  /** Software's write to a word of the records: F is cleared by a one. */
  writeRecord(offset: number, value: number): void {
    const within = offset - VtdRegister.FaultRecord;
    if (within % recordBytes !== 12 || (value & recordBit.fault) === 0) {
      return;
    }
    this.#registers.set(offset, this.#registers.get(offset) & ~recordBit.fault);
    const anyInUse = this.#findFirst();
    this.#setStatus(anyInUse ? this.status : this.status & ~FaultStatusBit.Pending);
    this.#settle();
  }

  #settle(): void {
    if ((this.status & causes) === 0) {
      this.#event.settle();
    }
  }

  #setStatus(bits: number): void {
    const first = (bits & FaultStatusBit.Pending) !== 0 ? this.#first << firstRecordShift : 0;
    this.#registers.set(VtdRegister.FaultStatus, (bits & causes) | first);
  }

  #isInUse(index: number): boolean {
    const last = VtdRegister.FaultRecord + index * recordBytes + 12;
    return (this.#registers.get(last) & recordBit.fault) !== 0;
  }
  /** Moves on to the oldest record in use. @returns false when there is none */
  #findFirst(): boolean {
    for (let n = 0; n < this.#count; n++) {
      if (this.#isInUse(this.#first)) {
        return true;
      }
      this.#first = (this.#first + 1) % this.#count;
    }
    this.#first = this.#next;
    return false;
  }
}
