import {
  capabilityRegister,
  extendedCapabilityRegister,
  faultRegistersPlace,
  iotlbRegistersPlace,
  type VtdCapabilities,
} from "./capabilities.ts";

/** Where the register page is. */
export const vtdAddress = 0xfed9_0000;
export const vtdBytes = 0x1000;

/** Offsets of the registers; of a wide one, of its low half. */
export const VtdRegister = {
  Version: 0x000,
  Capability: 0x008,
  ExtendedCapability: 0x010,
  GlobalCommand: 0x018,
  GlobalStatus: 0x01c,
  RootTable: 0x020,
  ContextCommand: 0x028,
  FaultStatus: 0x034,
  FaultEventControl: 0x038,
  FaultEventData: 0x03c,
  FaultEventAddress: 0x040,
  FaultEventAddressHigh: 0x044,
  QueueHead: 0x080,
  QueueTail: 0x088,
  QueueAddress: 0x090,
  CompletionStatus: 0x09c,
  CompletionEventControl: 0x0a0,
  CompletionEventData: 0x0a4,
  CompletionEventAddress: 0x0a8,
  CompletionEventAddressHigh: 0x0ac,
  QueueErrorRecord: 0x0b0,
  InterruptTable: 0x0b8,
  InvalidateAddress: iotlbRegistersPlace * 16,
  IotlbInvalidate: iotlbRegistersPlace * 16 + 8,
  FaultRecord: faultRegistersPlace * 16,
} as const;

/** Bits of the global command and status registers. */
export const GlobalBit = {
  Translation: 0x8000_0000,
  RootTable: 0x4000_0000,
  Queue: 0x0400_0000,
  InterruptRemapping: 0x0200_0000,
  InterruptTable: 0x0100_0000,
  CompatibilityFormat: 0x0080_0000,
} as const;

/** Bits of the fault status register; 15:8 is the number of the first record. */
export const FaultStatusBit = {
  Overflow: 1 << 0,
  Pending: 1 << 1,
  QueueError: 1 << 4,
  CompletionError: 1 << 5,
  TimeOut: 1 << 6,
} as const;

/** Major version 1. */
const versionValue = 0x10;
/** Bits of a register that software can simply write, by offset of the 32-bit half. */
const plainlyWritable: Readonly<Record<number, number>> = {
  [VtdRegister.RootTable]: 0xffff_f000,
  [VtdRegister.ContextCommand]: 0xffff_ffff,
  [VtdRegister.ContextCommand + 4]: 0x6000_0003,
  [VtdRegister.FaultEventData]: 0xffff,
  [VtdRegister.FaultEventAddress]: 0xffff_fffc,
  [VtdRegister.FaultEventAddressHigh]: 0xffff_ffff,
  [VtdRegister.QueueTail]: 0x7_fff0,
  [VtdRegister.QueueAddress]: 0xffff_f007,
  [VtdRegister.CompletionEventData]: 0xffff,
  [VtdRegister.CompletionEventAddress]: 0xffff_fffc,
  [VtdRegister.CompletionEventAddressHigh]: 0xffff_ffff,
  [VtdRegister.IotlbInvalidate + 4]: 0x3003_ffff,
};
/** Upper halves of physical addresses. */
const addressHighs: readonly number[] = [
  VtdRegister.RootTable + 4,
  VtdRegister.QueueAddress + 4,
  VtdRegister.InterruptTable + 4,
];
const interruptTableWritable = { plain: 0xffff_f00f, extended: 0xffff_f80f } as const;

/**
 * The register page as memory: what each register reads as, and which bits software changes by writing them. What a write
 * sets off is the unit's.
 */
export class RegisterFile {
  readonly #words = new Uint32Array(vtdBytes / 4);
  readonly #writable = new Uint32Array(vtdBytes / 4);
  readonly #model: VtdCapabilities;

  constructor(model: VtdCapabilities) {
    this.#model = model;
    for (const [offset, mask] of Object.entries(plainlyWritable)) {
      this.#writable[Number(offset) >>> 2] = mask;
    }
    for (const offset of addressHighs) {
      this.#writable[offset >>> 2] = 2 ** (model.hostAddressBits - 32) - 1;
    }
    const { extended, plain } = interruptTableWritable;
    const table = model.extendedInterruptMode ? extended : plain;
    this.#writable[VtdRegister.InterruptTable >>> 2] = table;
    this.reset();
  }

  reset(): void {
    this.#words.fill(0);
    this.set(VtdRegister.Version, versionValue);
    this.#setWide(VtdRegister.Capability, capabilityRegister(this.#model));
    this.#setWide(VtdRegister.ExtendedCapability, extendedCapabilityRegister(this.#model));
  }

  get(offset: number): number {
    return this.#words[offset >>> 2] ?? 0;
  }
  set(offset: number, value: number): void {
    this.#words[offset >>> 2] = value;
  }

  /** Software's write: the bits it may change. */
  write(offset: number, value: number): void {
    const writable = this.#writable[offset >>> 2] ?? 0;
    this.set(offset, (this.get(offset) & ~writable) | (value & writable));
  }

  /** Number of the page that an address register holds. */
  page(offset: number): number {
    return (this.get(offset) >>> 12) + this.get(offset + 4) * 2 ** 20;
  }

  #setWide(offset: number, value: bigint): void {
    this.set(offset, Number(value & 0xffff_ffffn));
    this.set(offset + 4, Number(value >> 32n));
  }
}
