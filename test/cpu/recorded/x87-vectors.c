/* Records what the host's x87 does: one line per case, `operation control a b result status`.
   gcc -O1 x87-vectors.c -o x87-vectors && ./x87-vectors > x87-vectors.txt */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  uint64_t significand;
  uint16_t sign_exponent;
  uint16_t pad[3];
} extended;

static uint64_t state = 0x9e3779b97f4a7c15ull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static const extended specials[] = {
    {0, 0},
    {0, 0x8000},
    {0x8000000000000000ull, 0x3fff},
    {0x8000000000000000ull, 0xbfff},
    {0xc000000000000000ull, 0x4000},
    {0x8000000000000000ull, 0x7fff},
    {0x8000000000000000ull, 0xffff},
    {0xc000000000000000ull, 0x7fff},
    {0xc000000000001234ull, 0xffff},
    {0x8000000000000001ull, 0x7fff},
    {0xa000000000000000ull, 0xffff},
    {1, 0},
    {0x7fffffffffffffffull, 0x8000},
    {0x8000000000000000ull, 0},
    {0x8000000000000000ull, 1},
    {0xffffffffffffffffull, 0x7ffe},
    {0x4000000000000000ull, 0x3fff},
    {0, 0x7fff},
    {0xffffffffffffffffull, 0x3ffe},
    {0xfffffffffffffc00ull, 0x403d},
    {0x8000000000000000ull, 0xc03e},
    {0x8000000000000000ull, 0x3f6a},
    {0xffffff7fffffffffull, 0x407e},
    {0xfffffffffffffc01ull, 0x3c01},
};
#define SPECIALS (sizeof specials / sizeof *specials)

static extended pick(void) {
  uint64_t r = next();
  if (r % 3 == 0) return specials[(r >> 8) % SPECIALS];
  extended e = {next() | 0x8000000000000000ull, 0};
  if ((r >> 4) % 2) e.significand &= ~0ull << (next() % 64);
  e.significand |= 0x8000000000000000ull;
  static const int centers[] = {0x3fff, 0x3fff, 0x4007, 0x3f80, 0x407e, 0x3c00, 0x43fe, 0x0020, 0x7fe0, 0x403e};
  int center = centers[(r >> 16) % 10];
  e.sign_exponent = (uint16_t)(center + (int)(next() % 40) - 20) & 0x7fff;
  if (e.sign_exponent == 0x7fff) e.sign_exponent = 0x7ffe;
  if (e.sign_exponent == 0) e.sign_exponent = 1;
  e.sign_exponent |= (r >> 63) << 15;
  return e;
}

static void run(int op, extended a, extended b, uint16_t cw) {
  extended r;
  memset(&r, 0, sizeof r);
  uint16_t sw = 0;
  uint64_t narrow = 0;
  static const char *names[] = {"add", "sub", "mul", "div", "sqrt", "rint", "com", "ucom", "st32", "st64", "ist16", "ist32", "ist64", "ld32", "ld64"};
  /* Exceptions stay pending until FNCLEX; nothing in between waits for them but the operation itself. */
#define BODY(insn) asm volatile("fninit\n fldt %3\n fldt %2\n fldcw %4\n " insn "\n fnstsw %1\n fnclex\n fnsave %0" : "=m"(image), "=m"(sw) : "m"(a), "m"(b), "m"(cw) : "memory")
  struct { uint8_t bytes[108]; } image;
  static uint64_t memory;
  memory = 0x5555555555555555ull;
  switch (op) {
    case 0: BODY("fadd %%st(1), %%st"); break;
    case 1: BODY("fsub %%st(1), %%st"); break;
    case 2: BODY("fmul %%st(1), %%st"); break;
    case 3: BODY("fdiv %%st(1), %%st"); break;
    case 4: BODY("fsqrt"); break;
    case 5: BODY("frndint"); break;
    case 6: BODY("fcom %%st(1)"); break;
    case 7: BODY("fucom %%st(1)"); break;
#define STORE(insn) asm volatile("fninit\n fldt %3\n fldt %2\n fldcw %4\n " insn " %5\n fnstsw %1\n fnclex\n fnsave %0" : "=m"(image), "=m"(sw) : "m"(a), "m"(b), "m"(cw), "m"(memory) : "memory")
    case 8: STORE("fsts"); break;
    case 9: STORE("fstl"); break;
    case 10: STORE("fists"); break;
    case 11: STORE("fistl"); break;
    case 12: STORE("fistpll"); break;
    case 13: memory = (a.significand >> 30 ^ a.sign_exponent << 16) & 0xffffffff; narrow = memory; STORE("flds"); break;
    case 14: memory = a.significand ^ ((uint64_t)a.sign_exponent << 48); narrow = memory; STORE("fldl"); break;
  }
  memcpy(&r.significand, image.bytes + 28, 8);
  memcpy(&r.sign_exponent, image.bytes + 36, 2);
  if (op == 13) printf("%s %04x - %08llx", names[op], cw, (unsigned long long)narrow);
  else if (op == 14) printf("%s %04x - %016llx", names[op], cw, (unsigned long long)narrow);
  else printf("%s %04x %04x%016llx %04x%016llx", names[op], cw, a.sign_exponent, (unsigned long long)a.significand, b.sign_exponent, (unsigned long long)b.significand);
  if (op >= 8 && op <= 12) printf(" %016llx", (unsigned long long)memory);
  else printf(" %04x%016llx", r.sign_exponent, (unsigned long long)r.significand);
  printf(" %04x\n", sw & 0x47ff & ~0x3800);
}

int main(void) {
  for (int op = 0; op < 15; op++) {
    for (int i = 0; i < 110; i++) {
      static const uint16_t precisions[] = {0x300, 0x300, 0x200, 0x000};
      uint64_t r = next();
      uint16_t cw = 0x3f | precisions[r & 3] | ((r >> 2) & 3) << 10;
      if ((r >> 10) % 5 == 0) cw &= ~(1 << ((r >> 20) % 6));
      extended a = pick(), b = pick();
      if ((r >> 30) % 6 == 0) { b = a; b.sign_exponent ^= (r >> 40) & 0x8000; b.significand ^= (r >> 50) & 1; }
      run(op, a, b, cw);
    }
  }
  return 0;
}
