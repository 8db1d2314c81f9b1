import { expect, test } from "vitest";
import { cpuModel } from "../../../src/cpu/models/models.ts";
import { capabilityRegister } from "../../../src/platform/vtd/capabilities.ts";
import { vtdCapabilitiesFor } from "../../../src/platform/vtd/model-capabilities.ts";

test.each([
  ["penryn", 36, false, false],
  ["nehalem", 36, true, false],
  ["haswell", 39, true, false],
  ["skylake-server", 46, true, true],
])(
  "the unit of %s: %i address bits, 32-bit destinations %s, posting %s",
  (name, bits, wide, posts) => {
    const capabilities = vtdCapabilitiesFor(cpuModel(name));
    expect(capabilities).toMatchObject({
      hostAddressBits: bits,
      extendedInterruptMode: wide,
      interruptPosting: posts,
    });
    expect(((capabilityRegister(capabilities) >> 59n) & 1n) === 1n).toBe(posts);
  },
);
