import { describe, expect, it } from "vitest";
import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import {
  al,
  ax,
  cs,
  dx,
  eax,
  ebx,
  mem8,
  mem16,
  mem32,
  rax,
  rbx,
  rdi,
} from "../../src/isa/assembler-operands.ts";
import { elfFile } from "./images.ts";
import { runGuest } from "./run-guest.ts";

const deterministic = { driver: "deterministic" } as const;

function code(bits: 16 | 32 | 64, origin: number, write: (asm: Assembler) => void): Uint8Array {
  const asm = createAssembler({ origin, bits });
  write(asm);
  return asm.assemble().bytes;
}

/** Ends the machine with the value in EAX. */
function exit(asm: Assembler): void {
  asm.mov(dx, 0xf4);
  asm.out(dx, eax);
  asm.hlt();
}

describe("raw code starts", () => {
  it("in real mode, where segments are sixteen times their selectors", async () => {
    const bytes = code(16, 0x7c00, (asm) => {
      const word = asm.label("word");
      asm.xor(eax, eax);
      asm.mov(ax, mem16(word));
      exit(asm);
      asm.here(word);
      asm.u16(77);
    });
    const { result } = await runGuest(bytes, {
      ...deterministic,
      flat: { address: 0x7c00, mode: "16" },
    });
    expect(result.ending).toEqual({ type: "exit", value: 77 });
  });

  it("in real mode above 64 KiB, by its code segment", async () => {
    const bytes = code(16, 0, (asm) => {
      asm.xor(eax, eax);
      asm.mov(ax, cs);
      asm.shr(ax, 8);
      exit(asm);
    });
    const { result } = await runGuest(bytes, {
      ...deterministic,
      flat: { address: 0x3_4560, mode: "16" },
    });
    expect(result.ending).toEqual({ type: "exit", value: 0x34 });
  });

  it("in flat protected mode", async () => {
    const bytes = code(32, 0x20_0000, (asm) => {
      const word = asm.label("word");
      asm.push(0);
      asm.mov(eax, mem32(word));
      exit(asm);
      asm.here(word);
      asm.u32(99);
    });
    const { result } = await runGuest(bytes, {
      ...deterministic,
      flat: { address: 0x20_0000, mode: "32" },
    });
    expect(result.ending).toEqual({ type: "exit", value: 99 });
  });

  it("in 64-bit mode, with a stack and memory mapped onto itself", async () => {
    const bytes = code(64, 0x20_0000, (asm) => {
      asm.mov(rax, 0x55_0000_0000n);
      asm.push(rax);
      asm.pop(rbx);
      asm.shr(rbx, 32);
      asm.mov(rdi, 0xf0_0000);
      asm.mov(mem8(rdi), 1);
      asm.mov(rax, rbx);
      asm.add(al, mem8(rdi));
      exit(asm);
    });
    const { result } = await runGuest(bytes, {
      ...deterministic,
      flat: { address: 0x20_0000, mode: "64" },
    });
    expect(result.ending).toEqual({ type: "exit", value: 0x56 });
  });
});

describe("a plain ELF executable starts", () => {
  it.each([32, 64] as const)("in %i-bit mode, with the boot information", async (bits) => {
    const bytes = [
      ...code(bits, 0x20_0000, (asm) => {
        // Upper memory in MiB out of the structure that EBX points to.
        asm.mov(eax, mem32(bits === 64 ? rbx : ebx, { disp: 8 }));
        asm.shr(eax, 10);
        exit(asm);
      }),
    ];
    const image = elfFile({
      wide: bits === 64,
      entry: 0x20_0000,
      segments: [{ physical: 0x20_0000, bytes }],
    });
    const { result } = await runGuest(image, deterministic);
    expect(result.ending).toEqual({ type: "exit", value: 15 });
    expect(result.lps[0]?.state.bits).toBe(bits);
  });
});
