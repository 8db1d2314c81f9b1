import { present } from "../../base/assert.ts";
import { prefixBit, recordBytes, recordOffset } from "../../execution/instruction-record.ts";
import { lpOffset, Segment } from "../../execution/lp-window.ts";
import { codeNumber, mnemonicNumber } from "../../isa/instruction-names.ts";
import { OperationKind, operationBytes } from "../../isa/operations.ts";

/** General registers by number. */
export const Gpr = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rsi: 6, rdi: 7 } as const;

/** How an operation looks to the handler of its instruction. */
interface Shape {
  /** iced's name of the mnemonic, and of the Code where handlers go by it. */
  readonly mnemonic: string;
  readonly code?: string;
  readonly destination?: number;
  readonly source?: number;
  /** The r/m operand is in memory at this register. */
  readonly memory?: number;
}

/** Records by kind; those that differ by register or size have one for each. */
const shapes: Readonly<Record<string, Shape>> = {
  [OperationKind.CompareExchange16]: { mnemonic: "Cmpxchg16b", memory: Gpr.rdi },
  [OperationKind.Cpuid]: { mnemonic: "Cpuid" },
  [OperationKind.ReadMsr]: { mnemonic: "Rdmsr" },
  [OperationKind.WriteMsr]: { mnemonic: "Wrmsr" },
  [OperationKind.ReadTsc]: { mnemonic: "Rdtsc" },
  [OperationKind.Halt]: { mnemonic: "Hlt" },
  [OperationKind.Pause]: { mnemonic: "Pause" },
  [OperationKind.SetInterruptFlag]: { mnemonic: "Sti" },
  [OperationKind.ClearInterruptFlag]: { mnemonic: "Cli" },
  [OperationKind.InvalidatePage]: { mnemonic: "Invlpg", memory: Gpr.rdi },
  [OperationKind.VmxOn]: { mnemonic: "Vmxon", memory: Gpr.rdi },
  [OperationKind.VmxOff]: { mnemonic: "Vmxoff" },
  [OperationKind.VmClear]: { mnemonic: "Vmclear", memory: Gpr.rdi },
  [OperationKind.VmPtrLoad]: { mnemonic: "Vmptrld", memory: Gpr.rdi },
  [OperationKind.VmPtrStore]: { mnemonic: "Vmptrst", memory: Gpr.rdi },
  [OperationKind.VmRead]: { mnemonic: "Vmread", destination: Gpr.rax, source: Gpr.rcx },
  [OperationKind.VmWrite]: { mnemonic: "Vmwrite", destination: Gpr.rcx, source: Gpr.rax },
  [OperationKind.VmLaunch]: { mnemonic: "Vmlaunch" },
  [OperationKind.VmResume]: { mnemonic: "Vmresume" },
  [OperationKind.VmCall]: { mnemonic: "Vmcall" },
  [OperationKind.VmFunc]: { mnemonic: "Vmfunc" },
  [OperationKind.InvalidateEpt]: { mnemonic: "Invept", destination: Gpr.rcx, memory: Gpr.rdi },
  [OperationKind.InvalidateVpid]: { mnemonic: "Invvpid", destination: Gpr.rcx, memory: Gpr.rdi },
};

const controlRegisters = [0, 2, 3, 4, 8] as const;
const portSizes = { 1: "AL", 2: "AX", 4: "EAX" } as const;

const special: Readonly<Record<string, Shape>> = Object.fromEntries([
  ["iret", { mnemonic: "Iretq", code: "Iretq" }],
  ...controlRegisters.flatMap((register) => [
    [
      `from cr${register}`,
      { mnemonic: "Mov", code: "Mov_r64_cr", destination: Gpr.rax, source: register },
    ],
    [
      `to cr${register}`,
      { mnemonic: "Mov", code: "Mov_cr_r64", destination: register, source: Gpr.rax },
    ],
  ]),
  ...Object.entries(portSizes).flatMap(([size, name]) => [
    [`in ${size}`, { mnemonic: "In", code: `In_${name}_DX` }],
    [`out ${size}`, { mnemonic: "Out", code: `Out_DX_${name}` }],
  ]),
]);

/**
 * Decoded-instruction records of the operations that have a handler, in the LP's window: written once, so that executing an
 * operation is setting registers and calling the handler.
 */
export class OperationRecords {
  readonly #byKind = new Uint32Array(Object.keys(OperationKind).length);
  readonly #special = new Map<string, number>();
  readonly iret: number;

  constructor(memory: WebAssembly.Memory, windowBase: number) {
    const view = new DataView(memory.buffer);
    let at = windowBase + lpOffset.scripts;
    for (const [kind, shape] of Object.entries(shapes)) {
      writeRecord(view, windowBase, at, shape);
      this.#byKind[Number(kind)] = at;
      at += recordBytes;
    }
    for (const [name, shape] of Object.entries(special)) {
      writeRecord(view, windowBase, at, shape);
      this.#special.set(name, at);
      at += recordBytes;
    }
    this.iret = present(this.#special.get("iret"), "no record of IRET");
  }

  /** Address of the record of an operation; 0 when it has no handler. */
  of(kind: OperationKind): number {
    return this.#byKind[kind] ?? 0;
  }
  /** `iret`, `from cr3`, `to cr3`, `in 4`, `out 1` …; undefined when there is no such operation. */
  find(name: string): number | undefined {
    return this.#special.get(name);
  }
}

function writeRecord(view: DataView, windowBase: number, at: number, shape: Shape): void {
  const register = (number: number): number => windowBase + lpOffset.gpr + number * 8;
  const zero = windowBase + lpOffset.zero;
  const wide = 8;
  view.setUint8(at + recordOffset.length, operationBytes);
  view.setUint8(at + recordOffset.prefixes, shape.memory === undefined ? 0 : prefixBit.memory);
  view.setUint32(at + recordOffset.destination, register(shape.destination ?? Gpr.rax), true);
  view.setUint32(at + recordOffset.source, register(shape.source ?? Gpr.rax), true);
  const base = shape.memory === undefined ? zero : register(shape.memory);
  view.setUint32(at + recordOffset.base, base, true);
  view.setUint32(at + recordOffset.index, zero, true);
  view.setUint8(at + recordOffset.segment, Segment.DS);
  view.setUint8(at + recordOffset.addressSize, wide);
  view.setUint8(at + recordOffset.operandSize, wide);
  const code = shape.code === undefined ? 0 : present(codeNumber(shape.code), shape.code);
  view.setUint16(at + recordOffset.code, code, true);
  view.setUint16(
    at + recordOffset.mnemonic,
    present(mnemonicNumber(shape.mnemonic), shape.mnemonic),
    true,
  );
}
