import { Encoder, Instruction } from "iced-x86";
import type { MachineState } from "../../test/vectors/input-state.ts";
import type { Layout } from "../../test/vectors/vector-format.ts";
import { CaseBuilder, type InputValue } from "./case-builder.ts";
import { decodedCode, type Form } from "./forms.ts";
import { chooseOperands } from "./operands.ts";
import { undefinedFlags } from "./undefined-flags.ts";

/** A case ready to run. */
export interface RecordableCase {
  readonly form: Form;
  readonly layoutIndex: number;
  readonly layout: Layout;
  readonly code: Uint8Array;
  readonly input: MachineState;
  readonly inputValues: readonly InputValue[];
  readonly undefinedFlags: bigint;
  readonly possibleFaults: ReadonlySet<number>;
  readonly mustFault: boolean;
}

const ATTEMPTS = 60;
const INVALID_OPCODE = 6;

function setPrefixes(instruction: Instruction, form: Form): void {
  const { lock, repeat } = form.variant;
  if (lock) instruction.hasLockPrefix = true;
  if (repeat === "rep") instruction.hasRepPrefix = true;
  if (repeat === "repe") instruction.hasRepePrefix = true;
  if (repeat === "repne") instruction.hasRepnePrefix = true;
}

/** Encodes the instruction; `undefined` if these operands have no encoding or mean another form. */
function encode(builder: CaseBuilder): Uint8Array | undefined {
  const encoder = new Encoder(builder.form.mode);
  try {
    encoder.encode(builder.instruction, BigInt(builder.layout.codeAddress));
    const bytes = encoder.takeBuffer();
    const decoded = decodedCode(bytes, builder.form.mode);
    const same = decoded.code === builder.form.code && decoded.length === bytes.length;
    return same ? bytes : undefined;
  } catch {
    return undefined;
  } finally {
    encoder.free();
  }
}

function attempt(form: Form, seed: number, choiceSeed: number): RecordableCase | undefined {
  const instruction = new Instruction();
  try {
    instruction.code = form.code;
    setPrefixes(instruction, form);
    const builder = new CaseBuilder(form, instruction, seed, choiceSeed);
    if (form.invalidBytes !== undefined) {
      builder.expectFault(INVALID_OPCODE);
      return finish(builder, Uint8Array.from(form.invalidBytes), 0n);
    }
    form.recipe.begin?.(builder);
    chooseOperands(builder);
    form.recipe.adjust?.(builder);
    const code = encode(builder);
    return code && finish(builder, code, undefinedFlags(builder));
  } finally {
    instruction.free();
  }
}

function finish(builder: CaseBuilder, code: Uint8Array, undefinedAfter: bigint): RecordableCase {
  return {
    form: builder.form,
    layoutIndex: builder.layoutIndex,
    layout: builder.layout,
    code,
    input: builder.state,
    inputValues: builder.inputValues,
    undefinedFlags: undefinedAfter,
    possibleFaults: builder.possibleFaults,
    mustFault: builder.mustFault,
  };
}

/** Makes one case of a form. `seed` is its ordinal in the file. Throws if the form seems to have no encoding. */
export function makeCase(form: Form, seed: number): RecordableCase {
  for (let i = 0; i < ATTEMPTS; i++) {
    const made = attempt(form, seed, (seed * 64 + i) ^ 0x5eed);
    if (made !== undefined) return made;
  }
  throw new Error(`no encoding found for ${form.name} in ${form.mode}-bit mode`);
}
