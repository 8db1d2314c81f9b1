import { cacheAndTlbInstructions } from "./instructions/cache-and-tlb.ts";
import { compareExchangeInstructions } from "./instructions/compare-exchange.ts";
import { controlRegisterInstructions } from "./instructions/control-registers.ts";
import { cpuidInstructions } from "./instructions/cpuid.ts";
import { debugRegisterInstructions } from "./instructions/debug-registers.ts";
import { extendedStateInstructions } from "./instructions/extended-state.ts";
import { ioInstructions } from "./instructions/io.ts";
import { mmxInstructions } from "./instructions/mmx.ts";
import { msrInstructions } from "./instructions/msr.ts";
import { randomInstructions } from "./instructions/random.ts";
import { simdInstructions } from "./instructions/simd.ts";
import { timeInstructions } from "./instructions/time.ts";
import { x87Instructions } from "./instructions/x87.ts";
import { x87ControlInstructions } from "./instructions/x87-control.ts";
import type { InstructionTable } from "./logical-processor.ts";

/** Every instruction of the processor that is executed in TypeScript. */
export const systemInstructions: InstructionTable = {
  ...controlRegisterInstructions,
  ...debugRegisterInstructions,
  ...msrInstructions,
  ...cpuidInstructions,
  ...timeInstructions,
  ...cacheAndTlbInstructions,
  ...randomInstructions,
  ...ioInstructions,
  ...compareExchangeInstructions,
  ...x87Instructions,
  ...x87ControlInstructions,
  ...mmxInstructions,
  ...simdInstructions,
  ...extendedStateInstructions,
};
