/* Records what the host's SSE and SSE2 floating-point instructions do: one line per case,
   `code mxcsr a b fault result rax flags mxcsr`, hexadecimal. The code runs with XMM0 = a, XMM1 = b, MM1 and RAX the low half of
   b, RDI at 16 bytes of memory that hold b. `fault` is 19 where an exception is not masked, else 0; result is XMM0 (MM0 for
   conversions to MMX registers).
   gcc -O1 -mno-red-zone sse-float.c -o sse-float && ./sse-float > sse-float.txt */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

static uint64_t state = 0x853c49e6748fea9bull;
static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static const uint32_t singles[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc01234, 0xff812345, 1,
                                   0x807fffff, 0x00800000, 0x7f7fffff, 0x4f000000, 0xcf000000, 0x3effffff, 0x00400000, 0x40490fdb};
static const uint64_t doubles[] = {0, 0x8000000000000000ull, 0x3ff0000000000000ull, 0xbff0000000000000ull, 0x7ff0000000000000ull,
                                   0xfff0000000000000ull, 0x7ff8000000001234ull, 0xfff0000000012345ull, 1, 0x800fffffffffffffull,
                                   0x0010000000000000ull, 0x7fefffffffffffffull, 0x41e0000000000000ull, 0xc3e0000000000000ull,
                                   0x3fdfffffffffffffull, 0x36a0000000000000ull, 0x47efffffe0000000ull, 0x400921fb54442d18ull};

static uint32_t pick32(int style) {
  uint64_t r = next();
  if (style == 0 || r % 5 == 0) return singles[(r >> 8) % 17];
  static const int centers[] = {127, 127, 2, 64, 190, 253};
  uint32_t exponent = (uint32_t)(centers[(r >> 8) % 6] + (int)((r >> 16) % 24) - 12) & 0xff;
  if (exponent == 0xff) exponent = 0xfe;
  return (uint32_t)((r >> 63) << 31) | exponent << 23 | ((uint32_t)next() & (0x7fffff & (~0u << (next() % 23))));
}
static uint64_t pick64(int style) {
  uint64_t r = next();
  if (style == 0 || r % 5 == 0) return doubles[(r >> 8) % 18];
  static const int centers[] = {1023, 1023, 8, 512, 1500, 2040, 900, 1150, 1054, 1086};
  uint64_t exponent = (uint64_t)(centers[(r >> 8) % 10] + (int)((r >> 16) % 32) - 16) & 0x7ff;
  if (exponent == 0x7ff) exponent = 0x7fe;
  return (r >> 63) << 63 | exponent << 52 | (next() & (0xfffffffffffffull & (~0ull << (next() % 52))));
}

#define FOUR(X, op) X(op "ps %xmm1, %xmm0", 4) X(op "pd %xmm1, %xmm0", 8) X(op "ss %xmm1, %xmm0", 4) X(op "sd %xmm1, %xmm0", 8)
#define ALL(X) \
  FOUR(X, "add") FOUR(X, "sub") FOUR(X, "mul") FOUR(X, "div") FOUR(X, "min") FOUR(X, "max") FOUR(X, "sqrt") \
  FOUR(X, "cmpeq") FOUR(X, "cmplt") FOUR(X, "cmple") FOUR(X, "cmpunord") FOUR(X, "cmpneq") FOUR(X, "cmpnlt") FOUR(X, "cmpnle") \
  FOUR(X, "cmpord") X("addps (%rdi), %xmm0", 4) X("mulsd (%rdi), %xmm0", 8) X("divss (%rdi), %xmm0", 4) \
  X("comiss %xmm1, %xmm0", 4) X("comisd %xmm1, %xmm0", 8) X("ucomiss %xmm1, %xmm0", 4) X("ucomisd %xmm1, %xmm0", 8) \
  X("cvtsi2ss %eax, %xmm0", 8) X("cvtsi2ss %rax, %xmm0", 8) X("cvtsi2sd %eax, %xmm0", 8) X("cvtsi2sd %rax, %xmm0", 8) \
  X("cvtsi2sdl (%rdi), %xmm0", 8) X("cvtss2si %xmm1, %eax", 4) X("cvtss2si %xmm1, %rax", 4) X("cvtsd2si %xmm1, %eax", 8) \
  X("cvtsd2si %xmm1, %rax", 8) X("cvttss2si %xmm1, %eax", 4) X("cvttss2si %xmm1, %rax", 4) X("cvttsd2si %xmm1, %eax", 8) \
  X("cvttsd2si (%rdi), %rax", 8) X("cvtss2sd %xmm1, %xmm0", 4) X("cvtsd2ss %xmm1, %xmm0", 8) X("cvtps2pd %xmm1, %xmm0", 4) \
  X("cvtpd2ps %xmm1, %xmm0", 8) X("cvtdq2ps %xmm1, %xmm0", 8) X("cvtdq2pd %xmm1, %xmm0", 8) X("cvtps2dq %xmm1, %xmm0", 4) \
  X("cvttps2dq %xmm1, %xmm0", 4) X("cvtpd2dq %xmm1, %xmm0", 8) X("cvttpd2dq (%rdi), %xmm0", 8) X("cvtpi2ps %mm1, %xmm0", 8) \
  X("cvtpi2pd %mm1, %xmm0", 8) X("cvtps2pi %xmm1, %mm0", 4) X("cvttps2pi %xmm1, %mm0", 4) X("cvtpd2pi %xmm1, %mm0", 8) \
  X("cvttpd2pi (%rdi), %mm0", 8)

#define TEXT(text, size) text "\n ret\n 1:\n .pushsection .rodata\n .quad 1b - 1\n .popsection\n"
#define SIZE(text, size) size,
#define MMX(text, size) (sizeof text > 5 && text[sizeof text - 2] == '0' && text[sizeof text - 4] == 'm' && text[sizeof text - 5] != 'm' && text[sizeof text - 3] == 'm' && text[sizeof text - 5] == '%'),
asm(".pushsection .text\n .pushsection .rodata\n .balign 8\n ends:\n .popsection\n begin:\n" ALL(TEXT) ".popsection\n");
extern uint8_t begin[];
extern uint8_t *ends[];
static const uint8_t sizes[] = {ALL(SIZE)};
static const uint8_t is_mmx[] = {ALL(MMX)};

static sigjmp_buf after;
static uint32_t mxcsr_at_fault;
static void on_fault(int signal, siginfo_t *information, void *context) {
  (void)signal;
  (void)information;
  mxcsr_at_fault = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr;
  siglongjmp(after, 1);
}

typedef struct {
  uint64_t half[2];
} __attribute__((aligned(16))) vector;
static vector a, b, result;
static uint64_t rax, mm, flags;
static uint32_t mxcsr, mxcsr_after;
static uint8_t *code;
static volatile int fault;

static void print(vector v) { printf(" %016llx%016llx", (unsigned long long)v.half[1], (unsigned long long)v.half[0]); }

int main(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGFPE, &action, NULL);
  code = begin;
  for (unsigned n = 0; n < sizeof sizes; n++) {
    for (int i = 0; i < 16; i++) {
      for (int h = 0; h < 2; h++) {
        if (sizes[n] == 4) {
          a.half[h] = pick32(i % 3) | (uint64_t)pick32(i % 3) << 32;
          b.half[h] = pick32((i + 1) % 3) | (uint64_t)pick32((i + 1) % 3) << 32;
        } else {
          a.half[h] = pick64(i % 3);
          b.half[h] = pick64((i + 1) % 3);
        }
      }
      uint64_t r = next();
      mxcsr = 0x1f80;
      if (i % 4 == 1) mxcsr |= (uint32_t)(r & 3) << 13;
      if (i % 6 == 2) mxcsr |= 0x8000;
      if (i % 6 == 3) mxcsr |= 0x0040;
      if (i % 5 == 4) mxcsr &= ~(0x80u << (r >> 8) % 6);
      if (i % 8 == 5) mxcsr |= 0x20;
      rax = b.half[0];
      mm = b.half[0];
      result = a;
      flags = 0;
      fault = sigsetjmp(after, 1) != 0;
      if (!fault) {
        asm volatile(
            "movq %[mm], %%mm1\n movq %[mm], %%mm0\n movaps %[result], %%xmm0\n movaps %[b], %%xmm1\n push $0x202\n popf\n ldmxcsr %[mxcsr]\n"
            "mov %[code], %%rdx\n mov %[raxin], %%rax\n call *%%rdx\n"
            "stmxcsr %[after]\n pushf\n pop %%rdx\n mov %%rdx, %[flags]\n mov %%rax, %[raxin]\n movaps %%xmm0, %[result]\n movq %%mm0, %[mm]\n emms"
            : [result] "+m"(result), [raxin] "+m"(rax), [mm] "+m"(mm), [after] "=m"(mxcsr_after), [flags] "=m"(flags)
            : [b] "m"(b), [mxcsr] "m"(mxcsr), [code] "m"(code), "D"(&b)
            : "rax", "rdx", "memory", "cc", "xmm0", "xmm1");
      }
      uint32_t calm = 0x1f80;
      asm volatile("ldmxcsr %0\n emms" : : "m"(calm));
      for (uint8_t *at = code; at < ends[n]; at++) printf("%02x", *at);
      printf(" %04x", mxcsr);
      print(a);
      print(b);
      vector shown = result;
      if (is_mmx[n]) shown.half[0] = mm, shown.half[1] = 0;
      printf(" %d", fault ? 19 : 0);
      print(shown);
      printf(" %016llx %03llx %04x\n", (unsigned long long)rax, (unsigned long long)(fault ? 0 : flags & 0x8d5), fault ? mxcsr_at_fault : mxcsr_after);
    }
    code = ends[n] + 1;
  }
  return 0;
}
