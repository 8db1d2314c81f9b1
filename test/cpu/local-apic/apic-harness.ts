import { TickRate } from "../../../src/base/tick-rate.ts";
import { LocalApic } from "../../../src/cpu/local-apic/local-apic.ts";
import { ApicRegister } from "../../../src/cpu/local-apic/registers.ts";
import { LpState } from "../../../src/cpu/lp-state.ts";
import { lpOffset, lpWindowBytes, Pending } from "../../../src/execution/lp-window.ts";
import { messageEntry } from "../../../src/protocol/interrupt-entry.ts";
import {
  DeliveryMode,
  type InterruptMessage,
  Shorthand,
} from "../../../src/protocol/interrupt-message.ts";

const wasmPage = 65_536;
const enableX2apic = 0xc00n;

export interface HarnessOptions {
  readonly apicId?: number;
  readonly bootProcessor?: boolean;
  readonly x2apic?: boolean;
  readonly timerRate?: TickRate;
}

/** One local APIC after reset, with what it sends recorded and a clock that the test moves. */
export class ApicHarness {
  readonly sent: InterruptMessage[] = [];
  readonly broadcasts: number[] = [];
  readonly state: LpState;
  readonly apic: LocalApic;
  now = 0;
  /** What the 8259 pair answers. */
  externalVector = 0x20;

  constructor(options: HarnessOptions = {}) {
    const pages = Math.ceil(lpWindowBytes / wasmPage);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.state = new LpState(memory, 0);
    this.apic = new LocalApic({
      state: this.state,
      clock: { frequencyHz: 1e9, now: () => this.now },
      bus: {
        endOfInterrupt: (vector) => this.broadcasts.push(vector),
        acknowledgeExternal: () => this.externalVector,
      },
      fabric: { send: (message) => this.sent.push(message) },
      index: 3,
      apicId: options.apicId ?? 5,
      bootProcessor: options.bootProcessor ?? true,
      features: { physicalAddressBits: 46, x2apic: options.x2apic ?? true },
      timerRate: options.timerRate ?? new TickRate(1, 1),
    });
    this.apic.reset();
  }

  /** Software-enabled, spurious vector FFH. */
  enable(): this {
    this.write(ApicRegister.SpuriousVector, 0x1ff);
    return this;
  }

  /** In x2APIC mode. */
  extended(): this {
    this.apic.writeBaseRegister(this.apic.baseRegister | enableX2apic);
    return this;
  }

  read(register: number): number {
    return this.apic.readMmio(register, 4);
  }
  write(register: number, value: number): void {
    this.apic.writeMmio(register, 4, value);
  }

  /** A fixed interrupt arrives. */
  request(vector: number, level = false): void {
    this.apic.accept(messageEntry({ ...fixedMessage, vector, level }));
  }
  receive(deliveryMode: DeliveryMode, vector = 0): number {
    return this.apic.accept(messageEntry({ ...fixedMessage, vector, deliveryMode }));
  }

  /** The APIC has asked the processor to look; the request is taken back. */
  takeSignal(): boolean {
    const pending = this.state.read32(lpOffset.pending);
    this.state.write32(lpOffset.pending, 0);
    return (pending & Pending.Events) !== 0;
  }

  /** Vectors of ISR, TMR or IRR. */
  vectors(set: number): number[] {
    return Array.from({ length: 256 }, (_, vector) => vector).filter(
      (vector) => (this.read(set + (vector >> 5) * 16) >>> (vector & 31)) & 1,
    );
  }
}

const fixedMessage: InterruptMessage = {
  vector: 0,
  deliveryMode: DeliveryMode.Fixed,
  logical: false,
  level: false,
  assert: true,
  shorthand: Shorthand.None,
  destination: 0,
  wide: false,
  source: 0,
};
