import type { FlatMode, FlatPlacement, InputFile } from "../configuration.ts";
import { hexadecimal } from "../quantities.ts";
import { UserError } from "../user-error.ts";
import type { ParsedImage, StartMode } from "./image.ts";

const startOfMode: Readonly<Record<FlatMode, StartMode>> = {
  16: "real16",
  32: "protected32",
  64: "long64",
};
/** Above it real mode reaches nothing. */
const realModeBytes = 2 ** 20;

/**
 * A file of raw code, entered at its first byte.
 * @throws {UserError} empty, or out of the reach of its mode
 */
export function parseFlatImage(file: InputFile, { address, mode }: FlatPlacement): ParsedImage {
  if (file.bytes.length === 0) {
    throw new UserError(`${file.name}: the file is empty`);
  }
  if (mode === "16" && address >= realModeBytes) {
    throw new UserError(
      `--flat ${hexadecimal(address)}:16: real mode reaches only the first MiB; give a lower address or mode 32`,
    );
  }
  const segment = {
    what: `${file.name}: the image`,
    address,
    bytes: file.bytes,
    memoryBytes: file.bytes.length,
  };
  return { kind: "flat", segments: [segment], entry: address, start: startOfMode[mode] };
}
