import fc from "fast-check";
import { expect, it } from "vitest";
import {
  CoreHarness,
  compileInterpreter,
  RecordedFault,
  type SystemInstruction,
} from "./core-harness.ts";

/**
 * Random programs that jump about, fault, repeat and overwrite themselves, executed in one go, one instruction at a time, and in
 * uneven pieces: the ways must end in the same state, since only the first uses whole blocks and links between them.
 */
const module = compileInterpreter();

const codePage = 0x10_0000;
const dataPage = 0x20_0000;
/** The pages behind are absent. */
const pages = [codePage, codePage + 0x1000, dataPage, dataPage + 0x1000];
/** The program crosses from one page to the next. */
const programStart = codePage + 0x1000 - 40;
const instructionsMost = 240;

/** REX.W 66 and REX prefixes as they may come before an opcode with ModRM. */
const prefix = fc.constantFrom("", "48", "66", "4c", "49", "40", "45");
const lockable = fc.constantFrom("", "f0");
const byte = fc.nat(255).map((value) => value.toString(16).padStart(2, "0"));
const opcode = (...choices: string[]) => fc.constantFrom(...choices);
/** Register operands. */
const registers = fc.nat(63).map((modrm) => (0xc0 | modrm).toString(16));
/** [RSI + disp8] or [RDI + disp8]: somewhere in the data pages. */
const memory = fc
  .tuple(fc.nat(7), fc.constantFrom(6, 7), byte)
  .map(([reg, rm, disp]) => (0x40 | (reg << 3) | rm).toString(16) + disp);
const operands = fc.oneof(registers, memory);
const join = (...parts: fc.Arbitrary<string>[]) => fc.tuple(...parts).map((all) => all.join(""));

const binaryOpcodes = ["00", "08", "10", "18", "20", "28", "30"].flatMap((base) =>
  [0, 1, 2, 3].map((n) => (Number.parseInt(base, 16) + n).toString(16).padStart(2, "0")),
);
const instruction = fc.oneof(
  { weight: 6, arbitrary: join(prefix, opcode(...binaryOpcodes, "39", "3b", "85"), operands) },
  { weight: 3, arbitrary: join(prefix, opcode("89", "8b", "88", "8a", "63"), operands) },
  { weight: 3, arbitrary: join(prefix, opcode("83", "c0", "c1", "6b"), operands, byte) },
  { weight: 2, arbitrary: join(prefix, opcode("ff", "f7", "d1", "d3"), operands) },
  { weight: 2, arbitrary: join(lockable, prefix, opcode("0fc1", "0fb1", "0fab", "87"), memory) },
  {
    weight: 3,
    arbitrary: join(
      prefix,
      opcode("0faf", "0fb6", "0fbf", "0fbc", "0fa3", "0f44", "0f9c"),
      operands,
    ),
  },
  { weight: 2, arbitrary: join(opcode("50", "51", "53", "58", "5b", "9c"), fc.constant("")) },
  // Short jumps in either direction, conditional and not, LOOP, and CALL; RET to wherever the stack says.
  { weight: 4, arbitrary: join(opcode("74", "75", "72", "7f", "78", "eb", "e2", "e3"), byte) },
  {
    weight: 2,
    arbitrary: fc.integer({ min: -60, max: 60 }).map((distance) => {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32LE(distance);
      return `e8${bytes.toString("hex")}`;
    }),
  },
  { weight: 1, arbitrary: opcode("c3") },
  // Strings, forward and backward, with a small count.
  {
    weight: 3,
    arbitrary: join(
      byte.map((count) => `b9${count}000000`),
      opcode("fc", "fd", "fc"),
      opcode("", "f3", "f2"),
      opcode("a4", "a5", "48a5", "aa", "ab", "ae", "a6", "ac"),
    ),
  },
  // Vectors.
  {
    weight: 2,
    arbitrary: join(opcode("0f10", "0f11", "0f28", "0f57", "660fd4", "f20f58"), operands),
  },
  // A store into the program itself.
  { weight: 2, arbitrary: join(fc.constant("c605"), byteOfProgram(), byte) },
);

/** Displacement from RIP that ends up in the program, as often as not. */
function byteOfProgram(): fc.Arbitrary<string> {
  return fc.integer({ min: -60, max: 60 }).map((displacement) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(displacement);
    return bytes.toString("hex");
  });
}

interface Program {
  readonly bits: 32 | 64;
  readonly code: Uint8Array;
  readonly registers: readonly bigint[];
  readonly data: Uint8Array;
}
const programs: fc.Arbitrary<Program> = fc.record({
  bits: fc.constantFrom(64, 64, 32),
  code: fc
    .array(instruction, { minLength: 3, maxLength: 30 })
    .map((list) => Uint8Array.from(Buffer.from(list.join(""), "hex"))),
  registers: fc.array(fc.bigInt(0n, (1n << 64n) - 1n), { minLength: 16, maxLength: 16 }),
  data: fc.uint8Array({ minLength: 256, maxLength: 256 }),
});

type Ending = RecordedFault | SystemInstruction | undefined;

/** One way of executing; the core is used again and again, with whatever its caches still hold. */
class Way {
  readonly #core = new CoreHarness({
    module,
    translate: (page) => (pages.includes(Number(page)) ? Number(page) : undefined),
  });
  readonly #run: (core: CoreHarness) => Ending;

  constructor(run: (core: CoreHarness) => Ending) {
    this.#run = run;
  }

  execute({ bits, code, registers: values, data }: Program): unknown {
    const core = this.#core;
    core.mode(bits);
    const blank = new Uint8Array(0x2000).fill(0x90);
    core.write(BigInt(codePage), blank);
    core.write(BigInt(dataPage), new Uint8Array(0x2000));
    core.write(BigInt(programStart), code);
    core.write(BigInt(dataPage + 0xf80), data);
    values.forEach((value, n) => {
      core.setGpr(n, BigInt.asUintN(bits, value));
    });
    core.setGpr(4, BigInt(dataPage + 0x800));
    core.setGpr(6, BigInt(dataPage + 0xfc0));
    core.setGpr(7, BigInt(dataPage + 0xff8));
    core.xmm.set(data);
    core.rflags = 0x202;
    core.rip = BigInt(programStart);
    core.core.fetchChanged();
    const before = core.core.retired;
    const ending = this.#run(core);
    return {
      ending,
      retired: core.core.retired - before,
      rip: core.rip,
      rflags: core.rflags,
      registers: values.map((_, n) => core.gpr(n)),
      xmm: base64(core.xmm),
      code: base64(core.read(BigInt(codePage), 0x2000)),
      data: base64(core.read(BigInt(dataPage), 0x2000)),
    };
  }
}

/** Bytes that a failed comparison prints in a line. */
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

function inPieces(core: CoreHarness, sizes: readonly number[]): Ending {
  let left = instructionsMost;
  for (let n = 0; left > 0; n++) {
    const piece = Math.min(left, sizes[n % sizes.length] ?? 1);
    const ending = core.run(piece);
    if (ending) {
      return ending;
    }
    left -= piece;
  }
  return undefined;
}

it("a random program ends in the same state however its execution is divided", () => {
  const atOnce = new Way((core) => core.run(instructionsMost));
  const stepped = new Way((core) => inPieces(core, [1]));
  const uneven = new Way((core) => inPieces(core, [5, 1, 17, 2, 64]));
  const endings = new Map<string, number>();
  fc.assert(
    fc.property(programs, (program) => {
      const expected = stepped.execute(program);
      expect(atOnce.execute(program)).toEqual(expected);
      expect(uneven.execute(program)).toEqual(expected);
      const { ending } = expected as { ending: Ending };
      const kind =
        ending instanceof RecordedFault ? `#${ending.vector}` : (ending?.constructor.name ?? "ran");
      endings.set(kind, (endings.get(kind) ?? 0) + 1);
    }),
    { numRuns: 1000, endOnFailure: true },
  );
  // The programs are of all kinds, or the property says little.
  for (const kind of ["ran", "#14", "SystemInstruction"]) {
    expect([kind, (endings.get(kind) ?? 0) > 30]).toEqual([kind, true]);
  }
});
