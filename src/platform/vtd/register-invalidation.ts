import type { DmaRemapping } from "./dma-remapping.ts";
import { invalidateContexts, invalidateIotlb } from "./invalidation.ts";
import { type RegisterFile, VtdRegister } from "./registers.ts";

/** Upper halves of the command registers: start, granularity asked for, granularity done. */
const start = 0x8000_0000;
const contextBit = { requested: 29, done: 27 } as const;
const iotlbBit = { requested: 28, done: 25 } as const;
const twoBits = 3;

/** CCMD_REG: does what the register asks for, and says what has been done. @param high its upper half as written */
export function contextCommand(
  registers: RegisterFile,
  remapping: DmaRemapping,
  high: number,
): void {
  registers.write(VtdRegister.ContextCommand + 4, high);
  if ((high & start) === 0) {
    return;
  }
  const low = registers.get(VtdRegister.ContextCommand);
  const granularity = (high >>> contextBit.requested) & twoBits;
  const isDone = invalidateContexts(remapping.contexts, {
    granularity,
    domain: low & 0xffff,
    requester: low >>> 16,
    functionMask: high & twoBits,
  });
  report(registers, VtdRegister.ContextCommand + 4, contextBit.done, isDone ? granularity : 0);
}

/** IOTLB_REG. @param address halves of IVA_REG @param high upper half of the command as written */
export function iotlbCommand(
  registers: RegisterFile,
  remapping: DmaRemapping,
  [addressLow, addressHigh]: readonly [number, number],
  high: number,
): void {
  registers.write(VtdRegister.IotlbInvalidate + 4, high);
  if ((high & start) === 0) {
    return;
  }
  const granularity = (high >>> iotlbBit.requested) & twoBits;
  const isDone = invalidateIotlb(remapping.iotlb, {
    granularity,
    domain: high & 0xffff,
    page: (addressLow >>> 12) + (addressHigh >>> 0) * 2 ** 20,
    mask: addressLow & 0x3f,
  });
  report(registers, VtdRegister.IotlbInvalidate + 4, iotlbBit.done, isDone ? granularity : 0);
}

function report(registers: RegisterFile, offset: number, shift: number, granularity: number): void {
  const others = registers.get(offset) & ~(twoBits << shift);
  registers.set(offset, others | (granularity << shift));
}
