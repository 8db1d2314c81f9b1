import { addressBitsOf, type VtdCapabilities } from "./capabilities.ts";
import { type Context, ContextCache, ContextKind } from "./context-cache.ts";
import { AddressType, type FaultLog } from "./fault-log.ts";
import { FaultReason } from "./fault-reasons.ts";
import { Iotlb } from "./iotlb.ts";
import { Permission, permits, SecondStageWalk } from "./second-stage.ts";
import type { TableMemory } from "./table-memory.ts";

/** What `translate` answers for a blocked request. */
export const blocked = -1;

const present = 1;
const rootReservedLow = 0xffe;
/** Bits of a context entry's words. */
const contextBit = { present: 1, quiet: 2, kindShift: 2, reservedLow: 0xff0 } as const;
const contextUpper = { widthMask: 7, domainShift: 8, reserved: 1 << 7, reservedHigh: 0xff00_0000 };

/** The outcome of a translation request of a function that has a TLB of its own. */
export interface DeviceTranslation {
  readonly frame: number;
  /** 0: nothing maps the page. */
  readonly permissions: number;
}

/** DMA remapping in legacy mode: root table, context tables, second-stage tables, and the caches of them. */
export class DmaRemapping {
  /** Off: addresses are physical. */
  enabled = false;
  /** Number of the page of the root table. */
  rootTable = 0;
  readonly contexts = new ContextCache();
  readonly iotlb = new Iotlb();
  readonly #memory: TableMemory;
  readonly #faults: FaultLog;
  readonly #model: VtdCapabilities;
  readonly #walk: SecondStageWalk;
  readonly #hostPages: number;
  readonly #reservedHigh: number;

  constructor(memory: TableMemory, faults: FaultLog, model: VtdCapabilities) {
    this.#memory = memory;
    this.#faults = faults;
    this.#model = model;
    this.#walk = new SecondStageWalk(memory, model);
    this.#hostPages = 2 ** (model.hostAddressBits - 12);
    this.#reservedHigh = ~(2 ** (model.hostAddressBits - 32) - 1);
  }

  reset(): void {
    this.enabled = false;
    this.rootTable = 0;
    this.contexts.invalidateAll();
    this.iotlb.invalidateAll();
  }

  /**
   * An untranslated request.
   * @param page number of the page that the function addresses
   * @param need permissions it needs; 0 for a read of no bytes, which any permission will do for
   * @returns number of the page of the host, or `blocked`; the fault is then recorded
   */
  translate(requester: number, page: number, need: number): number {
    if (!this.enabled) {
      return page;
    }
    const context =
      this.contexts.find(requester) ?? this.#load(requester, page, need, AddressType.Untranslated);
    if (context === undefined) {
      return blocked;
    }
    const entry = context.kind === ContextKind.PassThrough ? -1 : this.#find(context, page);
    if (entry >= 0 && permits(this.iotlb.permissions[entry] ?? 0, need)) {
      return this.iotlb.frames[entry] ?? blocked;
    }
    const reason = this.#miss(context, page, need);
    if (reason !== 0) {
      this.#fault(reason, requester, page, need, AddressType.Untranslated, context.isQuiet);
      return blocked;
    }
    return this.#walk.frame;
  }

  /**
   * A translation request.
   * @returns undefined: the function gets no answer, and the fault is recorded
   */
  translationRequest(requester: number, page: number): DeviceTranslation | undefined {
    const type = AddressType.TranslationRequest;
    const context = this.#deviceTlbContext(requester, page, Permission.Read, type);
    if (context === undefined) {
      return undefined;
    }
    const entry = this.#find(context, page);
    if (entry >= 0) {
      const permissions = this.iotlb.permissions[entry] ?? 0;
      return { frame: this.iotlb.frames[entry] ?? 0, permissions };
    }
    const reason = this.#miss(context, page, 0);
    switch (reason) {
      case 0:
        return { frame: this.#walk.frame, permissions: this.#walk.permissions };
      case FaultReason.AddressBeyondWidth:
      case FaultReason.ReadNotPermitted:
      case FaultReason.WriteNotPermitted:
        return { frame: 0, permissions: 0 };
      default:
        this.#fault(reason, requester, page, Permission.Read, type, context.isQuiet);
        return undefined;
    }
  }

  /** A request that says its address is translated already. @returns whether it may pass */
  permitsTranslated(requester: number, page: number, need: number): boolean {
    const context = this.#deviceTlbContext(requester, page, need, AddressType.Translated);
    return context !== undefined;
  }

  /** The context of a function whose context entry lets it have a TLB of its own. */
  #deviceTlbContext(
    requester: number,
    page: number,
    need: number,
    type: AddressType,
  ): Context | undefined {
    const context = this.enabled
      ? (this.contexts.find(requester) ?? this.#load(requester, page, need, type))
      : undefined;
    if (context !== undefined && context.kind !== ContextKind.DeviceTlb) {
      const { RequestTypeBlocked } = FaultReason;
      this.#fault(RequestTypeBlocked, requester, page, need, type, context.isQuiet);
      return undefined;
    }
    return context;
  }

  #find({ domain, reach }: Context, page: number): number {
    return page < reach ? this.iotlb.find(domain, page) : -1;
  }

  /** Asks the tables. The answer is in `#walk`, and in the IOTLB if the page is mapped. */
  #miss(context: Context, page: number, need: number): FaultReason | 0 {
    const walk = this.#walk;
    if (context.kind === ContextKind.PassThrough) {
      walk.frame = page;
      return page < this.#hostPages ? 0 : FaultReason.AddressBeyondWidth;
    }
    const { domain, table, levels, reach } = context;
    if (page >= reach) {
      return FaultReason.AddressBeyondWidth;
    }
    const reason = walk.walk(table, levels, page, need);
    if (reason !== 0) {
      return reason;
    }
    if (!permits(walk.permissions, need)) {
      const isWrite = (need & Permission.Write) !== 0;
      return isWrite ? FaultReason.WriteNotPermitted : FaultReason.ReadNotPermitted;
    }
    this.iotlb.insert(domain, page, walk.frame, walk.permissions, walk.level);
    return 0;
  }

  /** Root entry and context entry of a function, in the order of the checks. */
  #load(requester: number, page: number, need: number, type: AddressType): Context | undefined {
    const memory = this.#memory;
    const fail = (reason: FaultReason, isQuiet: boolean): undefined => {
      this.#fault(reason, requester, page, need, type, isQuiet);
    };
    const root = this.rootTable * 4096 + (requester >>> 8) * 16;
    if (!memory.quadword(root + 8)) {
      return fail(FaultReason.RootTableAccess, false);
    }
    const rootUpper = memory.low | memory.high;
    memory.quadword(root);
    if ((memory.low & present) === 0) {
      return fail(FaultReason.RootNotPresent, false);
    }
    const rootReserved = (memory.low & rootReservedLow) | (memory.high & this.#reservedHigh);
    if ((rootReserved | rootUpper) !== 0) {
      return fail(FaultReason.RootReserved, false);
    }
    const entry = pageOf(memory) * 4096 + (requester & 0xff) * 16;
    if (!memory.quadword(entry + 8)) {
      return fail(FaultReason.ContextTableAccess, false);
    }
    const { low: upperLow, high: upperHigh } = memory;
    memory.quadword(entry);
    const { low, high } = memory;
    const isQuiet = (low & contextBit.quiet) !== 0;
    if ((low & contextBit.present) === 0) {
      return fail(FaultReason.ContextNotPresent, isQuiet);
    }
    const reservedUpper =
      (upperLow & (contextUpper.reserved | contextUpper.reservedHigh)) | upperHigh;
    if (((low & contextBit.reservedLow) | (high & this.#reservedHigh) | reservedUpper) !== 0) {
      return fail(FaultReason.ContextReserved, isQuiet);
    }
    const kind = (low >>> contextBit.kindShift) & 3;
    const levels = (upperLow & contextUpper.widthMask) + 2;
    if (!this.#isKind(kind) || !this.#isLevels(levels)) {
      return fail(FaultReason.ContextInvalid, isQuiet);
    }
    const domain = (upperLow >>> contextUpper.domainShift) & 0xffff;
    const reach = 2 ** (addressBitsOf(levels) - 12);
    const context = { kind, domain, table: pageOf(memory), levels, reach, isQuiet };
    this.contexts.insert(requester, context);
    return context;
  }

  #isKind(kind: number): kind is ContextKind {
    switch (kind) {
      case ContextKind.SecondStage:
        return true;
      case ContextKind.DeviceTlb:
        return this.#model.deviceTlb;
      case ContextKind.PassThrough:
        return this.#model.passThrough;
      default:
        return false;
    }
  }

  #isLevels(levels: number): boolean {
    return this.#model.levels.some((each) => each === levels);
  }

  #fault(
    reason: FaultReason,
    requester: number,
    page: number,
    need: number,
    addressType: AddressType,
    isQuiet: boolean,
  ): void {
    if (!isQuiet) {
      const isRead = (need & Permission.Write) === 0;
      this.#faults.record({ reason, requester, page, isRead, addressType });
    }
  }
}

/** Page number of the address in the entry that was read last; nothing above the host's width is set. */
const pageOf = ({ low, high }: TableMemory): number => (low >>> 12) + high * 2 ** 20;
