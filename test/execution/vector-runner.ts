import { MEMORY_BYTES, REPORTED_FLAGS } from "../vectors/input-state.ts";
import type { Vector } from "../vectors/read-vectors.ts";
import { CoreHarness, type RecordedFault, SystemInstruction } from "./core-harness.ts";

const vectorOf = {
  "#DE": 0,
  "#OF": 4,
  "#BR": 5,
  "#UD": 6,
  "#SS": 12,
  "#GP": 13,
  "#PF": 14,
  "#AC": 17,
} as const;

/** Neighbouring linear pages are never neighbours in RAM, and never where their address says. */
const physicalPage = (linear: bigint): number => Number(linear) ^ 0x1000;

/** Runs cases one after another on one core. */
export class VectorRunner {
  readonly #mapped = new Set<bigint>();
  readonly #harness = new CoreHarness({
    translate: (page) => (this.#mapped.has(page) ? physicalPage(page) : undefined),
  });
  #layout = "";
  #mode = 0;

  /** @returns what differs from the recorded outcome, or the instruction that the core does not execute */
  run(vector: Vector): string | SystemInstruction | undefined {
    this.#prepare(vector);
    const ended = this.#harness.run(1);
    return ended instanceof SystemInstruction ? ended : this.#difference(vector, ended);
  }

  #prepare(vector: Vector): void {
    const harness = this.#harness;
    if (this.#mode !== vector.mode) {
      this.#mode = vector.mode;
      harness.mode(vector.mode);
    }
    this.#map(vector.mappedPages);
    harness.write(vector.codeAddress, vector.code);
    harness.write(vector.memoryAddress, vector.input.memory);
    vector.input.gpr.forEach((value, n) => {
      harness.setGpr(n, value);
    });
    harness.xmm.set(vector.input.xmm);
    harness.rflags = Number(vector.input.rflags);
    harness.rip = vector.codeAddress;
    harness.core.fetchChanged();
  }

  #map(pages: readonly bigint[]): void {
    const layout = pages.join();
    if (layout === this.#layout) {
      return;
    }
    this.#layout = layout;
    for (const page of this.#mapped) {
      this.#harness.core.tlb.invalidatePage(Number(page), 0);
    }
    this.#mapped.clear();
    for (const page of pages) {
      this.#mapped.add(page);
    }
  }

  #difference(vector: Vector, fault: RecordedFault | undefined): string | undefined {
    const harness = this.#harness;
    const { output } = vector;
    const differences: string[] = [];
    const compare = (name: string, expected: bigint, actual: bigint): void => {
      if (expected !== actual) {
        differences.push(`${name} ${expected.toString(16)} not ${actual.toString(16)}`);
      }
    };
    const expectedFault = faultText(
      vector.fault === undefined ? undefined : vectorOf[vector.fault],
      vector.faultErrorCode,
      vector.faultAddress,
    );
    const actualFault = faultText(fault?.vector, fault?.errorCode ?? 0, fault?.address);
    if (expectedFault !== actualFault) {
      differences.push(`fault ${expectedFault} not ${actualFault}`);
    }
    output.gpr.forEach((value, n) => {
      compare(`r${n}`, value, harness.gpr(n));
    });
    compare("rip", output.rip, harness.rip);
    const defined = REPORTED_FLAGS & ~vector.undefinedFlags;
    compare("flags", output.rflags & defined, BigInt(harness.rflags) & defined);
    differences.push(...byteDifferences("xmm", output.xmm, harness.xmm));
    const memory = harness.read(vector.memoryAddress, MEMORY_BYTES);
    differences.push(...byteDifferences("memory", output.memory, memory));
    return differences.length === 0
      ? undefined
      : `${vector.name} [${Buffer.from(vector.code).toString("hex")}]: ${differences.join(", ")}`;
  }
}

function faultText(vector: number | undefined, errorCode: number, address?: bigint): string {
  return vector === undefined ? "none" : `${vector}(${errorCode}) ${address?.toString(16) ?? ""}`;
}

function byteDifferences(name: string, expected: Uint8Array, actual: Uint8Array): string[] {
  const at = expected.findIndex((byte, n) => byte !== actual[n]);
  if (at < 0) {
    return [];
  }
  const from = at & ~15;
  const hex = (bytes: Uint8Array): string =>
    Buffer.from(bytes.slice(from, from + 16)).toString("hex");
  return [`${name}+${from} ${hex(expected)} not ${hex(actual)}`];
}
