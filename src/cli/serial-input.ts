import type { DriverName } from "../machine/configuration.ts";
import { readInputFile } from "../machine/input-files.ts";
import { UserError } from "../machine/user-error.ts";

/** What the guest is to receive on its serial line. */
export interface SerialInput {
  readonly bytes: Uint8Array | AsyncIterable<Uint8Array>;
  /** Gives the terminal back, where there is one. */
  close?(): void;
}

const commandKey = 0x01;
const quitKey = "x".charCodeAt(0);

/**
 * @param name a file, or `-` for standard input. A terminal's keys go to the guest one by one, as they are
 * @param onQuit called when the user ends the run at the terminal
 * @throws {UserError} there is no such file, or a terminal was given to the deterministic driver
 */
export async function openSerialInput(
  name: string,
  driver: DriverName,
  onQuit: () => void,
): Promise<SerialInput> {
  if (name !== "-") return { bytes: readInputFile(name).bytes };
  const { stdin } = process;
  if (driver === "deterministic") {
    if (stdin.isTTY) {
      throw new UserError(
        "--input -: the deterministic driver has to know all input before it starts; give a file or a pipe",
      );
    }
    return { bytes: await everythingOf(untilGone(stdin)) };
  }
  if (!stdin.isTTY) return { bytes: untilGone(stdin) };
  stdin.setRawMode(true);
  process.stderr.write("vmxon: keys go to the guest; Ctrl-A x ends the run\n");
  return {
    bytes: keysForGuest(untilGone(stdin), onQuit),
    close: () => stdin.setRawMode(false),
  };
}

async function everythingOf(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for await (const piece of input) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** Input whose other end goes away has come to its end. */
async function* untilGone(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* input;
  } catch {
    // The terminal has gone.
  }
}

/** Ctrl-A begins a command, as at other simulators' consoles: x ends the run; anything else is for the guest, a second Ctrl-A too. */
export async function* keysForGuest(
  keys: AsyncIterable<Uint8Array>,
  onQuit: () => void,
): AsyncGenerator<Uint8Array> {
  let isCommand = false;
  for await (const bytes of keys) {
    const forGuest: number[] = [];
    for (const key of bytes) {
      if (isCommand && key === quitKey) {
        onQuit();
        return;
      }
      isCommand = !isCommand && key === commandKey;
      if (!isCommand) forGuest.push(key);
    }
    yield Uint8Array.from(forGuest);
  }
}
