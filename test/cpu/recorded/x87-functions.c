/* Records what the host's x87 makes of functions beyond basic arithmetic: one line per case,
   `name code control a b status st0 st1`, hexadecimal. The code runs with ST0 = a, ST1 = b and RDI at 16 bytes of memory that
   hold the ten bytes of a; `status` and the two topmost registers are those after it.
   gcc -O1 -mno-red-zone x87-functions.c -o x87-functions && ./x87-functions > x87-functions.txt */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
  uint64_t significand;
  uint16_t sign_exponent;
  uint16_t pad[3];
} extended;

static uint64_t state = 0x2545f4914f6cdd1dull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static const extended specials[] = {
    {0, 0}, {0, 0x8000}, {0x8000000000000000ull, 0x3fff}, {0x8000000000000000ull, 0xbfff}, {0xc000000000000000ull, 0x4000},
    {0x8000000000000000ull, 0x7fff}, {0x8000000000000000ull, 0xffff}, {0xc000000000001234ull, 0x7fff},
    {0x8000000000000001ull, 0xffff}, {1, 0}, {0x7fffffffffffffffull, 0x8000}, {0x4000000000000000ull, 0x3fff},
    {0xffffffffffffffffull, 0x7ffe}, {0x8000000000000000ull, 0x403e}, {0xc90fdaa22168c235ull, 0x3fff},
    {0xffffffffffffffffull, 0x3ffe}, {0x8000000000000001ull, 0x3fff}, {0x8000000000000000ull, 0x0001},
};
#define SPECIALS (sizeof specials / sizeof *specials)

/* Exponents around a center, up to `spread` to either side. */
static extended number(int center, int spread) {
  extended e = {next() | 0x8000000000000000ull, 0};
  if (next() % 2) e.significand = (e.significand & (~0ull << (next() % 64))) | 0x8000000000000000ull;
  e.sign_exponent = (uint16_t)(center + (int)(next() % (2 * spread + 1)) - spread);
  e.sign_exponent |= (next() >> 63) << 15;
  return e;
}

#define CODE(name, text) \
  asm(".pushsection .text\n" #name "_begin:\n" text "\n" #name "_end: ret\n.popsection\n"); \
  extern uint8_t name##_begin[], name##_end[];
CODE(sin, "fsin") CODE(cos, "fcos") CODE(sincos, "fsincos") CODE(tan, "fptan") CODE(atan, "fpatan") CODE(exp, "f2xm1")
CODE(log, "fyl2x") CODE(log1, "fyl2xp1") CODE(rem, "fprem") CODE(rem1, "fprem1") CODE(scale, "fscale") CODE(extract, "fxtract")
CODE(load_decimal, "fbld (%rdi)") CODE(store_decimal, "fbstp (%rdi); fldt (%rdi)")

typedef struct {
  const char *name;
  uint8_t *begin, *end;
  int center_a, spread_a, center_b, spread_b;
} function;
#define ROW(name, ...) {#name, name##_begin, name##_end, __VA_ARGS__}
static const function functions[] = {
    ROW(sin, 0x3ffe, 12, 0x3fff, 1), ROW(cos, 0x3ffe, 12, 0x3fff, 1), ROW(sincos, 0x3ffe, 12, 0x3fff, 1), ROW(tan, 0x3ffe, 12, 0x3fff, 1),
    ROW(atan, 0x3fff, 20, 0x3fff, 20), ROW(exp, 0x3ff0, 14, 0x3fff, 1), ROW(log, 0x3fff, 60, 0x3fff, 30),
    ROW(log1, 0x3fe8, 20, 0x3fff, 30), ROW(rem, 0x3fff, 50, 0x3fff, 50), ROW(rem1, 0x3fff, 50, 0x3fff, 50),
    ROW(scale, 0x3fff, 60, 0x4004, 8), ROW(extract, 0x3fff, 0x3000, 0x3fff, 1), ROW(load_decimal, 0, 0, 0x3fff, 1), ROW(store_decimal, 0x4018, 36, 0x3fff, 1),
};

int main(void) {
  for (unsigned f = 0; f < sizeof functions / sizeof *functions; f++) {
    const function *fn = functions + f;
    for (int i = 0; i < 90; i++) {
      uint64_t r = next();
      /* Nearest mostly; the other roundings for what is exact or rounded in one place. */
      uint16_t control = 0x33f | 0x40 | (i % 4 == 3 ? (uint16_t)((r & 3) << 10) : 0);
      extended a = number(fn->center_a, fn->spread_a), b = number(fn->center_b, fn->spread_b);
      if (i % 5 == 4) a = specials[(r >> 8) % SPECIALS];
      if (i % 7 == 6) b = specials[(r >> 16) % SPECIALS];
      if (f == 10 && i % 3) b.significand &= ~0ull << 52;
      if (fn->begin == load_decimal_begin) {
        a.significand = 0;
        for (int d = 0; d < 16; d++) a.significand = a.significand << 4 | next() % 10;
        a.sign_exponent = (uint16_t)((r & 0x8000) | (r % 10) << 4 | (r >> 20) % 10);
      }
      uint8_t memory[16] = {0};
      memcpy(memory, &a, 10);
      struct { uint8_t bytes[108]; } image;
      uint16_t status;
      asm volatile("fninit\n fldt %[b]\n fldt %[a]\n fnclex\n fldcw %[control]\n call *%[code]\n fnstsw %[status]\n fnclex\n fnsave %[image]"
                   : [image] "=m"(image), [status] "=m"(status)
                   : [a] "m"(a), [b] "m"(b), [control] "m"(control), [code] "r"(fn->begin), "D"(memory)
                   : "memory", "cc");
      printf("%s ", fn->name);
      for (uint8_t *at = fn->begin; at < fn->end; at++) printf("%02x", *at);
      printf(" %04x %04x%016llx %04x%016llx %04x", control, a.sign_exponent, (unsigned long long)a.significand, b.sign_exponent,
             (unsigned long long)b.significand, status);
      for (int n = 0; n < 2; n++) {
        uint64_t significand;
        uint16_t sign_exponent;
        memcpy(&significand, image.bytes + 28 + n * 10, 8);
        memcpy(&sign_exponent, image.bytes + 36 + n * 10, 2);
        printf(" %04x%016llx", sign_exponent, (unsigned long long)significand);
      }
      printf("\n");
    }
  }
  return 0;
}
