import { Code } from "iced-x86";
import { describe, expect, it } from "vitest";
import type { CpuFeature } from "../../src/cpu/models/cpu-features.ts";
import { cpuModels } from "../../src/cpu/models/models.ts";
import { offeredInstructions } from "../../src/cpu/models/offered-instructions.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";
import { cr4Bit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  eax,
  ebx,
  ecx,
  edx,
  mem,
  mem8,
  mem32,
  mem128,
  rax,
  xmm0,
  xmm1,
} from "../../src/isa/assembler-operands.ts";
import { BareProcessor, place } from "./bare-processor.ts";
import { TestMachine } from "./test-machine.ts";

type Write = (asm: Assembler) => void;

/** One instruction for each feature that brings some. */
const examples: Partial<Record<CpuFeature, Write>> = {
  popcnt: (asm) => asm.popcnt(eax, ebx),
  movbe: (asm) => asm.movbe(eax, mem32(place.data)),
  bmi1: (asm) => asm.andn(eax, ebx, ecx),
  bmi2: (asm) => asm.mulx(eax, ebx, ecx),
  adx: (asm) => asm.adcx(eax, ebx),
  cmpxchg16b: (asm) => asm.cmpxchg16b(mem128(place.data)),
  cmov: (asm) => asm.cmove(eax, ebx),
  rdpid: (asm) => asm.rdpid(rax),
  rdtscp: (asm) => asm.rdtscp(),
  rdrand: (asm) => asm.rdrand(eax),
  rdseed: (asm) => asm.rdseed(eax),
  fsgsbase: (asm) => asm.rdfsbase(rax),
  smap: (asm) => asm.stac(),
  sse: (asm) => asm.movaps(xmm0, xmm1),
  sse2: (asm) => asm.paddd(xmm0, xmm1),
  clflush: (asm) => asm.clflush(mem8(place.data)),
  clflushopt: (asm) => asm.clflushopt(mem8(place.data)),
  clwb: (asm) => asm.clwb(mem8(place.data)),
  fxsr: (asm) => asm.fxsave(mem(place.data)),
  xsave: (asm) => asm.xgetbv(),
};

function processor(without?: CpuFeature): BareProcessor {
  const all = new Set<CpuFeature>([...skylakeServer.features, "rdpid"]);
  if (without !== undefined) {
    all.delete(without);
  }
  const lp = new BareProcessor({ ...skylakeServer, features: all });
  lp.state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR | cr4Bit.FSGSBASE | cr4Bit.OSXSAVE);
  lp.state.setGpr(1, 0n);
  lp.loadControlState();
  return lp;
}

describe.each(Object.entries(examples) as [CpuFeature, Write][])("%s", (feature, write) => {
  it("brings its instructions", () => {
    expect(processor().execute64(write)).toBeUndefined();
  });
  it("takes them away when it is hidden", () => {
    expect(processor(feature).execute64(write)).toMatchObject({ vector: Vector.UD });
  });
});

describe("prefixes that mean nothing without the feature", () => {
  const value = 0x50n;
  it.each([
    ["LZCNT counts leading zeros, and is BSR without it", "lzcnt", 25n, 6n],
    ["TZCNT counts trailing zeros, and is BSF without it", "bmi1", 4n, 4n],
  ] as const)("%s", (_name, feature, counted, scanned) => {
    const write: Write = (asm) => (feature === "lzcnt" ? asm.lzcnt(eax, edx) : asm.tzcnt(eax, edx));
    for (const [lp, expected] of [
      [processor(), counted],
      [processor(feature), scanned],
    ] as const) {
      lp.state.setGpr(2, value);
      expect(lp.execute64(write)).toBeUndefined();
      expect(lp.state.gpr(0)).toBe(expected);
    }
  });

  it("TZCNT of 0 leaves CF, BSF sets ZF and keeps its destination", () => {
    for (const [lp, expected] of [
      [processor(), 32n],
      [processor("bmi1"), 7n],
    ] as const) {
      lp.state.setGpr(0, 7n);
      lp.state.setGpr(2, 0n);
      expect(lp.execute64((asm) => asm.tzcnt(eax, edx))).toBeUndefined();
      expect(lp.state.gpr(0)).toBe(expected);
    }
  });

  it.each([
    ["ENDBR64", [0xf3, 0x0f, 0x1e, 0xfa]],
    ["RDSSPQ RCX", [0xf3, 0x48, 0x0f, 0x1e, 0xc9]],
    ["NOP of the MPX space", [0x0f, 0x1b, 0xc1]],
    ["PREFETCHW", [0x0f, 0x0d, 0x0c, 0x24]],
  ])("%s does nothing", (_name, bytes) => {
    const lp = processor("prefetchw");
    lp.state.setGpr(1, 0x1234n);
    expect(lp.executeBytes(Uint8Array.from(bytes))).toBeUndefined();
    expect(lp.state.gpr(1)).toBe(0x1234n);
  });

  it("WBNOINVD is WBINVD", () => {
    for (const [model, name] of [
      [skylakeServer, "WBINVD"],
      [
        { ...skylakeServer, features: new Set([...skylakeServer.features, "wbnoinvd"] as const) },
        "WBNOINVD",
      ],
    ] as const) {
      const lp = new BareProcessor(model);
      const asked: string[] = [];
      lp.intercept({
        instruction: (which) => {
          asked.push(which);
          return false;
        },
      });
      expect(lp.execute64((asm) => asm.wbnoinvd())).toBeUndefined();
      expect(asked).toEqual([name]);
    }
  });
});

describe("no model has", () => {
  it.each([
    "VEX_Vaddps_ymm_ymm_ymmm256",
    "Pshufb_xmm_xmmm128",
    "Crc32_r32_rm8",
    "Aesenc_xmm_xmmm128",
    "Xbegin_rel32",
    "Tpause_r32",
    "Fisttp_m16int",
    "Incsspq_r64",
  ] as const)("%s", (name) => {
    for (const model of cpuModels) {
      expect(offeredInstructions(model)(Code[name as keyof typeof Code])).toBe(false);
    }
  });
});

it("what is hidden is counted by its name", () => {
  const features = new Set([...skylakeServer.features].filter((name) => name !== "popcnt"));
  const m = new TestMachine({ ...skylakeServer, features }).long64();
  m.run(64, (asm) => asm.popcnt(eax, ebx));
  expect(m.trap().vector).toBe(Vector.UD);
  expect([...m.lp.unsupported]).toEqual([["POPCNT", 1]]);
});
