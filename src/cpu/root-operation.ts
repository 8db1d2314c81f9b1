import type { Intercepts, SecondStage } from "./ports.ts";

/** The answers of a processor without VMX, or in root operation with no VMCS in sight. */
export const noIntercepts: Intercepts = {
  nonRoot: false,
  externalInterruptExiting: false,
  nmiExiting: false,
  stepping: false,
  deadline: undefined,
  instruction: () => false,
  isUndefined: () => false,
  writeControl: (_register, value) => ({ load: value }),
  readControl: (_register, value) => ({ see: value }),
  readApicMsr: () => undefined,
  writeApicMsr: () => false,
  clts: () => "proceed",
  lmsw: (source) => ({ load: source }),
  smsw: (value) => value,
  moveDebug: () => false,
  io: () => false,
  taskSwitch: () => false,
  event: () => false,
  tripleFault: () => false,
  init: () => false,
  sipi: () => false,
  boundary: () => false,
  pauseLoopLeft: () => Number.POSITIVE_INFINITY,
  pausedUntilNow: () => undefined,
  guestTsc: (tsc) => tsc,
  iret: () => false,
};

export const noSecondStage: SecondStage = {
  enabled: false,
  lastRights: 7,
  lastPageBits: 12,
  translate: (guestPhysical) => guestPhysical,
};
