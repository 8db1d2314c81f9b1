import { type Engine, runProgram } from "../engine.ts";
import { missingPrograms } from "./programs.ts";

const program = "qemu-system-x86_64";

/** QEMU's translator (TCG), a thread per processor. It has no VMX. */
export const qemu: Engine = {
  name: "qemu",
  missing: () => missingPrograms([program]),
  run: ({ image, cpus }) =>
    runProgram(program, [
      ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", String(cpus), "-m", "128"],
      ...["-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot"],
      ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel", image],
    ]),
};
