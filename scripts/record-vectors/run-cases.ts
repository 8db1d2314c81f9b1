import { spawnSync } from "node:child_process";
import { MEMORY_BYTES, XMM_BYTES } from "../../test/vectors/input-state.ts";
import { CODE_PAGES, LAYOUTS } from "./layouts.ts";
import type { RecordableCase } from "./make-case.ts";

/** What the processor made of a case. */
export interface Outcome {
  /** Exception vector; `COMPLETED` if there was none. */
  readonly vector: number;
  readonly errorCode: number;
  readonly faultAddress: bigint;
  readonly rip: bigint;
  readonly gpr: readonly bigint[];
  readonly rflags: bigint;
  readonly xmm: Uint8Array;
  readonly memory: Uint8Array;
}

/** The breakpoint behind the instruction was reached. */
export const COMPLETED = 3;

/** Sizes of the structures in run-cases.c. */
const MAX_PAGES = 64;
const HEADER_BYTES = 8 + MAX_PAGES * 16;
const CASE_BYTES = 24 + 16 + 128 + 8 + XMM_BYTES + MEMORY_BYTES;
const RESULT_BYTES = 24 + 128 + 8 + XMM_BYTES + MEMORY_BYTES + 8;

function writeHeader(file: Buffer, count: number): void {
  const pages = [...new Set(LAYOUTS.flatMap((layout) => layout.mappedPages))];
  file.writeUInt32LE(count, 0);
  file.writeUInt32LE(pages.length, 4);
  pages.forEach((page, i) => {
    file.writeBigUInt64LE(BigInt(page), 8 + i * 16);
    file.writeUInt32LE((CODE_PAGES as readonly number[]).includes(page) ? 1 : 0, 16 + i * 16);
  });
}

function writeCase(file: Buffer, start: number, item: RecordableCase): void {
  file.writeUInt32LE(item.form.mode, start);
  file.writeUInt32LE(item.code.length, start + 4);
  file.writeBigUInt64LE(BigInt(item.layout.codeAddress), start + 8);
  file.writeBigUInt64LE(BigInt(item.layout.memoryAddress), start + 16);
  file.set(item.code, start + 24);
  item.input.gpr.forEach((value, i) => {
    file.writeBigUInt64LE(value, start + 40 + i * 8);
  });
  file.writeBigUInt64LE(item.input.rflags, start + 168);
  file.set(item.input.xmm, start + 176);
  file.set(item.input.memory, start + 176 + XMM_BYTES);
}

function readOutcome(file: Buffer, start: number, item: RecordableCase): Outcome {
  const stray = file.readBigUInt64LE(start + RESULT_BYTES - 8);
  if (stray !== 0n)
    throw new Error(`${item.form.name} wrote ${stray} bytes outside its memory area`);
  const xmm = start + 160;
  const memory = xmm + XMM_BYTES;
  return {
    vector: file.readUInt32LE(start),
    errorCode: file.readUInt32LE(start + 4),
    faultAddress: file.readBigUInt64LE(start + 8),
    rip: file.readBigUInt64LE(start + 16),
    gpr: Array.from({ length: 16 }, (_, i) => file.readBigUInt64LE(start + 24 + i * 8)),
    rflags: file.readBigUInt64LE(start + 152),
    xmm: Uint8Array.from(file.subarray(xmm, memory)),
    memory: Uint8Array.from(file.subarray(memory, memory + MEMORY_BYTES)),
  };
}

function runOnce(program: string, input: Buffer, filler: number): Buffer {
  const run = spawnSync(program, [String(filler)], { input, maxBuffer: 2 ** 30 });
  if (run.status !== 0) {
    throw new Error(
      `the native runner failed (${run.signal ?? run.status}): ${run.stderr.toString()}`,
    );
  }
  return run.stdout;
}

/**
 * Runs all cases on this machine's processor, twice with different bytes around the memory areas; the outcomes must agree.
 */
export function runCases(program: string, cases: readonly RecordableCase[]): Outcome[] {
  const input = Buffer.alloc(HEADER_BYTES + cases.length * CASE_BYTES);
  writeHeader(input, cases.length);
  cases.forEach((item, i) => {
    writeCase(input, HEADER_BYTES + i * CASE_BYTES, item);
  });
  const first = runOnce(program, input, 0x00);
  const second = runOnce(program, input, 0xa5);
  return cases.map((item, i) => {
    const start = i * RESULT_BYTES;
    const same = first.compare(second, start, start + RESULT_BYTES, start, start + RESULT_BYTES);
    if (same !== 0) throw new Error(`${item.form.name} depends on bytes outside its memory area`);
    return readOutcome(first, start, item);
  });
}
