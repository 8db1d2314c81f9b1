import { readStatusFlags } from "../../execution/flags.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import {
  type CpuidRegisters,
  type GeneralRegisters,
  type Operation,
  OperationKind,
  VmxResult,
} from "../../isa/operations.ts";
import { flagBit } from "../register-bits.ts";
import type { OperationMemory } from "./operation-memory.ts";
import { Gpr } from "./operation-records.ts";

/** Where a linear operand of a VMX instruction is put: below the stack pointer, where scripts keep nothing. */
const operandBelowStack = 64n;
const registerCount = 16;
const allOnes = 0xffff_ffff_ffff_ffffn;

/** An LP's general registers and flags, as the handlers of instructions find operands there and leave results. */
export class OperationRegisters {
  /** The general registers by number. */
  readonly general: BigUint64Array;
  readonly #words: Uint32Array;
  readonly #base: number;
  readonly #memory: OperationMemory;

  constructor(memory: WebAssembly.Memory, windowBase: number, linear: OperationMemory) {
    this.general = new BigUint64Array(memory.buffer, windowBase + lpOffset.gpr, registerCount);
    this.#words = new Uint32Array(memory.buffer);
    this.#base = windowBase;
    this.#memory = linear;
  }

  /** Before an operation is executed: its operands. */
  load({ kind, address, value, expected, extra }: Operation): void {
    const registers = this.general;
    switch (kind) {
      case OperationKind.VmRead:
      case OperationKind.ReadMsr:
        registers[Gpr.rcx] = address;
        return;
      case OperationKind.VmWrite:
        registers[Gpr.rcx] = address;
        registers[Gpr.rax] = value;
        return;
      case OperationKind.VmLaunch:
      case OperationKind.VmResume:
        if (extra !== undefined) registers.set(extra as GeneralRegisters);
        return;
      case OperationKind.Cpuid:
      case OperationKind.VmFunc:
        registers[Gpr.rax] = address;
        registers[Gpr.rcx] = value;
        return;
      case OperationKind.WriteMsr:
        registers[Gpr.rcx] = address;
        registers[Gpr.rax] = value & 0xffff_ffffn;
        registers[Gpr.rdx] = value >> 32n;
        return;
      case OperationKind.VmCall:
        registers[Gpr.rax] = address;
        registers[Gpr.rbx] = value;
        return;
      case OperationKind.WriteControl:
        registers[Gpr.rax] = value;
        return;
      case OperationKind.PortIn:
        registers[Gpr.rdx] = address;
        return;
      case OperationKind.PortOut:
        registers[Gpr.rdx] = address;
        registers[Gpr.rax] = value;
        return;
      case OperationKind.InvalidatePage:
        registers[Gpr.rdi] = address;
        return;
      case OperationKind.VmxOn:
      case OperationKind.VmClear:
      case OperationKind.VmPtrLoad:
        this.#operandInMemory(address, 0n);
        return;
      case OperationKind.VmPtrStore:
        this.#operandInMemory(0n, 0n);
        return;
      case OperationKind.InvalidateEpt:
        registers[Gpr.rcx] = address;
        this.#operandInMemory(value, 0n);
        return;
      case OperationKind.InvalidateVpid:
        registers[Gpr.rcx] = address;
        this.#operandInMemory(expected, value);
        return;
      case OperationKind.CompareExchange16: {
        const [low = 0n, high = 0n, newLow = 0n, newHigh = 0n] = extra as readonly bigint[];
        registers[Gpr.rdi] = address;
        registers[Gpr.rax] = low;
        registers[Gpr.rdx] = high;
        registers[Gpr.rbx] = newLow;
        registers[Gpr.rcx] = newHigh;
        return;
      }
      default:
    }
  }
  #operandInMemory(first: bigint, second: bigint): void {
    const at = ((this.general[Gpr.rsp] ?? 0n) & ~0xfn) - operandBelowStack;
    this.general[Gpr.rdi] = at;
    this.#memory.store(at, 8, first);
    this.#memory.store(at + 8n, 8, second);
  }

  /** What they hold when the operation has been executed, by this LP or by a hypervisor. */
  resultOf({ kind, size, extra }: Operation): bigint {
    const registers = this.general;
    const rax = registers[Gpr.rax] ?? 0n;
    switch (kind) {
      case OperationKind.ReadMsr:
      case OperationKind.ReadTsc:
        return (rax & 0xffff_ffffn) | ((registers[Gpr.rdx] ?? 0n) << 32n);
      case OperationKind.Cpuid: {
        const into = extra as CpuidRegisters | undefined;
        if (into !== undefined) {
          into.eax = Number(rax & 0xffff_ffffn);
          into.ebx = Number((registers[Gpr.rbx] ?? 0n) & 0xffff_ffffn);
          into.ecx = Number((registers[Gpr.rcx] ?? 0n) & 0xffff_ffffn);
          into.edx = Number((registers[Gpr.rdx] ?? 0n) & 0xffff_ffffn);
        }
        return rax & 0xffff_ffffn;
      }
      case OperationKind.PortIn:
      case OperationKind.Load:
      case OperationKind.CompareExchange:
      case OperationKind.Exchange:
      case OperationKind.ExchangeAdd:
        return BigInt.asUintN(size * 8, rax);
      case OperationKind.ReadControl:
      case OperationKind.VmCall:
        return rax;
      case OperationKind.VmRead:
        return this.#vmxResult() === VmxResult.Success ? rax : allOnes;
      case OperationKind.VmPtrStore:
        return this.#memory.load(registers[Gpr.rdi] ?? 0n, 8);
      case OperationKind.VmxOn:
      case OperationKind.VmxOff:
      case OperationKind.VmClear:
      case OperationKind.VmPtrLoad:
      case OperationKind.VmWrite:
      case OperationKind.VmLaunch:
      case OperationKind.VmResume:
      case OperationKind.InvalidateEpt:
      case OperationKind.InvalidateVpid:
        return this.#vmxResult();
      case OperationKind.CompareExchange16:
        return (this.#flags() & flagBit.ZF) === 0 ? 0n : 1n;
      default:
        return 0n;
    }
  }
  #flags(): number {
    return readStatusFlags(this.#words, this.#base);
  }
  #vmxResult(): bigint {
    const flags = this.#flags();
    if ((flags & flagBit.CF) !== 0) return VmxResult.FailInvalid;
    return (flags & flagBit.ZF) !== 0 ? VmxResult.FailValid : VmxResult.Success;
  }
}
