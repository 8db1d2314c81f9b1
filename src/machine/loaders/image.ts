/** What a loader makes of a file, before anything is placed in RAM. */
export interface Segment {
  /** How messages call it: file name and place in it. */
  readonly what: string;
  /** Physical address. */
  readonly address: number;
  readonly bytes: Uint8Array;
  /** Bytes in memory; those beyond `bytes` are zero. */
  readonly memoryBytes: number;
}

/** How the first LP stands when the image gets control. */
export type StartMode = "real16" | "protected32" | "long64";

export interface ParsedImage {
  readonly kind: "multiboot" | "elf" | "flat";
  readonly segments: readonly Segment[];
  /** Physical address of the first instruction. */
  readonly entry: number;
  readonly start: StartMode;
}
