/* Records what the host's MMX arithmetic does: one line per case, `code a b rax mm0 memory`, hexadecimal. The code runs with
   MM0 = a, MM1 = b, RAX = 1122334455667788H, RDI at 16 bytes of memory that hold b twice.
   gcc -O1 -mno-red-zone mmx-vectors.c -o mmx-vectors && ./mmx-vectors > mmx-vectors.txt */
#include <stdint.h>
#include <stdio.h>

static uint64_t state = 0x9e3779b97f4a7c15ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

/* Lanes of boundary values now and then. */
static uint64_t pick(void) {
  static const uint64_t specials[] = {0, ~0ull, 0x8000800080008000ull, 0x7fff7fff7fff7fffull, 0x80007f00ff01807full,
                                      0x8000000080000000ull, 0x7fffffff7fffffffull, 1, 0x0101010101010101ull};
  uint64_t r = next();
  return r % 4 == 0 ? specials[(r >> 8) % 9] : r % 4 == 1 ? (next() & specials[(r >> 8) % 9]) : next();
}

#define EACH(X) \
  X("paddb") X("paddw") X("paddd") X("paddq") X("psubb") X("psubw") X("psubd") X("psubq") \
  X("paddsb") X("paddsw") X("paddusb") X("paddusw") X("psubsb") X("psubsw") X("psubusb") X("psubusw") \
  X("pmullw") X("pmulhw") X("pmulhuw") X("pmuludq") X("pmaddwd") X("psadbw") X("pavgb") X("pavgw") \
  X("pminub") X("pmaxub") X("pminsw") X("pmaxsw") X("pcmpeqb") X("pcmpeqw") X("pcmpeqd") \
  X("pcmpgtb") X("pcmpgtw") X("pcmpgtd") X("pand") X("pandn") X("por") X("pxor") \
  X("packsswb") X("packuswb") X("packssdw") X("punpcklbw") X("punpcklwd") X("punpckldq") \
  X("punpckhbw") X("punpckhwd") X("punpckhdq")
#define EACH_SHIFT(X) X("psllw") X("pslld") X("psllq") X("psrlw") X("psrld") X("psrlq") X("psraw") X("psrad")
#define OTHERS(X) \
  X("pshufw $0x1b, %mm1, %mm0") X("pshufw $0xe4, (%rdi), %mm0") X("pinsrw $1, %eax, %mm0") X("pinsrw $7, 2(%rdi), %mm0") \
  X("pextrw $2, %mm0, %eax") X("pextrw $7, %mm1, %eax") X("pmovmskb %mm0, %eax") \
  X("movq2dq %mm1, %xmm3; movdq2q %xmm3, %mm0") X("movntq %mm0, (%rdi)") X("maskmovq %mm1, %mm0") \
  X("psrlq (%rdi), %mm0")

asm(".pushsection .text\n"
#define ONE(text) text "\n ret\n 1:\n .pushsection .rodata\n .quad 1b - 1\n .popsection\n"
#define REGISTER(op) ONE(op " %mm1, %mm0") ONE(op " 8(%rdi), %mm0")
#define SHIFTS(op) ONE(op " %mm1, %mm0") ONE(op " $0, %mm0") ONE(op " $5, %mm0") ONE(op " $31, %mm0") ONE(op " $70, %mm0")
    ".pushsection .rodata\n .balign 8\n ends:\n .popsection\n begin:\n"
    EACH(REGISTER) EACH_SHIFT(SHIFTS) OTHERS(ONE)
    ".pushsection .rodata\n .quad 0\n .popsection\n .popsection\n");
extern uint8_t begin[];
extern uint8_t *ends[];

int main(void) {
  uint8_t *code = begin;
  for (int n = 0; ends[n]; n++) {
    for (int i = 0; i < 8; i++) {
      uint64_t a = pick(), b = pick(), rax = 0x1122334455667788ull, mm0;
      /* Shift counts are mostly small. */
      if (n >= 94 && i < 6) b = next() % 70;
      uint64_t memory[2] = {b, b};
      asm volatile("movq %[a], %%mm0\n movq %[b], %%mm1\n call *%[code]\n movq %%mm0, %[mm0]\n emms"
                   : "+a"(rax), [mm0] "=m"(mm0)
                   : [a] "m"(a), [b] "m"(b), [code] "r"(code), "D"(memory)
                   : "memory", "cc", "xmm3");
      for (uint8_t *at = code; at < ends[n]; at++) printf("%02x", *at);
      printf(" %016llx %016llx %016llx %016llx %016llx%016llx\n", (unsigned long long)a, (unsigned long long)b,
             (unsigned long long)rax, (unsigned long long)mm0, (unsigned long long)memory[1], (unsigned long long)memory[0]);
    }
    code = ends[n] + 1;
  }
  return 0;
}
