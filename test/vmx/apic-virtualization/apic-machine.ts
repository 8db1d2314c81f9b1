import { sapphireRapids } from "../../../src/cpu/models/sapphire-rapids.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { eax, ecx, edx } from "../../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../../src/protocol/interrupt-entry.ts";
import { DeliveryMode, Shorthand } from "../../../src/protocol/interrupt-message.ts";
import { place } from "../../cpu/test-machine.ts";
import { type Exit, VmxMachine, vmxPlace } from "../vmx-machine.ts";

/** Physical addresses, behind those of `vmxPlace`. */
export const apicPlace = {
  virtualApic: 0x5_0000,
  accessPage: 0x5_1000,
  descriptor: 0x5_2040,
  otherDescriptor: 0x5_2080,
  pidTable: 0x5_3000,
  scratch: 0x5_4000,
} as const;

export const notification = 0xf2;
const interruptFlag = 0x202;

/** A machine whose guest has a virtual APIC, and a processor that offers everything of it. */
export class ApicMachine extends VmxMachine {
  /** @param isTraced as for `TestMachine` */
  constructor(isTraced = true) {
    super(sapphireRapids, 64, undefined, isTraced);
    this.root();
    this.set("msrBitmaps", vmxPlace.msrBitmaps).enable("primary.useMsrBitmaps");
    this.lp.apic.writeMmio(0xf0, 4, 0x1ff);
  }

  // ——— controls

  shadow(threshold = 0): this {
    this.set("virtualApicAddress", apicPlace.virtualApic).set("tprThreshold", threshold);
    return this.enable("primary.useTprShadow");
  }
  accesses(): this {
    this.set("apicAccessAddress", apicPlace.accessPage);
    return this.enable("secondary.virtualizeApicAccesses");
  }
  x2apic(): this {
    return this.shadow().enable("secondary.virtualizeX2apicMode");
  }
  delivery(): this {
    this.shadow().enable("pin.externalInterruptExiting");
    return this.enable("secondary.virtualInterruptDelivery");
  }
  posting(): this {
    this.delivery().enable("exit.acknowledgeInterruptOnExit").enable("pin.processPostedInterrupts");
    this.set("postedInterruptDescriptor", apicPlace.descriptor);
    return this.set("postedInterruptVector", notification);
  }
  /** @param ids of the PID-pointer table: one more than the last index */
  ipis(ids = 2): this {
    this.posting().enable("primary.activateTertiaryControls").enable("tertiary.ipiVirtualization");
    return this.set("pidPointerTable", apicPlace.pidTable).set("lastPidPointerIndex", ids - 1);
  }

  // ——— the guest's APIC

  register(offset: number): number {
    return this.read32(apicPlace.virtualApic + offset);
  }
  setRegister(offset: number, value: number): this {
    this.write32(apicPlace.virtualApic + offset, value);
    return this;
  }
  /** Vectors of VISR (100H) or VIRR (200H). */
  vectors(set: number): number[] {
    return Array.from({ length: 256 }, (_, vector) => vector).filter(
      (vector) => ((this.register(set + (vector >>> 5) * 16) >>> (vector & 31)) & 1) !== 0,
    );
  }
  request(vector: number): this {
    const offset = 0x200 + (vector >>> 5) * 16;
    return this.setRegister(offset, this.register(offset) | (1 << (vector & 31)));
  }
  status(rvi: number, svi = 0): this {
    return this.set("guestInterruptStatus", rvi | (svi << 8));
  }
  get rvi(): number {
    return this.number("guestInterruptStatus") & 0xff;
  }
  get svi(): number {
    return this.number("guestInterruptStatus") >>> 8;
  }

  // ——— the guest's program

  interruptible(): this {
    return this.set("guestRflags", interruptFlag);
  }
  /** A handler of the guest, at most 16 bytes of code. */
  handler(vector: number, write: (asm: Assembler) => void): this {
    this.assemble(64, write, place.handlers + vector * 16);
    return this;
  }
  /** The vector whose handler made the VMCALL that has just exited. */
  handlerOf(exit: Exit): number {
    return (Number(exit.rip) - place.handlers) >> 4;
  }

  /** An interrupt message reaches the processor. */
  interrupt(vector: number): this {
    const entry = messageEntry({
      vector,
      deliveryMode: DeliveryMode.Fixed,
      logical: false,
      level: false,
      assert: true,
      shorthand: Shorthand.None,
      destination: 0,
      wide: false,
      source: -1,
    });
    this.mailbox.post(entry);
    return this;
  }
}

/** WRMSR of EDX:EAX. */
export function writeMsr(asm: Assembler, msr: number, low: number, high = 0): void {
  asm.mov(ecx, msr);
  asm.mov(eax, low);
  asm.mov(edx, high);
  asm.wrmsr();
}
export function readMsr(asm: Assembler, msr: number): void {
  asm.mov(ecx, msr);
  asm.rdmsr();
}
/** Low half of a posted-interrupt descriptor's word. */
export const descriptorWord = { control: 32, destination: 36 } as const;
