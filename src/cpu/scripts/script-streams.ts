import { present } from "../../base/assert.ts";
import { Prng } from "../../base/prng.ts";
import {
  type HostLayout,
  hlt,
  type Operation,
  type OwnOperations,
  type Program,
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
  readonly #isGenerator: boolean;

  constructor(id: number, program: string, gate: Gate | undefined, script: Script) {
    this.id = id;
    this.program = program;
    this.high = streamHighOf(id);
    this.low = streamLowOf(id);
    this.interrupted = gate?.registers;
    this.frame = gate?.frame ?? 0n;
    this.errorCodeBytes = gate?.errorCodeBytes ?? 0;
    this.#script = script;
    this.#isGenerator = script.next === resume;
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
    const script = this.#script;
    const step = this.#isGenerator ? resume.call(script, result) : script.next(result);
    if (step.done === true) {
      this.isOver = true;
      this.operation = idle;
    } else {
      this.operation = step.value;
    }
  }
}

const idle = hlt();
/** `next` of every generator: to look it up by way of prototypes, of which each script has its own, takes longer than to call it. */
const resume = Object.getPrototypeOf(function* () {}).prototype.next as Script["next"];

/** Entered through a gate: general registers as they were, where the frame is, and bytes of error code on top of it. */
interface Gate {
  readonly registers: BigUint64Array;
  readonly frame: bigint;
  readonly errorCodeBytes: number;
}

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

/** An LP that waits for a word of the shared memory to change. */
export interface Spinner {
  readonly lp: number;
  /** Address of the word. */
  readonly at: number;
  /** The word is as the LP wants it. */
  isOver(): boolean;
}

const streamSeedStride = 0x9e37_79b9;

/** Where one stream runs. A handler of interrupts asks for little of it: nothing is worked out in advance. */
class StreamEnvironment implements ScriptEnvironment {
  readonly lp: number;
  readonly own: OwnOperations;
  readonly frame: bigint;
  readonly #id: number;
  readonly #seed: number;
  readonly #machine: ScriptMachine;
  readonly #streams: ScriptStreams;
  #random: Prng | undefined;

  constructor(of: {
    lp: number;
    own: OwnOperations;
    frame: bigint;
    id: number;
    seed: number;
    machine: ScriptMachine;
    streams: ScriptStreams;
  }) {
    this.lp = of.lp;
    this.own = of.own;
    this.frame = of.frame;
    this.#id = of.id;
    this.#seed = of.seed;
    this.#machine = of.machine;
    this.#streams = of.streams;
  }

  get lpCount(): number {
    return this.#machine.lpCount;
  }
  get apicIds(): readonly number[] {
    return this.#machine.apicIds;
  }
  get ramBytes(): number {
    return this.#machine.ramBytes;
  }
  get random(): Prng {
    this.#random ??= new Prng(this.#seed);
    return this.#random;
  }
  get exitPoint(): bigint {
    return exitPointAddress(this.#id);
  }
  get host(): HostLayout {
    return this.#machine.host(this.lp);
  }
  // Functions, not methods: software may take them out of here.
  get now(): ScriptEnvironment["now"] {
    return this.#machine.now;
  }
  get entry(): ScriptEnvironment["entry"] {
    return (program, argument) => this.#streams.entry(program, argument);
  }
  get gate(): ScriptEnvironment["gate"] {
    return (program, vector) => this.#streams.gate(program, vector);
  }
}

/**
 * All streams of the LPs that share them. LPs of one thread do, so that a virtual processor that runs scripts can move from one
 * to another; LPs on threads of their own have one each.
 */
export class ScriptStreams {
  readonly #machine: ScriptMachine;
  readonly #names: readonly string[];
  readonly #programs: readonly Program[];
  readonly #numbers = new Map<string, number>();
  readonly #streams: (Stream | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #spare: BigUint64Array[] = [];
  /** LPs that spin, in the order in which they began. */
  readonly #spinners: Spinner[] = [];
  /** By LP. */
  readonly #own: OwnOperations[] = [];
  #begun = 0;

  constructor(machine: ScriptMachine) {
    this.#machine = machine;
    this.#names = Object.keys(machine.software.programs);
    this.#programs = Object.values(machine.software.programs);
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
    return this.#spinners.length > 0;
  }
  /** Whether LPs that spin are told of stores. */
  get tellsSpinners(): boolean {
    return this.#machine.endSpin !== undefined;
  }
  /** An LP waits until a word of the shared memory is as it wants it. */
  spins(spinner: Spinner): void {
    this.#spinners.push(spinner);
  }
  /** It does so no longer. */
  stopsSpinning(spinner: Spinner): void {
    const at = this.#spinners.indexOf(spinner);
    if (at >= 0) this.#spinners.splice(at, 1);
  }
  /** A script's LP has stored to the shared memory. */
  stored(lp: number, address: number): void {
    for (const spinner of this.#spinners) {
      if (spinner.at >>> 3 === address >>> 3 && spinner.isOver()) {
        this.#machine.endSpin?.(spinner.lp, lp);
      }
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

  begin(lp: number, program: number, argument: number, gate: Gate | undefined): Stream {
    const { seed } = this.#machine;
    const name = this.#names[program];
    const create = this.#programs[program];
    if (name === undefined || create === undefined) {
      throw new ScriptError(`no program has number ${program}`);
    }
    const id = this.#free.pop() ?? this.#streams.length;
    if (id >= streamsMax) throw new ScriptError(`more than ${streamsMax} scripts are under way`);
    this.#begun += 1;
    const environment = new StreamEnvironment({
      lp,
      own: present(this.#own[lp], "an LP without operations of its own"),
      frame: gate?.frame ?? 0n,
      id,
      seed: (seed + this.#begun * streamSeedStride + lp) >>> 0,
      machine: this.#machine,
      streams: this,
    });
    const stream = new Stream(id, name, gate, create(environment, argument));
    this.#streams[id] = stream;
    return stream;
  }

  end(stream: Stream): void {
    this.#streams[stream.id] = undefined;
    this.#free.push(stream.id);
    if (stream.interrupted !== undefined) this.#spare.push(stream.interrupted);
  }

  /** General registers put away until `end` of the stream they are given to: memory outside the heap is dear to come by. */
  saved(registers: BigUint64Array): BigUint64Array {
    const copy = this.#spare.pop();
    if (copy === undefined) return registers.slice();
    copy.set(registers);
    return copy;
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
