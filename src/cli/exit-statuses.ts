import { exitStatus } from "../machine/run-result.ts";

/** The exit statuses of `vmxon run`, for the help text. */
export const exitStatusTable: readonly (readonly [status: string, meaning: string])[] = [
  ["odd", "the guest wrote to the debug-exit port 0xf4: (value << 1) | 1"],
  [String(exitStatus["power-off"]), "the guest switched the machine off"],
  [String(exitStatus.badInput), "bad option, file or image; nothing was run"],
  [String(exitStatus.bug), "a bug of the simulator: the state is printed, please report it"],
  [String(exitStatus.violation), "an invariant of VMX did not hold, with --check=stop"],
  [String(exitStatus["output-closed"]), "the reader of the serial output has gone"],
  [String(exitStatus.reset), "the guest asked for a reset"],
  [String(exitStatus.dead), "every LP is halted and nothing can wake one"],
  [String(exitStatus.timeout), "--timeout has run out"],
  [String(exitStatus.shutdown), "an LP went into shutdown (triple fault)"],
  [String(exitStatus.interrupted), "Ctrl-C"],
];
