import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { mem64, rax, rbx, rcx } from "../../src/isa/assembler-operands.ts";
import { exitReason } from "../../src/vmx/exit-reasons.ts";
import type { FieldName } from "../../src/vmx/vmcs-fields.ts";
import { type Exit, encodingOf, VmxMachine, vmxPlace } from "./vmx-machine.ts";

let m: VmxMachine;
let restore: () => void;

const readBitmap = vmxPlace.ioBitmapA;
const writeBitmap = vmxPlace.ioBitmapB;
const shadow = vmxPlace.otherVmcs;
const shadowBit = 0x8000_0000;
const field: FieldName = "guestRsp";

beforeAll(() => {
  m = new VmxMachine().root();
  m.write32(shadow, m.revision | shadowBit);
  m.current(shadow).set(field, 0x1111).current(shadow);
  load(vmxPlace.vmcs);
  m.enable("secondary.vmcsShadowing").set("vmcsLinkPointer", shadow);
  m.set("vmreadBitmap", readBitmap).set("vmwriteBitmap", writeBitmap);
  restore = m.checkpoint();
});
beforeEach(() => restore());

function select(bitmap: number, encoding: number): void {
  const at = bitmap + (encoding >>> 3);
  m.state.u8[at] = (m.state.u8[at] ?? 0) | (1 << (encoding & 7));
}
/** The guest reads a field into RAX. */
function guestReads(encoding: bigint | number): Exit {
  m.state.setGpr(1, BigInt(encoding));
  m.guest((asm) => {
    asm.vmread(rax, rcx);
    asm.vmcall();
  });
  return m.launch();
}
function guestWrites(encoding: bigint | number, value: bigint): Exit {
  m.state.setGpr(1, BigInt(encoding));
  m.state.setGpr(3, value);
  m.guest((asm) => {
    asm.vmwrite(rcx, rbx);
    asm.vmcall();
  });
  return m.launch();
}
const flags = (): number => m.number("guestRflags") & 0x8d5;
function load(region: number): void {
  m.pointTo(region);
  expect(m.execute((asm) => asm.vmptrld(mem64(vmxPlace.pointers)))).toBe("succeed");
}
/** What the host finds in the shadow VMCS. */
function inShadow(name: FieldName): bigint {
  load(shadow);
  const value = m.get(name);
  load(vmxPlace.vmcs);
  return value;
}

describe("a guest with a shadow VMCS", () => {
  it("reads and writes it without exits", () => {
    m.guest((asm) => {
      asm.vmwrite(rcx, rbx);
      asm.vmread(rax, rcx);
      asm.vmcall();
    });
    m.state.setGpr(1, BigInt(encodingOf(field)));
    m.state.setGpr(3, 0x1234_5678_9abcn);
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr(0)).toBe(0x1234_5678_9abcn);
    expect(flags()).toBe(0);
    expect(m.get(field)).toBe(BigInt(vmxPlace.guestStack));
    expect(inShadow(field)).toBe(0x1234_5678_9abcn);
  });

  it("exits on what the bitmaps select", () => {
    select(readBitmap, encodingOf(field));
    expect(guestReads(encodingOf(field)).reason).toBe(exitReason.vmread);
    restore();
    select(readBitmap, encodingOf(field));
    expect(guestWrites(encodingOf(field), 1n).reason).toBe(exitReason.vmcall);
    restore();
    select(writeBitmap, encodingOf(field));
    expect(guestWrites(encodingOf(field), 1n).reason).toBe(exitReason.vmwrite);
  });

  it.each([0x8000n, 0x1_0000_0000n, 1n << 63n])("exits on encoding %x", (encoding) => {
    expect(guestReads(encoding).reason).toBe(exitReason.vmread);
    restore();
    expect(guestWrites(encoding, 1n).reason).toBe(exitReason.vmwrite);
  });

  it("fails with the current VMCS when it names no field", () => {
    expect(guestReads(0x7ffe).reason).toBe(exitReason.vmcall);
    expect(flags()).toBe(0x40);
    expect(m.number("instructionError")).toBe(12);
    expect(inShadow("instructionError")).toBe(0n);
  });

  it("fails without a link", () => {
    m.set("vmcsLinkPointer", -1n);
    expect(guestReads(encodingOf(field)).reason).toBe(exitReason.vmcall);
    expect(flags()).toBe(1);
    restore();
    m.set("vmcsLinkPointer", -1n);
    expect(guestWrites(encodingOf(field), 1n).reason).toBe(exitReason.vmcall);
    expect(flags()).toBe(1);
  });

  it("exits on each access without the control", () => {
    m.disable("secondary.vmcsShadowing").set("vmcsLinkPointer", -1n);
    expect(guestReads(encodingOf(field)).reason).toBe(exitReason.vmread);
  });

  it("may write what is read-only to it", () => {
    expect(guestWrites(encodingOf("exitReason"), 0x77n).reason).toBe(exitReason.vmcall);
    expect(flags()).toBe(0);
    expect(inShadow("exitReason")).toBe(0x77n);
  });
});

describe("a shadow VMCS", () => {
  it("cannot be entered", () => {
    load(shadow);
    expect(m.execute((asm) => asm.vmlaunch())).toBe("fail-invalid");
    load(vmxPlace.vmcs);
  });

  it("is needed behind the link exactly with the control", () => {
    m.disable("secondary.vmcsShadowing");
    expect(m.launch()).toMatchObject({ entryFailure: true, qualification: 4n });
    restore();
    m.write32(shadow, m.revision);
    expect(m.launch()).toMatchObject({ entryFailure: true, qualification: 4n });
  });
});
