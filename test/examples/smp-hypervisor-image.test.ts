import { Decoder, DecoderOptions, FlowControl, OpKind } from "iced-x86";
import { describe, expect, it } from "vitest";
import { vmcs } from "../../examples/smp-hypervisor/architecture.ts";
import { buildImage } from "../../examples/smp-hypervisor/build.ts";
import { assembleImage } from "../../examples/smp-hypervisor/image.ts";
import { labels } from "../../examples/smp-hypervisor/labels.ts";
import { guestMap, loadAddress, pageSize } from "../../examples/smp-hypervisor/memory.ts";
import { present } from "../../src/base/assert.ts";
import type { Span } from "../../src/isa/assembler-layout.ts";
import { vmcsFieldTable } from "../../src/vmx/vmcs-fields.ts";

const image = assembleImage();
const address = (name: keyof typeof labels) => Number(present(image.symbols.get(name), name));
const code = image.spans.filter((span) => span.bits !== undefined);

interface Decoded {
  readonly start: bigint;
  readonly target: bigint | undefined;
}

/** Every instruction of a span: where it begins, and where it branches to. */
function decode({ bits, offset, length, address: ip }: Span): Decoded[] {
  const bytes = image.bytes.subarray(offset, offset + length);
  const decoder = new Decoder(present(bits, "a span of code"), bytes, DecoderOptions.None);
  decoder.ip = ip;
  const instructions: Decoded[] = [];
  while (decoder.canDecode) {
    const instruction = decoder.decode();
    expect(instruction.isInvalid, `at 0x${instruction.ip.toString(16)}`).toBe(false);
    const isNear =
      instruction.flowControl !== FlowControl.Next &&
      [OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64].includes(instruction.op0Kind);
    instructions.push({
      start: instruction.ip,
      target: isNear ? instruction.nearBranchTarget : undefined,
    });
    instruction.free();
  }
  decoder.free();
  return instructions;
}

describe("the Multiboot header", () => {
  const header = new DataView(buildImage().buffer);
  const word = (index: number) => header.getUint32(4 * index, true);

  it("has the magic number, asks for the address fields, and its checksum makes zero", () => {
    expect(word(0)).toBe(0x1badb002);
    expect(word(1) & (1 << 16)).not.toBe(0);
    expect((word(0) + word(1) + word(2)) >>> 0).toBe(0);
  });

  it("says where the image goes and where it starts", () => {
    const [headerAddress, loadStart, loadEnd, clearEnd, entry] = [3, 4, 5, 6, 7].map(word);
    expect(headerAddress).toBe(loadAddress);
    expect(loadStart).toBe(loadAddress);
    expect(loadEnd).toBe(loadAddress + image.bytes.length);
    expect(clearEnd).toBe(Number(image.end));
    expect(entry).toBe(address("boot_entry"));
  });

  it("needs no more than 64 MiB", () => {
    expect(Number(image.end)).toBeLessThanOrEqual(64 * 2 ** 20);
  });
});

describe("the code", () => {
  it("is in all three sizes", () => {
    expect(new Set(code.map(({ bits }) => bits))).toEqual(new Set([16, 32, 64]));
  });

  it("decodes from the first byte of every span to the last", () => {
    for (const span of code) {
      expect(decode(span).length).toBeGreaterThan(0);
    }
  });

  it("branches only to where an instruction begins", () => {
    const instructions = code.flatMap(decode);
    const starts = new Set(instructions.map(({ start }) => start));
    const strays = instructions.filter(({ target }) => target !== undefined && !starts.has(target));
    expect(instructions.length).toBeGreaterThan(1000);
    expect(strays).toEqual([]);
  });
});

describe("the symbols", () => {
  it("hold every label of the index", () => {
    expect(Object.keys(labels).filter((name) => !image.symbols.has(name))).toEqual([]);
  });

  it("put what the processor reads on the boundaries that it wants", () => {
    const pages = [
      "page_tables",
      "vmxon_regions",
      "vmcs_regions",
      "ept_tables",
      "guest_pages",
    ] as const;
    for (const name of [...pages, "guest_program"] as const) {
      expect(address(name) % pageSize, name).toBe(0);
    }
    expect(address("guest_ram") % 0x200000).toBe(0);
  });

  it("keep the trampoline in its page and the guest's program in the guest's address space", () => {
    expect(address("trampoline_end") - address("trampoline")).toBeLessThanOrEqual(pageSize);
    const guestSize = address("guest_program_end") - address("guest_program");
    expect(guestSize % pageSize).toBe(0);
    // The guest's only gate has no room for the upper part of an address.
    expect(guestMap.program + guestSize).toBeLessThanOrEqual(0x10000);
    expect(address("guest_entry")).toBe(guestMap.program);
  });
});

it("names VMCS fields by encodings that exist, each once", () => {
  const known = new Set<number>(Object.values(vmcsFieldTable).map(([encoding]) => encoding));
  const used = Object.values(vmcs);
  expect(used.filter((encoding) => !known.has(encoding))).toEqual([]);
  expect(new Set(used).size).toBe(used.length);
});

it("is the same image every time", () => {
  expect(buildImage()).toEqual(image.bytes);
});
