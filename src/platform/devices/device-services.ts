import type { Clock } from "../../cpu/ports.ts";

/** Bytes that outlive the machine: a disk's. Each operation answers false when the host could not do it. */
export interface ByteStore {
  readonly bytes: number;
  read(offset: number, into: Uint8Array): boolean;
  write(offset: number, from: Uint8Array): boolean;
  /** What has been written is safe from here on. */
  flush(): boolean;
}

/** What the machine around a device offers it besides its slot. */
export interface DeviceServices {
  readonly clock: Clock;
  /** Opens a file. */
  readonly openStore: (name: string, isReadOnly: boolean) => ByteStore;
  /** A byte for whoever watches the machine's console. */
  readonly output: (byte: number) => void;
}
