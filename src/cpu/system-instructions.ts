import { baseRegisterInstructions } from "./instructions/base-registers.ts";
import { cacheAndTlbInstructions } from "./instructions/cache-and-tlb.ts";
import { compareExchangeInstructions } from "./instructions/compare-exchange.ts";
import { controlRegisterInstructions } from "./instructions/control-registers.ts";
import { cpuidInstructions } from "./instructions/cpuid.ts";
import { debugRegisterInstructions } from "./instructions/debug-registers.ts";
import { descriptorQueryInstructions } from "./instructions/descriptor-queries.ts";
import { descriptorTableInstructions } from "./instructions/descriptor-tables.ts";
import { extendedStateInstructions } from "./instructions/extended-state.ts";
import { farTransferInstructions } from "./instructions/far-transfers.ts";
import { fastCallInstructions } from "./instructions/fast-calls.ts";
import { flagInstructions } from "./instructions/flags.ts";
import { interruptInstructions } from "./instructions/interrupts.ts";
import { ioInstructions } from "./instructions/io.ts";
import { mmxInstructions } from "./instructions/mmx.ts";
import { mmxArithmeticInstructions } from "./instructions/mmx-arithmetic.ts";
import { msrInstructions } from "./instructions/msr.ts";
import { protectionKeyInstructions } from "./instructions/protection-keys.ts";
import { randomInstructions } from "./instructions/random.ts";
import { segmentRegisterInstructions } from "./instructions/segment-registers.ts";
import { simdInstructions } from "./instructions/simd.ts";
import { simdFloatInstructions } from "./instructions/simd-float.ts";
import { strayBranchInstructions } from "./instructions/stray-branches.ts";
import { timeInstructions } from "./instructions/time.ts";
import { waitingInstructions } from "./instructions/waiting.ts";
import { x87Instructions } from "./instructions/x87.ts";
import { x87ControlInstructions } from "./instructions/x87-control.ts";
import { x87FunctionInstructions } from "./instructions/x87-functions.ts";
import type { InstructionTable } from "./logical-processor.ts";

/** All instructions executed in TypeScript, VMX apart. */
export const systemInstructions: InstructionTable = {
  ...farTransferInstructions,
  ...interruptInstructions,
  ...flagInstructions,
  ...segmentRegisterInstructions,
  ...baseRegisterInstructions,
  ...fastCallInstructions,
  ...descriptorTableInstructions,
  ...descriptorQueryInstructions,
  ...waitingInstructions,
  ...controlRegisterInstructions,
  ...debugRegisterInstructions,
  ...msrInstructions,
  ...cpuidInstructions,
  ...timeInstructions,
  ...cacheAndTlbInstructions,
  ...ioInstructions,
  ...randomInstructions,
  ...protectionKeyInstructions,
  ...compareExchangeInstructions,
  ...x87Instructions,
  ...x87ControlInstructions,
  ...x87FunctionInstructions,
  ...mmxInstructions,
  ...mmxArithmeticInstructions,
  ...simdInstructions,
  ...simdFloatInstructions,
  ...extendedStateInstructions,
  ...strayBranchInstructions,
};
