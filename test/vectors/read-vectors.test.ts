import { Code, Decoder, DecoderOptions, Mnemonic } from "iced-x86";
import { describe, expect, test } from "vitest";
import { readVectors, type Vector, type VectorFileName, type VectorForm } from "./read-vectors.ts";

const FILES: readonly { name: VectorFileName; forms: number; cases: number }[] = [
  { name: "integer-64", forms: 1360, cases: 50_000 },
  { name: "integer-32", forms: 1020, cases: 16_000 },
  { name: "sse-64", forms: 225, cases: 9_000 },
  { name: "float-64", forms: 116, cases: 6_900 },
];

/** Forms without a visible effect and encodings that are always invalid need few cases; 32-bit mode repeats the rest. */
function casesExpected(form: VectorForm): number {
  if (/^(INVALID|Ud2)/.test(form.code)) return 2;
  if (/^(Nop|Pause|Prefetch|Clflush|[LMS]fence)/.test(form.code)) return 8;
  return form.mode === 32 ? 16 : 40;
}

/** What the decoder makes of a case's code. */
function decoded(vector: Vector): { code: string; mnemonic: string; length: number } {
  const decoder = new Decoder(vector.mode, vector.code, DecoderOptions.None);
  const instruction = decoder.decode();
  const { code, mnemonic, length } = instruction;
  instruction.free();
  decoder.free();
  return { code: Code[code] ?? "?", mnemonic: Mnemonic[mnemonic] ?? "?", length };
}

function isDecodedAsRecorded(vector: Vector): boolean {
  const { code, mnemonic, length } = decoded(vector);
  const { form } = vector;
  if (form.code !== code || form.mnemonic !== mnemonic) return false;
  return code === "INVALID" || length === vector.code.length;
}

describe.each(FILES)("$name", ({ name, forms, cases }) => {
  const file = readVectors(name);

  test("holds the promised number of forms and cases", () => {
    expect(file.forms.length).toBeGreaterThanOrEqual(forms);
    expect([...file.cases()].length).toBeGreaterThanOrEqual(cases);
    const thin = file.forms.filter((form) => form.caseCount < casesExpected(form));
    expect(thin.map((form) => form.name)).toEqual([]);
    expect(new Set(file.forms.map((form) => form.name)).size).toBe(file.forms.length);
  });

  test("every code is decoded as the instruction of its form, to its last byte", () => {
    const wrong: string[] = [];
    for (const vector of file.cases()) {
      if (!isDecodedAsRecorded(vector)) wrong.push(vector.name);
    }
    expect(wrong).toEqual([]);
  });

  test("a fault leaves flags and instruction pointer alone", () => {
    const wrong: string[] = [];
    for (const { name: caseName, fault, input, output, codeAddress } of file.cases()) {
      if (fault === undefined || fault === "#OF" || fault === "#DE") continue;
      if (input.rflags !== output.rflags || output.rip !== codeAddress) wrong.push(caseName);
    }
    expect(wrong).toEqual([]);
  });
});

const integer = readVectors("integer-64");

function casesOf(name: string): Vector[] {
  const found = [...integer.cases((form) => form.name === name)];
  if (found.length === 0) throw new Error(`no form ${name}`);
  return found;
}

describe("recorded outputs agree with arithmetic done here", () => {
  test("ADD AL, imm8 wraps and carries", () => {
    for (const { code, input, output } of casesOf("Add_AL_imm8")) {
      const sum = Number((input.gpr[0] ?? 0n) & 0xffn) + (code[1] ?? 0);
      expect((output.gpr[0] ?? 0n) & 0xffn).toBe(BigInt(sum & 0xff));
      expect(output.rflags & 1n).toBe(sum > 0xff ? 1n : 0n);
    }
  });

  test("CQO extends the sign of RAX into RDX", () => {
    for (const { input, output } of casesOf("Cqo")) {
      expect(output.gpr[2]).toBe((input.gpr[0] ?? 0n) >> 63n ? 0xffff_ffff_ffff_ffffn : 0n);
    }
  });

  test("LODSB in either direction reads the byte at RSI", () => {
    for (const { input, output, memoryAddress, fault } of casesOf("Lodsb_AL_m8 a64")) {
      if (fault !== undefined) continue;
      const source = input.gpr[6] ?? 0n;
      const byte = input.memory[Number(source - memoryAddress)] ?? -1;
      expect((output.gpr[0] ?? 0n) & 0xffn).toBe(BigInt(byte));
      expect(output.gpr[6]).toBe(input.rflags & 0x400n ? source - 1n : source + 1n);
    }
  });

  test("REP MOVSB into an absent page stops at the element that faults", () => {
    const faults = casesOf("Movsb_m8_m8 rep a64").filter(({ fault }) => fault === "#PF");
    expect(faults.length).toBeGreaterThan(0);
    for (const { input, output, faultAddress, mappedPages } of faults) {
      const done = (input.gpr[1] ?? 0n) - (output.gpr[1] ?? 0n);
      expect((output.gpr[6] ?? 0n) - (input.gpr[6] ?? 0n)).toBe(done);
      expect((output.gpr[7] ?? 0n) - (input.gpr[7] ?? 0n)).toBe(done);
      expect([output.gpr[6], output.gpr[7]]).toContain(faultAddress);
      expect(mappedPages).not.toContain((faultAddress ?? 0n) & ~0xfffn);
    }
  });

  test("DIV of 64 bits raises #DE exactly when the quotient does not fit", () => {
    const seen = new Set<boolean>();
    for (const { code, input, output, fault } of casesOf("Div_rm64 reg")) {
      const divisor = input.gpr[((code[2] ?? 0) & 7) | (((code[0] ?? 0) & 1) << 3)] ?? 0n;
      const dividend = ((input.gpr[2] ?? 0n) << 64n) | (input.gpr[0] ?? 0n);
      const fits = divisor !== 0n && dividend / divisor < 1n << 64n;
      seen.add(fits);
      expect(fault).toBe(fits ? undefined : "#DE");
      if (fits) expect(output.gpr[0]).toBe(dividend / divisor);
      if (fits) expect(output.gpr[2]).toBe(dividend % divisor);
    }
    expect(seen.size).toBe(2);
  });
});

test("cases of one form are the same whether or not other forms are read", () => {
  const alone = casesOf("Xadd_rm32_r32 lock mem")[3];
  const among = [...integer.cases()].find((vector) => vector.name === alone?.name);
  expect(among).toEqual(alone);
});
