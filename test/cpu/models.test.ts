import { describe, expect, it } from "vitest";
import { cpuFeatures } from "../../src/cpu/models/cpu-features.ts";
import { supportedCr4, supportedEfer } from "../../src/cpu/models/cpu-model.ts";
import { icelakeServer } from "../../src/cpu/models/icelake-server.ts";
import {
  cpuModel,
  cpuModels,
  defaultCpuModel,
  UnknownCpuModel,
} from "../../src/cpu/models/models.ts";
import { skylakeServer } from "../../src/cpu/models/skylake-server.ts";

describe("CPU models", () => {
  it("are found by name", () => {
    expect(cpuModel("skylake-server")).toBe(defaultCpuModel);
    expect(cpuModel("icelake-server")).toBe(icelakeServer);
  });

  it("an unknown name is an error of one line that lists the names there are", () => {
    expect(() => cpuModel("i486")).toThrow(UnknownCpuModel);
    expect(() => cpuModel("i486")).toThrow(
      /^unknown CPU model "i486"; the models are: penryn, nehalem, haswell, skylake-server, icelake-server, sapphire-rapids$/,
    );
  });

  it("control-register bits follow the features", () => {
    expect(supportedCr4(skylakeServer)).toBe(0x37_27ff);
    expect(supportedCr4(icelakeServer)).toBe(0x37_2fff);
    expect(supportedEfer(skylakeServer)).toBe(0xd01);
  });

  it.each(cpuModels.map((model) => [model.name, model] as const))(
    "%s is consistent in itself",
    (_name, model) => {
      expect(model.brand.length).toBeLessThan(48);
      const addresses = model.leaves.find(({ leaf }) => leaf === 0x8000_0008)?.eax ?? 0;
      expect(addresses).toBe(model.physicalAddressBits | (model.linearAddressBits << 8));
      for (const feature of model.features) {
        const { leaf } = cpuFeatures[feature];
        const highest = leaf >= 0x8000_0000 ? model.maxExtendedLeaf : model.maxBasicLeaf;
        expect(leaf, feature).toBeLessThanOrEqual(highest);
      }
    },
  );
});
