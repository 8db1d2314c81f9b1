import type { UnitFault, UnitObserver } from "../../hypervisor/posting/observer.ts";
import type { OracleParts } from "./line-oracle.ts";

/** Cycles after which whoever waits for the unit has waited for too long, and what it has recorded must have been found. */
const patience = 60_000;
/** Descriptors the smallest queue has room for: one place stays free. */
const queueRoom = 255;
/** Of a message to an entry that is not present, which the stress sends on purpose. */
const notPresent = 0x22;
const indexInPage = 2 ** 36;

interface Wait {
  readonly address: number;
  readonly data: number;
  /** Descriptors that come before it. */
  readonly behind: number;
  readonly since: number;
  told: boolean;
}

/** Watches the VT-d unit and its driver: invariants 30 to 32 and 34. */
export class UnitOracle implements UnitObserver {
  readonly #parts: Omit<OracleParts, "view">;
  /** From this index on, entries are not present on purpose. */
  readonly #firstBlocked: number;
  #submitted = 0;
  #done = 0;
  readonly #waits: Wait[] = [];
  /** Faults that are in the unit's records and have not been read, oldest first. */
  readonly #recorded: (UnitFault & { readonly at: number })[] = [];
  /** Faults for which there was no room since the overflow was last read. */
  #unrecorded = 0;
  /** Messages blocked, and overflows of the records that software has read. */
  faults = 0;
  overflows = 0;

  constructor(parts: Omit<OracleParts, "view">, firstBlocked: number) {
    this.#parts = parts;
    this.#firstBlocked = firstBlocked;
  }

  // ——— what the unit does

  hear(kind: string, detail: Readonly<Record<string, unknown>>): void {
    if (kind === "invalidation") this.#done += 1;
    else if (kind === "invalidation-status") {
      this.#statusWritten(Number(detail["address"]), Number(detail["data"]));
    } else if (kind === "remapping-fault") this.#faulted(detail);
  }

  #statusWritten(address: number, data: number): void {
    const found = this.#waits.findIndex((wait) => wait.address === address && wait.data === data);
    const [wait] = found < 0 ? [] : this.#waits.splice(found, 1);
    const what = `the unit writes status ${data} to 0x${address.toString(16)}`;
    if (wait === undefined) {
      this.#violated(30, `${what}, for which nobody waits any more`);
    } else if (this.#done <= wait.behind) {
      const before = wait.behind - this.#done + 1;
      this.#violated(30, `${what} with ${before} descriptors before it still to be done`);
    }
  }

  #faulted(detail: Readonly<Record<string, unknown>>): void {
    const fault = {
      requester: Number(detail["requester"]),
      index: Math.floor(Number(detail["page"]) / indexInPage),
      reason: Number(detail["reason"]),
    };
    this.faults += 1;
    if (detail["recorded"] === true) this.#recorded.push({ ...fault, at: this.#parts.now() });
    else this.#unrecorded += 1;
    const isMeant = fault.index >= this.#firstBlocked && fault.reason === notPresent;
    if (!isMeant) this.#violated(32, `the unit blocks ${describe(fault)}`);
  }

  // ——— what software does

  submitting(wait?: { readonly address: bigint; readonly data: bigint }): void {
    if (this.#submitted - this.#done >= queueRoom) {
      this.#violated(31, "the tail of the queue overtakes its head");
    }
    if (wait !== undefined) {
      this.#waits.push({
        address: Number(wait.address),
        data: Number(wait.data),
        behind: this.#submitted,
        since: this.#parts.now(),
        told: false,
      });
    }
    this.#submitted += 1;
  }
  waiting(): void {
    const late = this.#parts.now() - patience;
    for (const wait of this.#waits) {
      if (wait.told || wait.since > late) continue;
      wait.told = true;
      this.#violated(31, `status ${wait.data} has been waited for ${patience} cycles and more`);
    }
  }
  waited(): void {
    if (this.#waits.length > 0) this.#violated(30, "a status was seen that the unit did not write");
    this.#waits.length = 0;
  }

  faultRead(fault: UnitFault): void {
    const expected = this.#recorded.shift();
    const isNext =
      expected?.index === fault.index &&
      expected.requester === fault.requester &&
      expected.reason === fault.reason;
    if (isNext) return;
    const next = expected === undefined ? "none" : describe(expected);
    this.#violated(34, `software reads the fault of ${describe(fault)}; the oldest is ${next}`);
  }
  faultsRead(overflow: boolean): void {
    // One may have come after the look that found no more.
    const [oldest] = this.#recorded;
    if (oldest !== undefined && oldest.at < this.#parts.now() - patience) {
      this.#violated(34, `the fault of ${describe(oldest)} is missing from the unit's records`);
      this.#recorded.length = 0;
    }
    if (overflow !== this.#unrecorded > 0) {
      const said = overflow ? "an" : "no";
      this.#violated(34, `the unit tells of ${said} overflow, ${this.#unrecorded} faults are lost`);
    }
    if (overflow) this.overflows += 1;
    this.#unrecorded = 0;
  }

  #violated(invariant: number, message: string): void {
    this.#parts.violated(invariant, -1, message);
  }
}

const describe = ({ requester, index, reason }: UnitFault): string =>
  `a message of requester 0x${requester.toString(16)} to entry ${index} for reason 0x${reason.toString(16)}`;
