import { exchange, pause, type Steps, store } from "../../isa/operations.ts";

/** Takes a lock word. Interrupts must be off, or the holder's handler could wait for the holder. */
export function* lock(word: bigint): Steps<void> {
  while ((yield exchange(word, 8, 1n)) !== 0n) yield pause();
}

export function* unlock(word: bigint): Steps<void> {
  yield store(word, 8, 0n);
}
