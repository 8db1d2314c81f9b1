import { describe, expect, it } from "vitest";
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
      /^unknown CPU model "i486"; the models are: skylake-server, icelake-server$/,
    );
  });

  it("control-register bits follow the features", () => {
    expect(supportedCr4(skylakeServer)).toBe(0x37_27ff);
    expect(supportedCr4(icelakeServer)).toBe(0x37_2fff);
    expect(supportedEfer(skylakeServer)).toBe(0xd01);
  });

  it.each(cpuModels.map((model) => [model.name, model] as const))(
    "%s: VMX capabilities fit the model",
    (_name, model) => {
      const { vmx } = model;
      expect(vmx?.cr4Fixed1).toBe(BigInt(supportedCr4(model)));
      for (const [standard, exact] of [
        [vmx?.pinbased, vmx?.truePinbased],
        [vmx?.procbased, vmx?.trueProcbased],
        [vmx?.exit, vmx?.trueExit],
        [vmx?.entry, vmx?.trueEntry],
      ] as const) {
        const [mustBe1, mayBe1] = [(standard ?? 0n) & 0xffff_ffffn, (standard ?? 0n) >> 32n];
        expect(mustBe1 & ~mayBe1).toBe(0n);
        expect((exact ?? 0n) & 0xffff_ffffn & ~mustBe1).toBe(0n);
        expect((exact ?? 0n) >> 32n).toBe(mayBe1);
      }
    },
  );
});
