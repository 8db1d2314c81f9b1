import { present } from "../../base/assert.ts";
import { Prng } from "../../base/prng.ts";
import {
  type HostLayout,
  hlt,
  type Operation,
  type OwnOperations,
  type Script,
  type ScriptEnvironment,
  type ScriptedSoftware,
} from "../../isa/operations.ts";
import {
  argumentMax,
  entryAddress,
  exitPointAddress,
  gateAddress,
  programsMax,
  streamHighOf,
  streamLowOf,
  streamsMax,
} from "./script-address.ts";

/** Software did what no software may: arrived where none of its scripts can go on. Not a fault of the simulator. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}

/** One execution of a program: a generator, the operation it waits for, and where that lies. */
export class Stream {
  readonly id: number;
  readonly program: string;
  /** Halves of the address of `operation`. */
  readonly high: number;
  low: number;
  operation: Operation;
  /** Cycles of `operation` (Compute) still to be spent; undefined before it has begun. */
  cyclesLeft: number | undefined = undefined;
  /** The program has returned. */
  isOver = false;
  /** Result of the operation before the one at `low`, whose script has not been told of it yet. */
  #result: bigint | undefined = 0n;
  /** Entered through a gate: general registers as they were, and where the frame is. */
  readonly interrupted: BigUint64Array | undefined;
  readonly frame: bigint;
  /** Bytes of error code on top of the frame. */
  readonly errorCodeBytes: number;
  readonly #script: Script;

  constructor(
    id: number,
    program: string,
    gate: { registers: BigUint64Array; frame: bigint; errorCodeBytes: number } | undefined,
    create: () => Script,
  ) {
    this.id = id;
    this.program = program;
    this.high = streamHighOf(id);
    this.low = streamLowOf(id);
    this.interrupted = gate?.registers;
    this.frame = gate?.frame ?? 0n;
    this.errorCodeBytes = gate?.errorCodeBytes ?? 0;
    this.#script = create();
    this.operation = idle;
  }

  /** The script is to say what comes next. */
  get isDone(): boolean {
    return this.#result !== undefined && !this.isOver;
  }

  /** The operation is done. */
  complete(result: bigint): void {
    this.cyclesLeft = undefined;
    this.#result = result;
  }

  /**
   * About to execute: the script says what. Not before, or it would go on behind HLT while the processor still rests, and before
   * an interrupt that comes first.
   */
  takeNext(): void {
    const result = this.#result;
    if (result === undefined || this.isOver) return;
    this.#result = undefined;
    const step = this.#script.next(result);
    if (step.done === true) {
      this.isOver = true;
      this.operation = idle;
    } else {
      this.operation = step.value;
    }
  }
}

const idle = hlt();

/** What a machine tells the scripts that run on it. */
export interface ScriptMachine {
  readonly software: ScriptedSoftware;
  readonly lpCount: number;
  readonly apicIds: readonly number[];
  readonly ramBytes: number;
  readonly seed: number;
  readonly now: () => number;
  readonly host: (lp: number) => HostLayout;
  /** Ends the wait of an LP that spins, because of a store by another. Without it a spinning LP looks again and again. */
  readonly endSpin?: ((spinning: number, storing: number) => void) | undefined;
}

const streamSeedStride = 0x9e37_79b9;

/**
 * All streams of the LPs that share them. LPs of one thread do, so that a virtual processor that runs scripts can move from one
 * to another; LPs on threads of their own have one each.
 */
export class ScriptStreams {
  readonly #machine: ScriptMachine;
  readonly #names: readonly string[];
  readonly #numbers = new Map<string, number>();
  readonly #streams: (Stream | undefined)[] = [];
  readonly #free: number[] = [];
  /** LPs that spin, on which 8 bytes, and until when. */
  readonly #spinners = new Map<number, { readonly quad: number; readonly isOver: () => boolean }>();
  /** By LP. */
  readonly #own: OwnOperations[] = [];
  #begun = 0;

  constructor(machine: ScriptMachine) {
    this.#machine = machine;
    this.#names = Object.keys(machine.software.programs);
    if (this.#names.length > programsMax) {
      throw new ScriptError(`${this.#names.length} programs: at most ${programsMax}`);
    }
    for (const [number, name] of this.#names.entries()) this.#numbers.set(name, number);
  }

  /** An LP says how its scripts carry out operations at once. */
  attach(lp: number, own: OwnOperations): void {
    this.#own[lp] = own;
  }

  /** Somebody spins. */
  get hasSpinners(): boolean {
    return this.#spinners.size > 0;
  }
  /** Whether LPs that spin are told of stores. */
  get tellsSpinners(): boolean {
    return this.#machine.endSpin !== undefined;
  }
  /** An LP waits until a word at an address of the shared memory is as it wants it. */
  spins(lp: number, address: number, isOver: () => boolean): void {
    this.#spinners.set(lp, { quad: address >>> 3, isOver });
  }
  /** It does so no longer. */
  stopsSpinning(lp: number): void {
    this.#spinners.delete(lp);
  }
  /** A script's LP has stored to the shared memory. */
  stored(lp: number, address: number): void {
    for (const [spinning, { quad, isOver }] of this.#spinners) {
      if (quad === address >>> 3 && isOver()) this.#machine.endSpin?.(spinning, lp);
    }
  }

  entry(program: string, argument = 0): bigint {
    return entryAddress(this.#number(program), checkedArgument(program, argument));
  }
  gate(program: string, vector: number): bigint {
    return gateAddress(this.#number(program), checkedArgument(program, vector));
  }
  stream(id: number): Stream {
    const stream = this.#streams[id];
    if (stream === undefined) {
      throw new ScriptError(`a processor arrived at script ${id}, which has ended or never began`);
    }
    return stream;
  }

  begin(
    lp: number,
    program: number,
    argument: number,
    gate: { registers: BigUint64Array; frame: bigint; errorCodeBytes: number } | undefined,
  ): Stream {
    const { software, lpCount, apicIds, ramBytes, seed, now, host } = this.#machine;
    const name = this.#names[program];
    if (name === undefined) throw new ScriptError(`no program has number ${program}`);
    const id = this.#free.pop() ?? this.#streams.length;
    if (id >= streamsMax) throw new ScriptError(`more than ${streamsMax} scripts are under way`);
    this.#begun += 1;
    const streamSeed = (seed + this.#begun * streamSeedStride + lp) >>> 0;
    let random: Prng | undefined;
    const environment: ScriptEnvironment = {
      lp,
      lpCount,
      apicIds,
      ramBytes,
      // Made when first asked for: most handlers of interrupts have no use for chance.
      get random(): Prng {
        random ??= new Prng(streamSeed);
        return random;
      },
      now,
      entry: (other, value) => this.entry(other, value),
      gate: (other, vector) => this.gate(other, vector),
      frame: gate?.frame ?? 0n,
      exitPoint: exitPointAddress(id),
      own: present(this.#own[lp], "an LP without operations of its own"),
      host: host(lp),
    };
    const create = present(software.programs[name], `program ${name} has vanished`);
    const stream = new Stream(id, name, gate, () => create(environment, argument));
    this.#streams[id] = stream;
    return stream;
  }

  end(stream: Stream): void {
    this.#streams[stream.id] = undefined;
    this.#free.push(stream.id);
  }

  #number(program: string): number {
    const number = this.#numbers.get(program);
    if (number === undefined) {
      throw new ScriptError(`no program is called ${program}: there are ${this.#names.join(", ")}`);
    }
    return number;
  }
}

function checkedArgument(program: string, argument: number): number {
  if (!(Number.isInteger(argument) && argument >= 0 && argument <= argumentMax)) {
    throw new ScriptError(`${program}: argument ${argument} is out of range 0 to ${argumentMax}`);
  }
  return argument;
}
