import { Outcome } from "../../execution/core-host.ts";
import type { InstructionView } from "../instruction-view.ts";
import type {
  InstructionHandler,
  InstructionTable,
  LogicalProcessor,
} from "../logical-processor.ts";
import { flagBit } from "../register-bits.ts";
import { writeRegister } from "./register-operands.ts";

const statusFlags = flagBit.CF | flagBit.PF | flagBit.AF | flagBit.ZF | flagBit.SF | flagBit.OF;

/** RDRAND and RDSEED never run dry: CF is always set. */
const randomNumber =
  (which: "RDRAND" | "RDSEED"): InstructionHandler =>
  (lp: LogicalProcessor, insn: InstructionView): number => {
    if (lp.intercepts.nonRoot && lp.intercepts.instruction(which, insn, 0n)) {
      return Outcome.Jump;
    }
    const value = (BigInt(lp.random.next()) << 32n) | BigInt(lp.random.next());
    writeRegister(lp.state, insn.destination, insn.operandSize, value);
    lp.changeFlags(flagBit.CF, statusFlags);
    return Outcome.Next;
  };

export const randomInstructions: InstructionTable = {
  Rdrand: randomNumber("RDRAND"),
  Rdseed: randomNumber("RDSEED"),
};
