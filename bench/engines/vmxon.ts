import { projectFile } from "../../src/machine/project-files.ts";
import { type Engine, runProgram } from "../engine.ts";

export const cliFile = projectFile("dist", "src", "cli", "main.js");

/** vmxon itself, as a user runs it: the threads driver, a process of its own. */
export const vmxon: Engine = {
  name: "vmxon",
  missing: () => undefined,
  run: ({ image, cpus }) =>
    runProgram(process.execPath, [cliFile, "run", image, "--lps", String(cpus), "--ram", "128M"]),
};
