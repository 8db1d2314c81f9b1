import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import type { ByteStore } from "../../platform/devices/device-services.ts";
import { fileTrouble } from "../input-files.ts";
import { UserError } from "../user-error.ts";

/** Reads or writes at a place in the file. @returns how many bytes it did */
type Operation = (buffer: Uint8Array, from: number, bytes: number, position: number) => number;

/** A file of the host as a disk. Its size is what it was when it was opened. */
export class FileStore implements ByteStore {
  readonly bytes: number;
  readonly #file: number;

  /** @throws {UserError} it cannot be opened */
  constructor(name: string, isReadOnly: boolean) {
    try {
      this.#file = openSync(name, isReadOnly ? "r" : "r+");
    } catch (error) {
      throw new UserError(`${name}: ${fileTrouble(error)}`);
    }
    const { size } = fstatSync(this.#file);
    this.bytes = size;
  }

  read(offset: number, into: Uint8Array): boolean {
    return this.#whole(into, offset, (...range) => readSync(this.#file, ...range));
  }

  write(offset: number, from: Uint8Array): boolean {
    return this.#whole(from, offset, (...range) => writeSync(this.#file, ...range));
  }

  flush(): boolean {
    try {
      fsyncSync(this.#file);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    closeSync(this.#file);
  }

  /** The host may do less at a time than is asked for. */
  #whole(buffer: Uint8Array, position: number, operation: Operation): boolean {
    try {
      let done = 0;
      while (done < buffer.length) {
        const count = operation(buffer, done, buffer.length - done, position + done);
        if (count === 0) return false;
        done += count;
      }
      return true;
    } catch {
      return false;
    }
  }
}

/** The files of a machine's devices. */
export class OpenFiles {
  readonly #files: FileStore[] = [];

  /** @throws {UserError} it cannot be opened */
  readonly open = (name: string, isReadOnly: boolean): FileStore => {
    const file = new FileStore(name, isReadOnly);
    this.#files.push(file);
    return file;
  };

  close(): void {
    for (const file of this.#files.splice(0)) {
      file.close();
    }
  }
}
