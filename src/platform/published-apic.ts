import {
  type ApicMode,
  ApicPrivate,
  ApicRegister,
  spuriousVectorBit,
} from "../cpu/local-apic/registers.ts";
import { lpOffset } from "../execution/lp-window.ts";
import type { ApicIdentity } from "./destination.ts";

/** Another thread's view of an LP's local APIC: what its page in the LP's window says at this moment. */
export class PublishedApic implements ApicIdentity {
  readonly #words: Int32Array<ArrayBufferLike>;
  readonly #base: number;

  constructor(words: Int32Array<ArrayBufferLike>, windowBase: number) {
    this.#words = words;
    this.#base = windowBase + lpOffset.apicPage;
  }

  get mode(): ApicMode {
    return this.#read(ApicPrivate.mode) as ApicMode;
  }
  get x2apicId(): number {
    return this.#read(ApicPrivate.x2apicId);
  }
  get xapicId(): number {
    return this.#read(ApicRegister.Id) >>> 24;
  }
  get logicalDestination(): number {
    return this.#read(ApicRegister.LogicalDestination);
  }
  get destinationFormat(): number {
    return this.#read(ApicRegister.DestinationFormat);
  }
  get processorPriority(): number {
    return this.#read(ApicRegister.ProcessorPriority);
  }
  get softwareEnabled(): boolean {
    return (this.#read(ApicRegister.SpuriousVector) & spuriousVectorBit.enable) !== 0;
  }

  /** A plain read of an aligned word is whole, and a message is ordered against a change of these registers by nothing anyway. */
  #read(offset: number): number {
    return (this.#words[(this.#base + offset) >>> 2] ?? 0) >>> 0;
  }
}
