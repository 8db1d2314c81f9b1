/** Exit qualifications sorted into few classes, so that they can be counted without slowing an exit down. */
import { exitReason, exitReasonLimit } from "./exit-reasons.ts";

/** Classes of a reason, 0 and up. */
export const exitClassLimit = 256;

interface Classes {
  /** @param low half of the exit qualification @param interruption VM-exit interruption information */
  readonly of: (low: number, interruption: number) => number;
  readonly text: (number: number) => string;
}

const access = (number: number): string =>
  ["", "read", "write", "read and write", "fetch"][number & 7] ?? `access ${number & 7}`;

const controlRegister: Classes = {
  of: (low) => low & 0x3f,
  text: (number) => {
    const kinds = ["MOV to", "MOV from", "CLTS", "LMSW"];
    const kind = kinds[(number >>> 4) & 3] ?? "";
    return number < 0x20 ? `${kind} CR${number & 0xf}` : kind;
  },
};
const debugRegister: Classes = {
  of: (low) => low & 0x17,
  text: (number) => `MOV ${(number & 0x10) === 0 ? "to" : "from"} DR${number & 7}`,
};
const port: Classes = {
  of: (low) => low & 0x3f,
  text: (number) => {
    const isIn = (number & 8) !== 0;
    const name = (number & 0x10) === 0 ? (isIn ? "IN" : "OUT") : isIn ? "INS" : "OUTS";
    return `${(number & 0x20) === 0 ? "" : "REP "}${name}, ${8 * ((number & 7) + 1)} bits`;
  },
};
const eptViolation: Classes = {
  of: (low) => low & 0x3f,
  text: (number) =>
    `${access(number)}, ${number >>> 3 === 0 ? "page not present" : "not allowed by the page"}`,
};
const apicAccess: Classes = {
  of: (low) => (low >>> 12) & 0xf,
  text: (number) =>
    ["read", "write", "fetch", "during event delivery"][number] ?? `guest-physical, type ${number}`,
};
const taskSwitch: Classes = {
  of: (low) => low >>> 30,
  text: (number) => ["CALL", "IRET", "JMP", "task gate"][number] ?? "",
};
const vector: Classes = {
  of: (_low, interruption) => interruption & 0xff,
  text: (number) => `vector ${number}`,
};
const qualifiedVector: Classes = { of: (low) => low & 0xff, text: (n) => `vector ${n}` };
const apicOffset: Classes = {
  of: (low) => (low >>> 4) & 0xff,
  text: (number) => `offset 0x${(number << 4).toString(16)}`,
};
const guestState: Classes = {
  of: (low) => low & 7,
  text: (number) =>
    ["", "", "PDPTEs", "injected event", "VMCS link pointer"][number] || "guest state",
};

const byReason: (Classes | undefined)[] = Array.from({ length: exitReasonLimit });
byReason[exitReason.exceptionOrNmi] = vector;
byReason[exitReason.sipi] = qualifiedVector;
byReason[exitReason.taskSwitch] = taskSwitch;
byReason[exitReason.controlRegisterAccess] = controlRegister;
byReason[exitReason.movDr] = debugRegister;
byReason[exitReason.ioInstruction] = port;
byReason[exitReason.invalidGuestState] = guestState;
byReason[exitReason.apicAccess] = apicAccess;
byReason[exitReason.virtualizedEoi] = qualifiedVector;
byReason[exitReason.eptViolation] = eptViolation;
byReason[exitReason.apicWrite] = apicOffset;

/** Counts of an LP's exits by reason and class. */
export class ExitClassCounts {
  readonly #counts = new Uint32Array(exitReasonLimit * exitClassLimit);

  /** @param reason basic exit reason */
  add(reason: number, low: number, interruption: number): void {
    const classes = byReason[reason];
    if (classes !== undefined) {
      const at = reason * exitClassLimit + classes.of(low, interruption);
      this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    }
  }

  /** What has been counted, by what the classes are called; classes that read alike are one. */
  *entries(): Generator<readonly [reason: number, text: string, count: number]> {
    for (const [reason, classes] of byReason.entries()) {
      if (classes !== undefined) {
        yield* this.#entriesOf(reason, classes);
      }
    }
  }

  *#entriesOf(
    reason: number,
    classes: Classes,
  ): Generator<readonly [reason: number, text: string, count: number]> {
    const sums = new Map<string, number>();
    for (let n = 0; n < exitClassLimit; n++) {
      const count = this.#counts[reason * exitClassLimit + n] ?? 0;
      if (count > 0) {
        const text = classes.text(n);
        sums.set(text, (sums.get(text) ?? 0) + count);
      }
    }
    for (const [text, count] of sums) {
      yield [reason, text, count];
    }
  }
}
