import { present } from "../../base/assert.ts";
import type { Assistant, ExecutionCore } from "../../execution/core.ts";
import { type CoreHost, Outcome, RunExit } from "../../execution/core-host.ts";
import { recordOffset } from "../../execution/instruction-record.ts";
import { lpOffset, Pending } from "../../execution/lp-window.ts";
import type { Tlb } from "../../execution/tlb.ts";
import {
  type GeneralRegisters,
  type NoteDetail,
  type Operation,
  OperationKind,
  operationBytes,
  VmxResult,
} from "../../isa/operations.ts";
import type { CorePort } from "../core-port.ts";
import type { Clock, CostlyOperation, Intercepts, TraceSink } from "../ports.ts";
import { flagBit } from "../register-bits.ts";
import { OperationMemory } from "./operation-memory.ts";
import { Gpr, OperationRecords } from "./operation-records.ts";
import { OperationRegisters } from "./operation-registers.ts";
import { LpOwnOperations } from "./own-operations.ts";
import {
  argumentAt,
  isScriptAddress,
  offsetMask,
  placeAt,
  programAt,
  ScriptPlace,
  streamAt,
} from "./script-address.ts";
import { ScriptError, type ScriptStreams, type Spinner, type Stream } from "./script-streams.ts";

export interface ScriptedCoreOptions {
  readonly memory: WebAssembly.Memory;
  readonly windowBase: number;
  /** LP index. */
  readonly index: number;
  readonly host: CoreHost;
  readonly clock: Clock;
  readonly streams: ScriptStreams;
  readonly trace: TraceSink | undefined;
  /** What a loop of PAUSE may cause. */
  readonly pauses: () => Pick<
    Intercepts,
    "nonRoot" | "pauseLoopLeft" | "pausedUntilNow" | "fields"
  >;
  /** Makes the core for machine code, given the host it is to call. */
  readonly createMachineCode: (host: CoreHost) => ExecutionCore;
}

/** Vectors that push an error code. */
const withErrorCode = new Set([8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
/** Work of no more cycles is done in one piece. */
const shortWork = 500;
/** How long an LP that is not told of others' stores spins before it looks again, in cycles. */
const spinGlance = 1000;

/** What an operation costs beside the one cycle of an instruction, where something does. */
const costs: Partial<Record<OperationKind, CostlyOperation>> = {
  [OperationKind.CompareExchange]: "lockedAccess",
  [OperationKind.Exchange]: "lockedAccess",
  [OperationKind.ExchangeAdd]: "lockedAccess",
  [OperationKind.LockedOr]: "lockedAccess",
  [OperationKind.LockedAnd]: "lockedAccess",
  [OperationKind.BitTestAndSet]: "lockedAccess",
  [OperationKind.BitTestAndReset]: "lockedAccess",
  [OperationKind.CompareExchange16]: "lockedAccess",
  [OperationKind.Cpuid]: "cpuid",
  [OperationKind.ReadMsr]: "rdmsr",
  [OperationKind.WriteMsr]: "wrmsr",
  [OperationKind.VmClear]: "vmclear",
  [OperationKind.VmPtrLoad]: "vmptrld",
  [OperationKind.VmRead]: "vmread",
  [OperationKind.VmWrite]: "vmwrite",
  [OperationKind.InvalidateEpt]: "invept",
  [OperationKind.InvalidateVpid]: "invvpid",
};
/** Concern nobody but the LP: they need not wait until others have come as far. */
const runsAhead: readonly boolean[] = Object.values(OperationKind).map((kind) =>
  [OperationKind.Compute, OperationKind.VmLaunch, OperationKind.VmResume].some(
    (own) => own === kind,
  ),
);
const costByKind: (CostlyOperation | undefined)[] = Object.values(OperationKind).map(
  (kind) => costs[kind],
);

/** What an LP spins on, anew for each spin. */
class WordSpinner implements Spinner {
  readonly lp: number;
  readonly #memory: OperationMemory;
  at = 0;
  #size = 8;
  #value = 0n;
  #isWhile = true;

  constructor(lp: number, memory: OperationMemory) {
    this.lp = lp;
    this.#memory = memory;
  }
  /** @param isWhile until the word has another value, instead of this one */
  waitFor(at: number, size: number, value: bigint, isWhile: boolean): void {
    this.at = at;
    this.#size = size;
    this.#value = value;
    this.#isWhile = isWhile;
  }
  isOver(): boolean {
    return (this.#memory.read(this.at, this.#size) === this.#value) !== this.#isWhile;
  }
}

/**
 * The instruction source of an LP whose software is scripted: executes operations where RIP is in the scripts' part of the
 * address space, and machine code everywhere else. Operations of system instructions go to the very handlers that machine code
 * goes to; loads, stores and locked operations go through the same TLB and slow paths.
 */
export class ScriptedCore implements CorePort {
  readonly tlb: Tlb;
  readonly #code: ExecutionCore;
  readonly #host: CoreHost;
  readonly #base: number;
  readonly #index: number;
  readonly #clock: Clock;
  readonly #streams: ScriptStreams;
  readonly #trace: TraceSink | undefined;
  readonly #records: OperationRecords;
  readonly #u32: Uint32Array;
  readonly #i32: Int32Array;
  readonly #rip: number;
  readonly #pending: number;
  readonly #registers: OperationRegisters;
  readonly #memory: OperationMemory;
  readonly #spinner: WordSpinner;
  #retired = 0;
  readonly #pauses: ScriptedCoreOptions["pauses"];
  #computing: Stream | undefined;
  /** Whose script is being asked for its next operation. */
  #asked: Stream | undefined;
  /** Clock value at which the spinning under way has gone on for as long as it may; undefined: the work is another. */
  #spinEnd: number | undefined = undefined;
  /** Clock value at which the work under way (`compute`) is done. */
  busyUntil: number | undefined = undefined;

  constructor(options: ScriptedCoreOptions) {
    const { memory, windowBase, host } = options;
    this.#host = host;
    this.#base = windowBase;
    this.#index = options.index;
    this.#clock = options.clock;
    this.#streams = options.streams;
    this.#trace = options.trace;
    this.#pauses = options.pauses;
    this.#u32 = new Uint32Array(memory.buffer);
    this.#i32 = new Int32Array(memory.buffer);
    this.#rip = (windowBase + lpOffset.rip) >>> 2;
    this.#pending = (windowBase + lpOffset.pending) >>> 2;
    this.#code = options.createMachineCode({
      access: (size, kind) => host.access(size, kind),
      commit: () => host.commit(),
      store: (size) => host.store(size),
      raise: (exception) => host.raise(exception),
      // A VM exit or an interrupt may lead from machine code to a script.
      system: (record) => {
        const outcome = host.system(record);
        return outcome === Outcome.Jump && this.#isInScript() ? Outcome.JumpAndLeave : outcome;
      },
      fetch: () => {
        if (this.#isInScript()) throw scriptReached;
        return host.fetch();
      },
    });
    this.tlb = this.#code.tlb;
    this.#memory = new OperationMemory({
      ...{ memory, windowBase, tlb: this.tlb, host },
      stored: (at) => this.#stored(at),
    });
    this.#spinner = new WordSpinner(options.index, this.#memory);
    this.#registers = new OperationRegisters(memory, windowBase, this.#memory);
    this.#records = new OperationRecords(memory, windowBase);
    const own = new LpOwnOperations({
      clock: options.clock,
      fields: () => options.pauses().fields,
      retire: () => {
        this.#retired += 1;
      },
      execute: (operation) => this.#atOnce(operation),
    });
    options.streams.attach(options.index, own);
  }

  get cache(): ExecutionCore["cache"] {
    return this.#code.cache;
  }
  get retired(): number {
    return this.#retired + this.#code.retired;
  }
  trapped(): void {
    this.#code.trapped();
  }
  codeContextChanged(): void {
    this.#code.codeContextChanged();
  }
  codeWritten(physical: number, size: number): void {
    this.#code.codeWritten(physical, size);
  }
  dropWritePermission(): void {
    this.#code.dropWritePermission();
  }
  assistLocally(code: number, assistant: Assistant): void {
    this.#code.assist(code, assistant);
  }
  addAttendant(attendant: Assistant): number {
    return this.#code.addAttendant(attendant);
  }

  /** The LP gets to run again, or an event is about to be looked at: work under way is put down as far as it has got. */
  putDownWork(): void {
    const stream = this.#computing;
    if (stream === undefined) return;
    stream.cyclesLeft = Math.max(0, (this.#spinEnd ?? this.busyUntil ?? 0) - this.#clock.now());
    if (this.#spinEnd !== undefined) this.#stopSpinning();
    this.#computing = undefined;
    this.busyUntil = undefined;
  }

  run(budget: number): RunExit {
    let left = budget;
    while (left > 0) {
      const pending = this.#i32[this.#pending] ?? 0;
      if (pending !== 0 && !this.#isHeedless()) {
        // The turn is over, but work that is put down has only to be taken up again: it need not have a turn for that.
        if (pending !== Pending.Stop || !this.#isWorkPutDown()) return RunExit.Pending;
      }
      const isInScript = this.#isInScript();
      const before = isInScript ? this.#retired : this.#code.retired;
      const exit = isInScript ? this.#operation() : this.#machineCode(left);
      if (exit !== undefined) return exit;
      left -= Math.max(1, (isInScript ? this.#retired : this.#code.retired) - before);
    }
    return RunExit.Budget;
  }

  /** The next operation is executed whatever is pending. Machine code sees to it itself. */
  #isHeedless(): boolean {
    const at = (this.#base + lpOffset.heedless) >>> 2;
    const isHeedless = this.#u32[at] !== 0;
    if (this.#isInScript()) this.#u32[at] = 0;
    return isHeedless;
  }

  #isWorkPutDown(): boolean {
    const high = this.#u32[this.#rip + 1] ?? 0;
    const low = this.#u32[this.#rip] ?? 0;
    if (!isScriptAddress(high) || placeAt(high, low) !== ScriptPlace.Operation) return false;
    const { operation, cyclesLeft } = this.#streams.stream(streamAt(high, low));
    return operation.kind === OperationKind.Compute && (cyclesLeft ?? 0) > shortWork;
  }

  #isInScript(): boolean {
    return isScriptAddress(this.#u32[this.#rip + 1] ?? 0);
  }

  /** @returns undefined to go on */
  #machineCode(budget: number): RunExit | undefined {
    try {
      const exit = this.#code.run(budget);
      return this.#isInScript() && exit !== RunExit.Pending ? undefined : exit;
    } catch (trap) {
      if (trap !== scriptReached) throw trap;
      this.#code.trapped();
      return undefined;
    }
  }

  /** Executes the operation at RIP. @returns undefined to go on */
  #operation(): RunExit | undefined {
    const stream = this.#streamAtRip();
    if (stream.isDone) {
      this.#asked = stream;
      stream.takeNext();
      this.#asked = undefined;
      // What it has done at once has taken it past the others.
      if (!runsAhead[stream.operation.kind] && (this.#i32[this.#pending] ?? 0) !== 0) {
        return RunExit.Pending;
      }
    }
    const { operation } = stream;
    if (operation.kind === OperationKind.Compute) return this.#compute(stream, operation);
    if (operation.kind === OperationKind.Spin || operation.kind === OperationKind.SpinUntil) {
      return this.#spin(stream, operation);
    }
    if (operation.kind === OperationKind.Note) {
      const { kind, ...detail } = operation.extra as NoteDetail;
      this.#trace?.(String(kind), { lp: this.#index, ...detail });
      // It takes no time and no place: the next operation lies where it lay.
      stream.complete(0n);
      return undefined;
    }
    if (stream.isOver && stream.interrupted !== undefined) return this.#return(stream);
    const cost = costByKind[operation.kind];
    if (cost !== undefined) this.#clock.charge?.(cost);
    const record = this.#records.of(operation.kind);
    if (record !== 0) return this.#system(stream, operation, record);
    const special = this.#specialRecord(operation);
    if (special !== undefined) return this.#system(stream, operation, special);
    const result = this.#memory.execute(operation);
    this.#retired += 1;
    this.#complete(stream, result);
    return undefined;
  }

  /** An operation that a script has not yielded: it is executed where RIP is, and goes on behind itself. */
  #atOnce(operation: Operation): bigint {
    const stream = this.#asked;
    if (stream === undefined || !this.#isUninterruptible()) {
      throw new ScriptError(
        `LP ${this.#index} was to carry out an operation at once that something may come between`,
      );
    }
    const cost = costByKind[operation.kind];
    if (cost !== undefined) this.#clock.charge?.(cost);
    const record = this.#records.of(operation.kind);
    let result = 0n;
    if (record === 0) {
      result = this.#memory.execute(operation);
    } else {
      const outcome = this.#perform(stream, record, operation);
      if (outcome !== Outcome.Next) {
        throw new ScriptError(`operation ${operation.kind} did not go on behind itself`);
      }
      result = this.#registers.resultOf(operation);
    }
    this.#retired += 1;
    stream.low = nextLow(stream.low);
    this.#u32[this.#rip] = stream.low;
    return result;
  }

  // ——— where RIP is

  /** The stream at RIP, its operation being the one there. */
  #streamAtRip(): Stream {
    const high = this.#u32[this.#rip + 1] ?? 0;
    const low = this.#u32[this.#rip] ?? 0;
    switch (placeAt(high, low)) {
      case ScriptPlace.Entry:
        return this.#enter(
          this.#streams.begin(this.#index, programAt(low), argumentAt(low), undefined),
        );
      case ScriptPlace.Gate:
        return this.#enter(this.#beginHandler(programAt(low), argumentAt(low)));
      case ScriptPlace.Exit:
        return this.#afterExit(this.#streams.stream(streamAt(high, low)));
      default: {
        const stream = this.#streams.stream(streamAt(high, low));
        if (low !== stream.low) this.#resume(stream, low);
        return stream;
      }
    }
  }
  #enter(stream: Stream): Stream {
    this.#u32[this.#rip] = stream.low;
    this.#u32[this.#rip + 1] = stream.high;
    return stream;
  }
  #beginHandler(program: number, vector: number): Stream {
    const registers = this.#streams.saved(this.#registers.general);
    const frame = registers[Gpr.rsp] ?? 0n;
    const errorCodeBytes = withErrorCode.has(vector) ? 8 : 0;
    return this.#streams.begin(this.#index, program, vector, { registers, frame, errorCodeBytes });
  }

  /** RIP is behind the operation: it has been emulated, its result is in the registers. */
  #resume(stream: Stream, low: number): void {
    if (low !== nextLow(stream.low) && low !== stream.low + operationBytes) {
      throw new ScriptError(
        `LP ${this.#index} arrived in program ${stream.program} at an address that is neither its operation nor the next one`,
      );
    }
    stream.low = nextLow(stream.low);
    this.#u32[this.#rip] = stream.low;
    stream.complete(this.#registers.resultOf(stream.operation));
  }

  /** At the exit point: the VM entry that the stream waits for has ended in a VM exit. */
  #afterExit(stream: Stream): Stream {
    const { kind, extra } = stream.operation;
    if (kind !== OperationKind.VmLaunch && kind !== OperationKind.VmResume) {
      throw new ScriptError(
        `LP ${this.#index} left its guest for program ${stream.program}, which has not entered one; HOST_RIP is another script's`,
      );
    }
    if (extra !== undefined) (extra as GeneralRegisters).set(this.#registers.general);
    this.#complete(stream, VmxResult.Success);
    return stream;
  }

  #complete(stream: Stream, result: bigint): void {
    stream.low = nextLow(stream.low);
    this.#u32[this.#rip] = stream.low;
    this.#u32[this.#rip + 1] = stream.high;
    stream.complete(result);
  }

  // ——— work

  /** The work is done when its time has passed; until then the LP has nothing else to do, and events may come. */
  #compute(stream: Stream, { cycles }: Operation): RunExit | undefined {
    let left = stream.cyclesLeft;
    if (left === undefined) {
      // The first of its instructions: it ends the shadow of STI as any other does.
      this.#retired += 1;
      left = cycles - 1;
      if (this.#clock.pass !== undefined && (left <= shortWork || this.#isUninterruptible())) {
        if (left > 0) this.#clock.pass(left);
        left = 0;
      }
      stream.cyclesLeft = left;
    }
    if (left <= 0) {
      this.#complete(stream, 0n);
      return undefined;
    }
    this.#computing = stream;
    this.busyUntil = this.#clock.now() + left;
    return RunExit.Left;
  }

  /** In root operation with interrupts off nothing ends work early. */
  #isUninterruptible(): boolean {
    const flags = this.#u32[(this.#base + lpOffset.systemFlags) >>> 2] ?? 0;
    return (flags & flagBit.IF) === 0 && !this.#pauses().nonRoot;
  }

  /** A round of the loop, and as many more as there is time for before something happens. */
  #spin(stream: Stream, { kind, address, size, value, cycles }: Operation): RunExit | undefined {
    const left = stream.cyclesLeft ?? cycles;
    const isWhile = kind === OperationKind.Spin;
    if (left <= 0 || (this.#memory.load(address, size) === value) !== isWhile) {
      this.#retired += 1;
      this.#complete(stream, 0n);
      return undefined;
    }
    stream.cyclesLeft = left;
    const outcome = this.#perform(stream, this.#records.of(OperationKind.Pause));
    if (outcome !== Outcome.Next) return undefined;
    this.#retired += 1;
    const now = this.#clock.now();
    const at = this.#memory.place(address, size);
    const isTold = at >= 0 && this.#streams.tellsSpinners;
    const most = Math.min(left, this.#pauses().pauseLoopLeft());
    if (isTold) {
      this.#spinner.waitFor(at, size, value, isWhile);
      this.#streams.spins(this.#spinner);
    }
    this.#computing = stream;
    this.#spinEnd = now + left;
    this.busyUntil = now + (isTold ? most : Math.min(most, spinGlance));
    return RunExit.Left;
  }
  /** Whoever spins there looks again. */
  #stored(at: number): void {
    if (this.#streams.hasSpinners) this.#streams.stored(this.#index, at);
  }
  #stopSpinning(): void {
    this.#spinEnd = undefined;
    this.#streams.stopsSpinning(this.#spinner);
    this.#pauses().pausedUntilNow();
  }

  // ——— system instructions

  #system(stream: Stream, operation: Operation, record: number): RunExit | undefined {
    const outcome = this.#perform(stream, record, operation);
    if (outcome === Outcome.Next || outcome === Outcome.NextAndLeave) {
      this.#retired += 1;
      this.#complete(stream, this.#registers.resultOf(operation));
    }
    const leaves = outcome === Outcome.NextAndLeave || outcome === Outcome.JumpAndLeave;
    return leaves ? RunExit.Left : undefined;
  }

  /** Has the handler of an instruction execute a record where the stream is. @param operation whose operands it takes, if any */
  #perform(stream: Stream, record: number, operation?: Operation): number {
    this.#u32[(record + recordOffset.next) >>> 2] = nextLow(stream.low);
    this.#u32[(record + recordOffset.next + 4) >>> 2] = stream.high;
    const current = (this.#base + lpOffset.current) >>> 2;
    this.#u32[current] = record;
    if (operation !== undefined) this.#registers.load(operation);
    const outcome = this.#host.system(record);
    this.#u32[current] = 0;
    return outcome;
  }

  #specialRecord({ kind, address, size }: Operation): number | undefined {
    const name =
      kind === OperationKind.ReadControl
        ? `from cr${address}`
        : kind === OperationKind.WriteControl
          ? `to cr${address}`
          : kind === OperationKind.PortIn
            ? `in ${size}`
            : kind === OperationKind.PortOut
              ? `out ${size}`
              : undefined;
    if (name === undefined) return undefined;
    const record = this.#records.find(name);
    if (record === undefined) throw new ScriptError(`there is no operation ${name}`);
    return record;
  }

  /** The program entered through a gate has returned: IRET to where it came from, with the registers as they were. */
  #return(stream: Stream): RunExit | undefined {
    const { general } = this.#registers;
    general.set(present(stream.interrupted, "no registers to restore"));
    general[Gpr.rsp] = stream.frame + BigInt(stream.errorCodeBytes);
    const outcome = this.#perform(stream, this.#records.iret);
    this.#retired += 1;
    this.#streams.end(stream);
    return outcome === Outcome.JumpAndLeave ? RunExit.Left : undefined;
  }
}

/** Unwinds machine code that has come to a script. */
const scriptReached: unique symbol = Symbol("script reached");

const nextLow = (low: number): number =>
  ((low & ~offsetMask) | ((low + operationBytes) & offsetMask)) >>> 0;
