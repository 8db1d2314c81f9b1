import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from "iced-x86";
import { describe, expect, it } from "vitest";
import { type Assembler, createAssembler } from "../../src/isa/assembler.ts";
import {
  al,
  ax,
  bx,
  cl,
  cr0,
  ds,
  dx,
  eax,
  far,
  gs,
  mem,
  mem8,
  mem16,
  mem32,
  mem48,
  mem64,
  r13,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  si,
} from "../../src/isa/assembler-operands.ts";

type Bits = 16 | 32 | 64;

function assembled(bits: Bits, write: (asm: Assembler) => void, origin = 0x1000) {
  const asm = createAssembler({ origin, bits });
  write(asm);
  return asm.assemble();
}

function hex(bits: Bits, write: (asm: Assembler) => void): string {
  return Buffer.from(assembled(bits, write).bytes).toString("hex");
}

/** What a disassembler of its own says about the bytes. */
function disassembled(bits: Bits, write: (asm: Assembler) => void): string[] {
  const { bytes, origin } = assembled(bits, write);
  const decoder = new Decoder(bits, bytes, DecoderOptions.None);
  const formatter = new Formatter(FormatterSyntax.Nasm);
  decoder.ip = origin;
  const lines: string[] = [];
  while (decoder.canDecode) {
    lines.push(formatter.format(decoder.decode()));
  }
  return lines;
}

describe("choosing a form", () => {
  // The expected bytes are what NASM emits for the same line.
  const cases: [string, Bits, (asm: Assembler) => void, string][] = [
    ["mov rax, strict dword 5", 64, (asm) => asm.mov(rax, 5), "48c7c005000000"],
    [
      "mov rax, 1122334455667788h",
      64,
      (asm) => asm.mov(rax, 0x1122334455667788n),
      "48b88877665544332211",
    ],
    ["add eax, -1", 64, (asm) => asm.add(eax, 0xffffffff), "83c0ff"],
    ["add rax, 80h", 64, (asm) => asm.add(rax, 0x80), "480580000000"],
    ["push 5", 64, (asm) => asm.push(5), "6a05"],
    ["ret", 64, (asm) => asm.ret(), "c3"],
    ["nop", 64, (asm) => asm.nop(), "90"],
    ["leave", 32, (asm) => asm.leave(), "c9"],
    ["xchg rbx, rax", 64, (asm) => asm.xchg(rbx, rax), "4893"],
    ["xchg eax, eax is no NOP", 64, (asm) => asm.xchg(eax, eax), "87c0"],
    ["shl rax, 1", 64, (asm) => asm.shl(rax, 1), "48d1e0"],
    ["shl rax, cl", 64, (asm) => asm.shl(rax, cl), "48d3e0"],
    ["mov cr0, rax", 64, (asm) => asm.mov(cr0, rax), "0f22c0"],
    ["mov ds, eax", 64, (asm) => asm.mov(ds, eax), "8ed8"],
    ["out dx, al", 16, (asm) => asm.out(dx, al), "ee"],
    ["jmp 8:1234h", 32, (asm) => asm.jmp(far(8, 0x1234)), "ea341200000800"],
    ["jmp far dword [rax]", 64, (asm) => asm.jmp(mem48(rax)), "ff28"],
    ["jmp [rax]", 64, (asm) => asm.jmp(mem64(rax)), "ff20"],
    ["retfq by name", 64, (asm) => asm.form("Retfq"), "48cb"],
    ["stosb", 64, (asm) => asm.stosb(), "aa"],
    ["rep movsq", 64, (asm) => asm.rep.movsq(), "f348a5"],
    ["repne scasb", 16, (asm) => asm.repne.scasb(), "f2ae"],
    ["lock xadd [rdi], eax", 64, (asm) => asm.lock.xadd(mem32(rdi), eax), "f00fc107"],
    ["enter 16, 0", 64, (asm) => asm.enter(16, 0), "c8100000"],
    ["xlatb", 64, (asm) => asm.xlatb(), "d7"],
  ];
  for (const [text, bits, write, expected] of cases) {
    it(`${text} (${bits}-bit)`, () => expect(hex(bits, write)).toBe(expected));
  }
});

describe("addresses", () => {
  const cases: [Bits, (asm: Assembler) => void, string][] = [
    [64, (asm) => asm.mov(rax, mem64(rbp)), "mov rax,[rbp]"],
    [
      64,
      (asm) => asm.mov(rax, mem(r13, { index: rcx, scale: 8, disp: -8 })),
      "mov rax,[r13+rcx*8-8]",
    ],
    [64, (asm) => asm.mov(mem8(rdi, { disp: 0x1234 }), al), "mov [rdi+1234h],al"],
    [64, (asm) => asm.mov(rax, mem64(0x10, { segment: gs })), "mov rax,[gs:10h]"],
    [64, (asm) => asm.mov(rbx, mem64(0xfee00020)), "mov rbx,[0FEE00020h]"],
    [64, (asm) => asm.mov(al, mem8(0x123456789an)), "mov al,[qword 123456789Ah]"],
    [32, (asm) => asm.mov(eax, mem32(0x8000)), "mov eax,[8000h]"],
    [16, (asm) => asm.mov(ax, mem16(bx, { index: si, disp: 2 })), "mov ax,[bx+si+2]"],
    [16, (asm) => asm.inc(mem8(bx)), "inc byte [bx]"],
  ];
  for (const [bits, write, expected] of cases) {
    it(expected, () => expect(disassembled(bits, write)).toEqual([expected]));
  }

  it("addresses a label relative to RIP in 64-bit code, absolutely in 32-bit code and with an index", () => {
    const write = (asm: Assembler) => {
      const table = asm.label("table");
      asm.mov(eax, mem32(table, { disp: 4 }));
      asm.here(table);
    };
    expect(disassembled(64, write)).toEqual(["mov eax,[rel 100Ah]"]);
    expect(disassembled(32, write)).toEqual(["mov eax,[1009h]"]);
    expect(
      disassembled(64, (asm) => {
        const table = asm.here("table");
        asm.mov(rax, mem64(table, { index: rcx, scale: 8 }));
      }),
    ).toEqual(["mov rax,[rcx*8+1000h]"]);
  });
});

describe("labels", () => {
  it("widens a branch only when its target is out of reach", () => {
    const jumpOver = (gap: number) =>
      hex(64, (asm) => {
        const target = asm.label("target");
        asm.jz(target);
        asm.reserve(gap);
        asm.here(target);
      }).slice(0, 4);
    expect(jumpOver(127)).toBe("747f");
    expect(jumpOver(128)).toBe("0f84");
  });

  it("settles branches that widen one another", () => {
    const asm = createAssembler({ origin: 0, bits: 64 });
    const labels = Array.from({ length: 60 }, (_, index) => asm.label(`l${index}`));
    for (const [index, label] of labels.entries()) {
      asm.here(label);
      asm.jmp(labels[(index + 30) % 60] ?? label);
    }
    const { bytes, symbols } = asm.assemble();
    const decoder = new Decoder(64, bytes, DecoderOptions.None);
    const targets: bigint[] = [];
    while (decoder.canDecode) {
      targets.push(decoder.decode().nearBranchTarget);
    }
    expect(targets).toEqual(labels.map((_, index) => symbols.get(`l${(index + 30) % 60}`)));
  });

  it("stores addresses, sums and distances", () => {
    const { bytes, symbols } = assembled(32, (asm) => {
      const start = asm.here("start");
      const end = asm.label("end");
      asm.u16(end.minus(start).plus(-1));
      asm.u32(end.plus(4));
      asm.u64(start);
      asm.here(end);
    });
    expect([...bytes]).toEqual([13, 0, 0x12, 0x10, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
    expect(symbols.get("end")).toBe(0x100en);
  });
});

describe("layout", () => {
  it("assembles code for an address it will be copied to", () => {
    const { bytes, symbols, spans } = assembled(32, (asm) => {
      asm.nop();
      asm.runAt(0x8000, () => {
        asm.bits(16);
        const again = asm.here("again");
        asm.mov(ax, again);
        asm.jmp(again);
        asm.bits(32);
      });
      asm.here("after");
    });
    expect(Buffer.from(bytes).toString("hex")).toBe("90b80080ebfb");
    expect(symbols.get("again")).toBe(0x8000n);
    expect(symbols.get("after")).toBe(0x1006n);
    expect(spans).toEqual([
      { bits: 32, offset: 0, length: 1, address: 0x1000n },
      { bits: 16, offset: 1, length: 5, address: 0x8000n },
    ]);
  });

  it("resolves a 16-bit address that is used from far away before it is known", () => {
    const { bytes } = assembled(
      32,
      (asm) => {
        const word = asm.label("word");
        asm.u16(word);
        asm.mov(ax, word);
        asm.runAt(0x8000, () => {
          asm.here(word);
        });
      },
      0x100000,
    );
    expect(Buffer.from(bytes).toString("hex")).toBe("008066b80080");
  });

  it("aligns, reserves, and keeps what follows bss out of the image", () => {
    const { bytes, end, symbols } = assembled(64, (asm) => {
      asm.ascii("abc");
      asm.align(8);
      asm.u8(1);
      asm.bss();
      asm.align(0x1000);
      asm.here("page");
      asm.reserve(0x1000);
    });
    expect([...bytes]).toEqual([97, 98, 99, 0, 0, 0, 0, 0, 1]);
    expect(symbols.get("page")).toBe(0x2000n);
    expect(end).toBe(0x3000n);
  });
});

describe("mistakes that the compiler finds, and the assembler refuses too", () => {
  const cases: [string, (asm: Assembler) => void][] = [
    // @ts-expect-error the sizes differ
    ["mov rax, eax", (asm) => asm.mov(rax, eax)],
    // @ts-expect-error the sizes differ
    ["mov [rdi], rax", (asm) => asm.mov(mem32(rdi), rax)],
    // @ts-expect-error only one operand may be in memory
    ["mov mem, mem", (asm) => asm.mov(mem64(rax), mem64(rdi))],
    // @ts-expect-error an operand is missing
    ["mov rax", (asm) => asm.mov(rax)],
    // @ts-expect-error string instructions take no operands
    ["stosb al", (asm) => asm.stosb(al)],
  ];
  for (const [name, write] of cases) {
    it(name, () => expect(() => assembled(64, write)).toThrowError("no such form"));
  }
});

describe("mistakes are told in one line", () => {
  const cases: [string, (asm: Assembler) => void, string][] = [
    [
      "an undefined label",
      (asm) => {
        asm.here("main");
        asm.jmp(asm.label("nowhere"));
      },
      "undefined label nowhere in: jmp nowhere, after main",
    ],
    [
      "a label placed twice",
      (asm) => {
        const l = asm.here("l");
        asm.here(l);
      },
      "label l is placed twice",
    ],
    [
      "a name used twice",
      (asm) => {
        asm.here("l");
        asm.here("l");
      },
      "label l exists already",
    ],
    [
      "no such form",
      (asm) => asm.form("Mov_r64_rm64", rax, eax),
      "no such form in 64-bit code: Mov_r64_rm64 rax, eax",
    ],
    ["a form of another mode", (asm) => asm.pushad(), "no such form in 64-bit code: pushad"],
    [
      "an immediate out of range",
      (asm) => asm.mov(al, 256),
      "no such form in 64-bit code: mov al, 256",
    ],
    [
      "a missing size",
      (asm) => asm.inc(mem(rax)),
      "the size of the memory operand is missing: inc mem",
    ],
    [
      "a prefix that does not belong",
      (asm) => asm.lock.mov(rax, mem64(rbx)),
      "no lock prefix is possible: mov rax, mem64",
    ],
    [
      "a branch out of reach",
      (asm) => {
        const l = asm.here("l");
        asm.reserve(200);
        asm.loop(l);
      },
      "out of range: loop l",
    ],
    [
      "data that does not fit",
      (asm) => asm.u8(256),
      "0x100 does not fit in 8 bits, after the start",
    ],
    [
      "data after bss",
      (asm) => {
        asm.bss();
        asm.u8(1);
      },
      "only labels, align and reserve may follow bss",
    ],
    ["characters beyond ASCII", (asm) => asm.ascii("é"), "not an ASCII character: é"],
  ];
  for (const [name, write, message] of cases) {
    it(name, () => {
      const attempt = () => assembled(64, write);
      expect(attempt).toThrowError(/^[^\n]*$/);
      expect(attempt).toThrowError(message);
    });
  }
});
