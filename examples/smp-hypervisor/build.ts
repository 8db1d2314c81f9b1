import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { assembleImage } from "./image.ts";

/** The image as a Multiboot 1 loader takes it. */
export function buildImage(): Uint8Array {
  return assembleImage().bytes;
}

function main([file]: string[]): void {
  if (file === undefined) {
    process.stderr.write("usage: node build.js FILE\n");
    process.exitCode = 2;
    return;
  }
  writeFileSync(file, buildImage());
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  main(process.argv.slice(2));
}
