/**
 * Feature flags of CPUID by name: where each is reported. A model lists names; CPUID and the instructions that exist only
 * with a feature ask the same list.
 */
export type CpuidRegister = "eax" | "ebx" | "ecx" | "edx";

export interface FeaturePlace {
  readonly leaf: number;
  readonly subleaf: number;
  readonly register: CpuidRegister;
  readonly bit: number;
}

const place = (leaf: number, subleaf: number, register: CpuidRegister, bit: number) =>
  ({ leaf, subleaf, register, bit }) as const satisfies FeaturePlace;

export const cpuFeatures = {
  // Leaf 1, ECX.
  monitor: place(1, 0, "ecx", 3),
  vmx: place(1, 0, "ecx", 5),
  cmpxchg16b: place(1, 0, "ecx", 13),
  pcid: place(1, 0, "ecx", 17),
  x2apic: place(1, 0, "ecx", 21),
  movbe: place(1, 0, "ecx", 22),
  popcnt: place(1, 0, "ecx", 23),
  tscDeadline: place(1, 0, "ecx", 24),
  xsave: place(1, 0, "ecx", 26),
  rdrand: place(1, 0, "ecx", 30),
  // Leaf 1, EDX.
  fpu: place(1, 0, "edx", 0),
  vme: place(1, 0, "edx", 1),
  de: place(1, 0, "edx", 2),
  pse: place(1, 0, "edx", 3),
  tsc: place(1, 0, "edx", 4),
  msr: place(1, 0, "edx", 5),
  pae: place(1, 0, "edx", 6),
  mce: place(1, 0, "edx", 7),
  cmpxchg8b: place(1, 0, "edx", 8),
  apic: place(1, 0, "edx", 9),
  sysenter: place(1, 0, "edx", 11),
  mtrr: place(1, 0, "edx", 12),
  pge: place(1, 0, "edx", 13),
  mca: place(1, 0, "edx", 14),
  cmov: place(1, 0, "edx", 15),
  pat: place(1, 0, "edx", 16),
  pse36: place(1, 0, "edx", 17),
  clflush: place(1, 0, "edx", 19),
  mmx: place(1, 0, "edx", 23),
  fxsr: place(1, 0, "edx", 24),
  sse: place(1, 0, "edx", 25),
  sse2: place(1, 0, "edx", 26),
  htt: place(1, 0, "edx", 28),
  // Leaf 6.
  arat: place(6, 0, "eax", 2),
  // Leaf 7.
  fsgsbase: place(7, 0, "ebx", 0),
  tscAdjust: place(7, 0, "ebx", 1),
  bmi1: place(7, 0, "ebx", 3),
  smep: place(7, 0, "ebx", 7),
  bmi2: place(7, 0, "ebx", 8),
  erms: place(7, 0, "ebx", 9),
  invpcid: place(7, 0, "ebx", 10),
  /** The x87 code and data segment selectors are always saved as zero. */
  fpuSelectorsDeprecated: place(7, 0, "ebx", 13),
  rdseed: place(7, 0, "ebx", 18),
  adx: place(7, 0, "ebx", 19),
  smap: place(7, 0, "ebx", 20),
  clflushopt: place(7, 0, "ebx", 23),
  clwb: place(7, 0, "ebx", 24),
  umip: place(7, 0, "ecx", 2),
  pku: place(7, 0, "ecx", 3),
  rdpid: place(7, 0, "ecx", 22),
  pks: place(7, 0, "ecx", 31),
  fsrm: place(7, 0, "edx", 4),
  // Leaf 0DH.
  xsaveopt: place(0xd, 1, "eax", 0),
  xsavec: place(0xd, 1, "eax", 1),
  xgetbv1: place(0xd, 1, "eax", 2),
  xsaves: place(0xd, 1, "eax", 3),
  // Extended leaves.
  lahf: place(0x8000_0001, 0, "ecx", 0),
  lzcnt: place(0x8000_0001, 0, "ecx", 5),
  prefetchw: place(0x8000_0001, 0, "ecx", 8),
  syscall: place(0x8000_0001, 0, "edx", 11),
  nx: place(0x8000_0001, 0, "edx", 20),
  pages1G: place(0x8000_0001, 0, "edx", 26),
  rdtscp: place(0x8000_0001, 0, "edx", 27),
  longMode: place(0x8000_0001, 0, "edx", 29),
  invariantTsc: place(0x8000_0007, 0, "edx", 8),
  wbnoinvd: place(0x8000_0008, 0, "ebx", 9),
} as const satisfies Record<string, FeaturePlace>;

export type CpuFeature = keyof typeof cpuFeatures;
