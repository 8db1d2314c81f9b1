import { brotliCompressSync, constants } from "node:zlib";
import { FIXED_FLAGS, REPORTED_FLAGS } from "../../test/vectors/input-state.ts";
import {
  faultName,
  MAGIC,
  packStatusFlags,
  type VectorForm,
  type VectorHeader,
} from "../../test/vectors/vector-format.ts";
import { signedVarint, varint } from "./case-builder.ts";
import type { Form } from "./forms.ts";
import { LAYOUTS } from "./layouts.ts";
import type { RecordableCase } from "./make-case.ts";
import { fillOf } from "./recipe.ts";
import { COMPLETED, type Outcome } from "./run-cases.ts";
import { undefinedFlagsAfterFault } from "./undefined-flags.ts";

const PAGE_FAULT = 14;

export interface RecordedCase {
  readonly item: RecordableCase;
  readonly outcome: Outcome;
}

/** Throws unless the case ended as its recipe says it may. */
export function checkOutcome({ item, outcome }: RecordedCase): void {
  const { possibleFaults, mustFault } = item;
  const completed = outcome.vector === COMPLETED;
  const expected = completed ? !mustFault : possibleFaults.has(outcome.vector);
  const stray = outcome.rflags & ~(REPORTED_FLAGS | 0x10000n);
  if (expected && stray === FIXED_FLAGS) return;
  const code = Buffer.from(item.code).toString("hex");
  const registers = item.input.gpr.map((value) => value.toString(16)).join(" ");
  throw new Error(
    `${item.form.name} (${code}) ended with vector ${outcome.vector}, expected ${[...possibleFaults]}, ` +
      `fault address ${outcome.faultAddress.toString(16)}, flags ${outcome.rflags.toString(16)}; ` +
      `memory ${item.layout.memoryAddress.toString(16)}, registers ${registers}`,
  );
}

/** A mask of the positions where two byte strings differ, and the new bytes there. */
function changedBytes(before: Uint8Array, after: Uint8Array): { mask: number; bytes: number[] } {
  let mask = 0;
  const bytes: number[] = [];
  after.forEach((byte, i) => {
    if (byte === before[i]) return;
    mask |= 1 << i;
    bytes.push(byte);
  });
  return { mask, bytes };
}

function word(value: number): number[] {
  return [value & 0xff, value >> 8];
}

function registerBytes(value: bigint): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, value, true);
  return new Uint8Array(view.buffer);
}

function registerChanges(item: RecordableCase, outcome: Outcome): number[] {
  let mask = 0;
  const changes: number[] = [];
  item.input.gpr.forEach((before, i) => {
    const raw = outcome.gpr[i] ?? 0n;
    const after = item.form.mode === 64 ? raw : raw & 0xffffffffn;
    const change = changedBytes(registerBytes(before), registerBytes(after));
    if (change.mask === 0) return;
    mask |= 1 << i;
    changes.push(change.mask, ...change.bytes);
  });
  return [...word(mask), ...changes];
}

function xmmChanges(item: RecordableCase, outcome: Outcome): number[] {
  let mask = 0;
  const changes: number[] = [];
  for (let i = 0; i < 16; i++) {
    const range = [i * 16, i * 16 + 16] as const;
    const change = changedBytes(item.input.xmm.subarray(...range), outcome.xmm.subarray(...range));
    if (change.mask === 0) continue;
    mask |= 1 << i;
    changes.push(...word(change.mask), ...change.bytes);
  }
  return [...word(mask), ...changes];
}

/** Runs of changed bytes, at most 255 long. */
function memoryChanges(item: RecordableCase, outcome: Outcome): number[] {
  const runs: number[][] = [];
  let run: number[] | undefined;
  outcome.memory.forEach((byte, offset) => {
    if (byte === item.input.memory[offset]) {
      run = undefined;
    } else if (run === undefined || run.length === 257) {
      run = [offset, 1, byte];
      runs.push(run);
    } else {
      run[1] = run.length - 1;
      run.push(byte);
    }
  });
  return [runs.length, ...runs.flat()];
}

function faultBytes(outcome: Outcome): number[] {
  if (outcome.vector === COMPLETED) return [0];
  faultName(outcome.vector);
  const address = outcome.vector === PAGE_FAULT ? varint(outcome.faultAddress) : [];
  return [outcome.vector + 1, ...varint(BigInt(outcome.errorCode)), ...address];
}

function caseBytes({ item, outcome }: RecordedCase): number[] {
  const completed = outcome.vector === COMPLETED;
  const undefinedAfter = completed ? item.undefinedFlags : undefinedFlagsAfterFault(outcome.vector);
  const start = BigInt(item.layout.codeAddress);
  const follows = completed ? start + BigInt(item.code.length) : start;
  return [
    item.layoutIndex,
    packStatusFlags(undefinedAfter),
    item.code.length,
    ...item.code,
    item.inputValues.length,
    ...item.inputValues.flat(),
    ...faultBytes(outcome),
    ...signedVarint(outcome.rip - follows),
    packStatusFlags(outcome.rflags),
    ...registerChanges(item, outcome),
    ...xmmChanges(item, outcome),
    ...memoryChanges(item, outcome),
  ];
}

function formRecord(form: Form, caseCount: number, byteLength: number): VectorForm {
  const { name, codeName, mnemonic, mode, recipe } = form;
  return { name, code: codeName, mnemonic, mode, fill: fillOf(recipe), caseCount, byteLength };
}

/** The whole file. `cases` come in the order of their seeds, those of a form together. */
export function vectorFile(
  recordedOn: VectorHeader["recordedOn"],
  cases: readonly RecordedCase[],
): Uint8Array {
  const byForm = new Map<Form, number[][]>();
  for (const recorded of cases) {
    const { form } = recorded.item;
    const list = byForm.get(form) ?? [];
    list.push(caseBytes(recorded));
    byForm.set(form, list);
  }
  const forms = [...byForm].map(([form, list]) =>
    formRecord(
      form,
      list.length,
      list.reduce((sum, bytes) => sum + bytes.length, 0),
    ),
  );
  const header: VectorHeader = { recordedOn, layouts: LAYOUTS, forms };
  const headerBytes = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(headerBytes.length);
  const body = Buffer.from([...byForm.values()].flat(2));
  const whole = Buffer.concat([Buffer.from(MAGIC), length, headerBytes, body]);
  return brotliCompressSync(whole, {
    params: {
      [constants.BROTLI_PARAM_QUALITY]: 11,
      [constants.BROTLI_PARAM_LGWIN]: 24,
      [constants.BROTLI_PARAM_SIZE_HINT]: whole.length,
    },
  });
}
