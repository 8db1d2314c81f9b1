/** A device asks for the end of the run, or for a reset. */
export type ExitRequest =
  /** isa-debug-exit: the process is to end with `status`, which is odd. */
  | { readonly type: "debug-exit"; readonly status: number }
  /** "Shutdown" on port 8900H, or the ACPI soft-off state. */
  | { readonly type: "power-off" }
  /** `soft`: INIT to the processors, devices as they are; else the whole machine. */
  | { readonly type: "reset"; readonly soft: boolean };

export type ExitSink = (request: ExitRequest) => void;
