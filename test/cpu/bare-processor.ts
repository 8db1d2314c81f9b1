import {
  LogicalProcessor,
  type LogicalProcessorOptions,
  type LpStop,
} from "../../src/cpu/logical-processor.ts";
import type { CpuModel } from "../../src/cpu/models/cpu-model.ts";
import { offeredInstructions } from "../../src/cpu/models/offered-instructions.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import type { Bus, Intercepts } from "../../src/cpu/ports.ts";
import { cr0Bit, cr4Bit, eferBit, flagBit } from "../../src/cpu/register-bits.ts";
import { noIntercepts, noSecondStage } from "../../src/cpu/root-operation.ts";
import { setSegment } from "../../src/cpu/segment-registers.ts";
import { systemInstructions } from "../../src/cpu/system-instructions.ts";
import { Fault, undefinedOpcode } from "../../src/cpu/trap.ts";
import { ExecutionCore } from "../../src/execution/core.ts";
import { buildInterpreter } from "../../src/execution/interpreter.ts";
import { lpOffset, lpWindowBytes, Segment } from "../../src/execution/lp-window.ts";
import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import { createMemory, layOutMemory, windowBase } from "../../src/memory/physical-memory.ts";

const module = new WebAssembly.Module(buildInterpreter() as Uint8Array<ArrayBuffer>);
const layout = layOutMemory(4 * 1024 ** 2, 1, lpWindowBytes);

/** Where things lie in the RAM of a `BareProcessor`. */
export const place = { code: 0x1000, data: 0x8000, tss: 0x9000, tables: 0x1_0000 } as const;

export type Mode = "real" | "protected" | "virtual8086" | "long";

/** Ports that remember what was written, and answer reads from a list. */
export class RecordingBus implements Bus {
  readonly written: (readonly [port: number, size: number, value: number])[] = [];
  readonly answers: number[] = [];
  readPort(): number {
    return this.answers.shift() ?? 0xffff_ffff;
  }
  writePort(port: number, size: number, value: number): void {
    this.written.push([port, size, value]);
  }
  readMmio(): number {
    return 0xffff_ffff;
  }
  writeMmio(): void {}
  endOfInterrupt(): void {}
  acknowledgeExternal(): number {
    return 0;
  }
}

/**
 * A processor that executes real machine code, but delivers nothing: `step` gives back the fault. Begins in 64-bit mode at
 * privilege level 0 with memory mapped onto itself.
 */
export class BareProcessor extends LogicalProcessor {
  override readonly bus: RecordingBus;

  constructor(model: CpuModel = skylakeServer) {
    const memory = createMemory(layout);
    const bus = new RecordingBus();
    const options: LogicalProcessorOptions = {
      memory,
      layout,
      index: 0,
      module,
      bus,
      fabric: { send: () => {} },
      clock: { frequencyHz: 1_000_000_000, now: () => 5000 },
      codePages: { claim: () => {}, changed: () => {} },
      model,
      lpCount: 1,
      apicIds: [0],
    };
    super(options, (host) => {
      const base = windowBase(layout, 0);
      const { codePages } = options;
      const offers = offeredInstructions(model);
      return new ExecutionCore({
        memory,
        layout,
        windowBase: base,
        module,
        host,
        codePages,
        offers,
      });
    });
    this.bus = bus;
    this.addInstructions(systemInstructions);
    this.reset();
  }

  reset(): void {
    this.msrs.reset();
    this.apic.reset();
    this.state.set("xcr0", 1n);
    this.state.write32(lpOffset.mxcsr, 0x1f80);
    this.state.setLow("dr6", 0xffff_0ff0);
    this.state.setLow("dr7", 0x400);
    this.enter("long");
  }

  /** Puts the processor into a mode, with flat segments (in virtual-8086 mode: segments at 0) and everything else off. */
  enter(mode: Mode, cpl = mode === "virtual8086" ? 3 : 0): void {
    const { state } = this;
    this.#mapMemory();
    const isLong = mode === "long";
    state.setLow(
      "cr0",
      (mode === "real"
        ? cr0Bit.ET
        : cr0Bit.ET | cr0Bit.PE | cr0Bit.NE | (isLong ? cr0Bit.PG : 0)) >>> 0,
    );
    state.setLow("cr4", isLong ? cr4Bit.PAE : 0);
    state.set("cr3", BigInt(place.tables));
    state.setLow("efer", isLong ? eferBit.LME | eferBit.LMA : 0);
    this.writeFlags(mode === "virtual8086" ? flagBit.VM : 0);
    const isFlat = mode === "protected" || isLong;
    const dpl = mode === "virtual8086" ? 3 : cpl;
    const rights = 0x93 | (dpl << 5) | (isFlat ? 0xc000 : 0);
    for (const segment of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) {
      setSegment(state, segment, 0x10 | dpl, rights, isFlat ? 0xffff_ffff : 0xffff, 0n);
    }
    const code = isLong ? 0xa09b : isFlat ? 0xc09b : rights;
    setSegment(state, Segment.CS, 8 | dpl, code | (dpl << 5), isFlat ? 0xffff_ffff : 0xffff, 0n);
    setSegment(state, Segment.TR, 0x28, 0x8b, 0x1ff, BigInt(place.tss));
    this.addressSpace.invalidateAll();
    this.loadControlState();
  }

  /** Four levels of tables that map the first GiB onto itself, user and writable. */
  #mapMemory(): void {
    const { u64 } = this.state;
    u64[place.tables / 8] = BigInt(place.tables + 0x1000) | 7n;
    u64[(place.tables + 0x1000) / 8] = 0x87n;
  }

  /** Assembles code for the present mode and executes it, one instruction after the other. @returns the fault that ended it */
  execute64(write: (asm: Assembler) => void): Fault | undefined {
    return this.executeCode(64, write);
  }
  executeCode(bits: 16 | 32 | 64, write: (asm: Assembler) => void): Fault | undefined {
    const asm = createAssembler({ origin: place.code, bits });
    write(asm);
    return this.executeBytes(asm.assemble().bytes);
  }
  executeBytes(bytes: Uint8Array): Fault | undefined {
    this.core.codeWritten(place.code, bytes.length);
    this.state.u8.set(bytes, place.code);
    this.state.rip = BigInt(place.code);
    const end = BigInt(place.code + bytes.length);
    for (let n = 0; n < 1000 && this.state.rip >= BigInt(place.code) && this.state.rip < end; n++) {
      Atomics.store(this.state.u32, (this.state.base + lpOffset.pending) >>> 2, 0);
      try {
        this.core.run(1);
      } catch (trap) {
        this.core.trapped();
        if (trap instanceof Fault) {
          return trap;
        }
        throw trap;
      }
    }
    return undefined;
  }

  /** Non-root operation with these answers; everything else is not intercepted. */
  intercept(answers: Partial<Intercepts>): void {
    this.attachVmx({ ...noIntercepts, nonRoot: true, ...answers }, noSecondStage);
  }

  run(): LpStop {
    return "idle";
  }
  wakeDeadline(): number | undefined {
    return undefined;
  }
  takeMail(): void {}
  deliver(): void {}
  deliverFault(): void {}
  deliverDebug(): void {}
  requestEventsAfterDelivery(): void {}
  protected execute(record: number): number {
    const insn = this.view.at(record);
    const handler = this.handlerOf(insn);
    if (handler === undefined) {
      throw undefinedOpcode();
    }
    return handler(this, insn);
  }
  protected raise(exception: number): never {
    throw new Fault(exception & 0xff, (exception & 0x100) !== 0 ? exception >>> 16 : undefined);
  }
}
