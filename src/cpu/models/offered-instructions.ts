import { extensionsOf } from "../../isa/instruction-extensions.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import type { CpuFeature } from "./cpu-features.ts";
import type { CpuModel } from "./cpu-model.ts";

/**
 * The extensions of the instruction set (iced's names) that a model may have, with the feature of CPUID that brings them.
 * `always`: every 64-bit processor has it, or it does nothing where it is not known.
 */
const extensionFeatures: Readonly<Record<string, CpuFeature | "always">> = {
  INTEL8086: "always",
  INTEL186: "always",
  INTEL286: "always",
  INTEL386: "always",
  INTEL486: "always",
  X64: "longMode",
  CPUID: "always",
  MULTIBYTENOP: "always",
  PAUSE: "always",
  SMM: "always",
  RDPMC: "always",
  FPU: "fpu",
  FPU287: "fpu",
  FPU387: "fpu",
  TSC: "tsc",
  MSR: "msr",
  CX8: "cmpxchg8b",
  SEP: "sysenter",
  CMOV: "cmov",
  CLFSH: "clflush",
  MMX: "mmx",
  FXSR: "fxsr",
  SSE: "sse",
  SSE2: "sse2",
  MONITOR: "monitor",
  VMX: "vmx",
  INVEPT: "vmx",
  INVVPID: "vmx",
  CMPXCHG16B: "cmpxchg16b",
  MOVBE: "movbe",
  POPCNT: "popcnt",
  XSAVE: "xsave",
  XSAVEOPT: "xsaveopt",
  XSAVEC: "xsavec",
  XSAVES: "xsaves",
  RDRAND: "rdrand",
  RDSEED: "rdseed",
  FSGSBASE: "fsgsbase",
  BMI1: "bmi1",
  BMI2: "bmi2",
  LZCNT: "lzcnt",
  ADX: "adx",
  INVPCID: "invpcid",
  SMAP: "smap",
  CLFLUSHOPT: "clflushopt",
  CLWB: "clwb",
  PKU: "pku",
  RDPID: "rdpid",
  RDTSCP: "rdtscp",
  SYSCALL: "syscall",
  WBNOINVD: "wbnoinvd",
  // Hints, in encodings that do nothing on processors without them.
  PREFETCHW: "always",
  PREFETCHWT1: "always",
  PREFETCHITI: "always",
  CLDEMOTE: "always",
  CET_IBT: "always",
};

/** Reading the shadow-stack pointer does nothing where there are no shadow stacks. */
const hints = new Set(["Rdsspd_r32", "Rdsspq_r64"].map(codeNumber));

/**
 * Which encodings a model has. What it has not raises #UD.
 * @returns by iced's number of the encoding
 */
export function offeredInstructions({ features }: CpuModel): (code: number) => boolean {
  return (code) =>
    hints.has(code) ||
    extensionsOf(code).every((extension) => {
      const feature = extensionFeatures[extension];
      return feature === "always" || (feature !== undefined && features.has(feature));
    });
}
