/** A simulator bug: an invariant of ours does not hold. Never thrown for what a guest or a user does. */
export class SimulatorBug extends Error {
  override readonly name = "SimulatorBug";
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) {
    throw new SimulatorBug(message);
  }
}

/** For values that the type system cannot see to be present. */
export function present<T>(value: T | undefined | null, message: string): T {
  if (value === undefined || value === null) {
    throw new SimulatorBug(message);
  }
  return value;
}
