import type { Assembler } from "../../src/isa/assembler.ts";
import type { Label } from "../../src/isa/assembler-operands.ts";
import { type LabelName, labels } from "./labels.ts";

/** What the parts of the image share: the assembler, the labels that others use, and the texts. */
export interface Program {
  readonly asm: Assembler;
  readonly at: Readonly<Record<LabelName, Label>>;
  /** The address of a zero-terminated text, which is stored once. */
  readonly text: (value: string) => Label;
  /** Puts off what `emit` emits, such as a table in the middle of a routine, until `emitDeferred`. */
  readonly later: (emit: () => void) => void;
  /** Emits the texts and what was put off so far. */
  readonly emitDeferred: () => void;
}

/** A pool of zero-terminated texts. The guest has a pool of its own, as its code cannot reach the host's. */
function createTexts(asm: Assembler, prefix: string) {
  const texts = new Map<string, Label>();
  return {
    text(value: string): Label {
      const label = texts.get(value) ?? asm.label(`${prefix}_${texts.size}`);
      texts.set(value, label);
      return label;
    },
    emit(): void {
      for (const [value, label] of texts) {
        asm.here(label);
        asm.ascii(value);
        asm.u8(0);
      }
      texts.clear();
    },
  };
}

export function createProgram(asm: Assembler): Program {
  const names = Object.keys(labels) as LabelName[];
  const at = Object.fromEntries(names.map((name) => [name, asm.label(name)]));
  return withDeferred(asm, at as Record<LabelName, Label>, "text");
}

/** The same program, with texts and deferred pieces of its own: for code that is assembled for other addresses. */
export function apart({ asm, at }: Program, prefix: string): Program {
  return withDeferred(asm, at, prefix);
}

function withDeferred(asm: Assembler, at: Program["at"], prefix: string): Program {
  const texts = createTexts(asm, prefix);
  const deferred: (() => void)[] = [];
  return {
    asm,
    at,
    text: texts.text,
    later(emit) {
      deferred.push(emit);
    },
    emitDeferred() {
      for (const emit of deferred.splice(0)) {
        emit();
      }
      texts.emit();
    },
  };
}
