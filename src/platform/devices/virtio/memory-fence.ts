const word = new Int32Array(new SharedArrayBuffer(4));

/**
 * What this thread has written is seen by others before it reads anything else. Both ends of a virtqueue write their index,
 * then look whether the other wants to hear of it: without a fence between, each could miss the other.
 */
export function memoryFence(): void {
  Atomics.add(word, 0, 1);
}
