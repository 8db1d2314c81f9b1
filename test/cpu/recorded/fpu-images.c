/* Records what x87, MMX, FXSAVE and XSAVE code leaves behind on the host CPU. Every line is one case,
   `name code image flags rax memory`, hexadecimal:
   code    the machine code; it runs with RDI at 2048 bytes of memory, the FPU as after FNINIT, all its registers zero,
   image   the 512 bytes of FXSAVE64 after it, as differences from zero,
   memory  what the code made of the memory, as differences from before.
   The first line holds the memory before each case, as differences from 55H. Differences are `offset:bytes,…`.
   The instruction and data pointers are left out: this CPU saves them only while an exception is pending.
   gcc -O1 -mno-red-zone fpu-images.c -o fpu-images && ./fpu-images > fpu-images.txt */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CASE(name, text) \
  asm(".pushsection .text\n" #name "_begin:\n" text "\n" #name "_end: ret\n.popsection\n"); \
  extern char name##_begin[], name##_end[];

/* Memory operands, by offset:
   0    control words: 37f, 37e (invalid unmasked), 77f down, b7f up, f7f to zero, 27f 53 bits, ffff, 0; 16: MXCSR values
   32   single: 1.5, a denormal, a signaling NaN, -infinity
   64   double: pi, a denormal, a signaling NaN, 1e300
   96   extended: an unnormal; 112: a large number; 128: a denormal
   160  16-bit -5; 164: 32-bit 123456789; 168: 64-bit -2^62-1
   256  results; 512: a save area */

CASE(constants_nearest, "fld1; fldz; fldpi; fldl2e; fldl2t; fldlg2; fldln2")
CASE(constants_down, "fldcw 4(%rdi); fld1; fldz; fldpi; fldl2e; fldl2t; fldlg2; fldln2")
CASE(constants_up, "fldcw 6(%rdi); fld1; fldz; fldpi; fldl2e; fldl2t; fldlg2; fldln2")
CASE(constants_zero_53, "fldcw 8(%rdi); fldpi; fldl2e; fldl2t; fldlg2; fldln2")
CASE(load_formats, "flds 32(%rdi); flds 36(%rdi); fldl 64(%rdi); fldl 72(%rdi); fldt 96(%rdi); fldt 112(%rdi); fldt 128(%rdi)")
CASE(load_snan32, "flds 40(%rdi)")
CASE(load_snan64, "fldl 80(%rdi); flds 44(%rdi)")
CASE(load_integers, "filds 160(%rdi); fildl 164(%rdi); fildll 168(%rdi)")
CASE(load_register, "fld1; fldpi; fld %st(1); fld %st(0)")
CASE(stack_overflow, "fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fldz")
CASE(stack_overflow_open, "fldcw 2(%rdi); fld1; fld1; fld1; fld1; fld1; fld1; fld1; fld1; fldz")
CASE(stack_underflow, "fldz; fadd %st(3), %st")
CASE(stack_underflow_pop, "fld1; faddp %st, %st(2)")
CASE(stack_underflow_load, "fld1; fld %st(4)")
CASE(stack_underflow_store, "fsts 256(%rdi); fstpl 264(%rdi); fistps 272(%rdi); fstpt 280(%rdi)")
CASE(stack_underflow_open, "fldcw 2(%rdi); fstpl 264(%rdi)")
CASE(store_formats, "fldpi; fsts 256(%rdi); fstl 264(%rdi); fstpt 272(%rdi)")
CASE(store_down, "fldcw 4(%rdi); fldpi; fsts 256(%rdi); fstpl 264(%rdi)")
CASE(store_overflow, "fldl 88(%rdi); fsts 256(%rdi); fistl 264(%rdi)")
CASE(store_integers, "fldpi; fists 256(%rdi); fistl 260(%rdi); fchs; fistpll 264(%rdi)")
CASE(store_integers_up, "fldcw 6(%rdi); fldpi; fists 256(%rdi); fistl 260(%rdi); fchs; fistpll 264(%rdi)")
CASE(store_register, "fldpi; fld1; fst %st(3); fstp %st(1)")
CASE(add_memory, "fld1; fadds 32(%rdi); faddl 64(%rdi); fiaddl 164(%rdi); fiadds 160(%rdi)")
CASE(sub_memory, "fld1; fsubs 32(%rdi); fsubrl 64(%rdi); fisubl 164(%rdi); fisubrs 160(%rdi)")
CASE(mul_memory, "fldpi; fmuls 32(%rdi); fmull 64(%rdi); fimull 164(%rdi); fimuls 160(%rdi)")
CASE(div_memory, "fldpi; fdivs 32(%rdi); fdivrl 64(%rdi); fidivl 164(%rdi); fidivrs 160(%rdi)")
CASE(add_memory_denormal, "fld1; fadds 36(%rdi)")
CASE(add_memory_snan, "fld1; fadds 40(%rdi)")
CASE(directions, "fldpi; fld1; fadd %st(1), %st; fsub %st, %st(1); fsubr %st, %st(1); fdiv %st, %st(1); fdivr %st(1), %st; fmul %st, %st(1)")
CASE(directions_pop, "fldpi; fld1; fldl2e; fld1; fldln2; fsubp %st, %st(1); fsubrp %st, %st(1); fdivp %st, %st(1); fdivrp %st, %st(1)")
CASE(precision_53, "fldcw 10(%rdi); fldpi; fldl2e; fmulp %st, %st(1)")
CASE(divide_by_zero, "fld1; fldz; fdivrp %st, %st(1)")
CASE(invalid_masked, "fldz; fldz; fdivp %st, %st(1)")
CASE(invalid_open, "fldcw 2(%rdi); fldz; fldz; fdivp %st, %st(1)")
CASE(square_root, "fldpi; fsqrt; fld1; fchs; fsqrt")
CASE(round_integral, "fldpi; frndint; fldcw 6(%rdi); fldpi; frndint")
CASE(signs, "fldpi; fchs; fabs; fldt 96(%rdi); fchs")
CASE(compare_less, "fldpi; fld1; fcom %st(1)")
CASE(compare_greater_pop, "fld1; fldpi; fcomp %st(1)")
CASE(compare_equal_pops, "fld1; fld1; fcompp")
CASE(compare_unordered, "fldl 80(%rdi); fld1; fcom %st(1)")
CASE(compare_quiet, "fldl 80(%rdi); fnclex; fld1; fucom %st(1); fucompp")
CASE(compare_memory, "fld1; fcoms 32(%rdi); fcompl 64(%rdi); fld1; ficoms 160(%rdi); ficompl 164(%rdi)")
CASE(compare_empty, "fld1; fcom %st(3)")
CASE(compare_flags, "fldpi; fld1; fcomi %st(1), %st")
CASE(compare_flags_equal, "fld1; fld1; fucomip %st(1), %st")
CASE(compare_flags_unordered, "fldl 80(%rdi); fld1; fcomip %st(1), %st")
CASE(compare_flags_open, "fldl 80(%rdi); fnclex; fldcw 2(%rdi); fld1; cmp %edi, %edi; fcomip %st(1), %st")
CASE(test_zero, "fldz; fchs; ftst")
CASE(examine_empty, "fxam; fnstsw %ax")
CASE(examine_normal, "fldpi; fchs; fxam; fnstsw %ax")
CASE(examine_zero, "fldz; fxam; fnstsw %ax")
CASE(examine_denormal, "fldt 128(%rdi); fxam; fnstsw %ax")
CASE(examine_infinity, "flds 44(%rdi); fxam; fnstsw %ax")
CASE(examine_nan, "flds 40(%rdi); fxam; fnstsw %ax")
CASE(examine_unsupported, "fldt 96(%rdi); fxam; fnstsw %ax")
CASE(exchange, "fldpi; fld1; fldz; fxch %st(2)")
CASE(exchange_empty, "fldpi; fxch %st(2)")
CASE(moves_taken, "fldpi; fld1; xor %eax, %eax; fcmove %st(1), %st; fcmovb %st(1), %st")
CASE(moves_not_taken, "fldpi; fld1; xor %eax, %eax; fcmovne %st(1), %st; fcmovu %st(1), %st")
CASE(moves_empty, "fld1; fcmovne %st(5), %st")
CASE(freeing, "fldpi; fld1; fldz; ffree %st(1); ffreep %st(0)")
CASE(rotating, "fldpi; fincstp; fincstp; fld1; fdecstp; fnop")
CASE(control_all, "fldcw 12(%rdi); fnstcw 256(%rdi)")
CASE(control_none, "fldcw 14(%rdi); fnstcw 256(%rdi)")
CASE(status_word, "fldz; fld1; fdivp %st, %st(1); fnstsw 256(%rdi); fnstsw %ax; fnclex")
CASE(environment, "fldpi; fldz; flds 36(%rdi); fnstenv 256(%rdi)")
CASE(environment_16, "fldpi; fldz; fstp %st(0); data16 fnstenv 256(%rdi)")
CASE(environment_back, "fldpi; fld1; fldz; fnstenv 256(%rdi); fstp %st; fstp %st; fldenv 256(%rdi)")
CASE(save, "fldpi; fldt 128(%rdi); flds 36(%rdi); fnsave 256(%rdi)")
CASE(save_16, "fldpi; fldz; data16 fnsave 256(%rdi)")
CASE(save_restore, "fldpi; fldt 128(%rdi); fldz; fnsave 256(%rdi); fld1; frstor 256(%rdi); fld1")
CASE(mmx_moves, "movd 164(%rdi), %mm3; movq 168(%rdi), %mm5; movq %mm5, %mm1; movq %mm1, 256(%rdi); movd %mm3, %eax")
CASE(mmx_after_x87, "fldpi; fld1; movq 168(%rdi), %mm0")
CASE(mmx_empty, "movq 168(%rdi), %mm0; emms; fld1")
CASE(mmx_wide, "mov $0x1122334455667788, %rax; movq %rax, %mm2; movq %mm2, %rax")
CASE(fxsave_narrow, "fldpi; fldt 128(%rdi); movdqu 160(%rdi), %xmm3; movdqu 64(%rdi), %xmm9; fxsave 512(%rdi)")
CASE(fxsave_wide, "fldpi; fldt 128(%rdi); movdqu 160(%rdi), %xmm3; movdqu 64(%rdi), %xmm9; fxsave64 512(%rdi)")
CASE(fxrstor_wide, "fldpi; fldz; movdqu 160(%rdi), %xmm15; fxsave64 512(%rdi); fninit; pxor %xmm15, %xmm15; ldmxcsr 16(%rdi); fxrstor64 512(%rdi)")
CASE(fxrstor_pending, "fldpi; fxsave64 512(%rdi); orw $0x3105, 514(%rdi); movw $0x37b, 512(%rdi); movb $0x0f, 516(%rdi); fninit; fxrstor64 512(%rdi)")
CASE(mxcsr, "ldmxcsr 16(%rdi); stmxcsr 256(%rdi)")
CASE(xsave_initial, "mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi)")
CASE(xsave_used, "fldpi; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi)")
CASE(xsave_x87_only, "fldpi; movdqu 160(%rdi), %xmm3; mov $1, %eax; xor %edx, %edx; movq $3, 1024(%rdi); xsave64 512(%rdi)")
CASE(xsave_sse_only, "fldpi; movdqu 160(%rdi), %xmm3; mov $2, %eax; xor %edx, %edx; xsave 512(%rdi)")
CASE(xsave_none, "fldpi; xor %eax, %eax; xor %edx, %edx; movq $3, 1024(%rdi); xsave64 512(%rdi)")
CASE(xsavec_used, "fldpi; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsavec64 512(%rdi)")
CASE(xsavec_x87, "fldpi; mov $3, %eax; xor %edx, %edx; xsavec64 512(%rdi)")
CASE(xsavec_narrow, "fldpi; flds 32(%rdi); mov $3, %eax; xor %edx, %edx; xsavec 512(%rdi)")
CASE(xrstor_used, "fldpi; fldz; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi); fninit; pxor %xmm3, %xmm3; xrstor64 512(%rdi)")
CASE(xrstor_x87_only, "fldpi; fldz; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi); fninit; pxor %xmm3, %xmm3; mov $1, %eax; xrstor64 512(%rdi)")
CASE(xrstor_initial, "fldpi; fldz; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi); movq $0, 1024(%rdi); xrstor64 512(%rdi)")
CASE(xrstor_mxcsr, "ldmxcsr 16(%rdi); mov $3, %eax; xor %edx, %edx; xsave64 512(%rdi); ldmxcsr 20(%rdi); movq $0, 1024(%rdi); xrstor64 512(%rdi)")
CASE(xrstor_compacted, "fldpi; fldz; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsavec64 512(%rdi); fninit; pxor %xmm3, %xmm3; xrstor64 512(%rdi)")
CASE(xrstor_compacted_initial, "ldmxcsr 16(%rdi); fldpi; movdqu 160(%rdi), %xmm3; mov $3, %eax; xor %edx, %edx; xsavec64 512(%rdi); movq $0, 1024(%rdi); xrstor64 512(%rdi)")
CASE(components_initial, "mov $1, %ecx; xgetbv; and $3, %eax")
CASE(components_used, "fldpi; movdqu 160(%rdi), %xmm3; mov $1, %ecx; xgetbv; and $3, %eax")
CASE(components_mxcsr, "ldmxcsr 16(%rdi); mov $1, %ecx; xgetbv; and $3, %eax")

#define ROW(name) {#name, name##_begin, name##_end}
static const struct { const char *name; char *begin, *end; } cases[] = {
    ROW(constants_nearest), ROW(constants_down), ROW(constants_up), ROW(constants_zero_53), ROW(load_formats),
    ROW(load_snan32), ROW(load_snan64), ROW(load_integers), ROW(load_register), ROW(stack_overflow),
    ROW(stack_overflow_open), ROW(stack_underflow), ROW(stack_underflow_pop), ROW(stack_underflow_load),
    ROW(stack_underflow_store), ROW(stack_underflow_open), ROW(store_formats), ROW(store_down), ROW(store_overflow),
    ROW(store_integers), ROW(store_integers_up), ROW(store_register), ROW(add_memory), ROW(sub_memory), ROW(mul_memory),
    ROW(div_memory), ROW(add_memory_denormal), ROW(add_memory_snan), ROW(directions), ROW(directions_pop),
    ROW(precision_53), ROW(divide_by_zero), ROW(invalid_masked), ROW(invalid_open), ROW(square_root),
    ROW(round_integral), ROW(signs), ROW(compare_less), ROW(compare_greater_pop), ROW(compare_equal_pops),
    ROW(compare_unordered), ROW(compare_quiet), ROW(compare_memory), ROW(compare_empty), ROW(compare_flags),
    ROW(compare_flags_equal), ROW(compare_flags_unordered), ROW(compare_flags_open), ROW(test_zero), ROW(examine_empty),
    ROW(examine_normal), ROW(examine_zero), ROW(examine_denormal), ROW(examine_infinity), ROW(examine_nan),
    ROW(examine_unsupported), ROW(exchange), ROW(exchange_empty), ROW(moves_taken), ROW(moves_not_taken),
    ROW(moves_empty), ROW(freeing), ROW(rotating), ROW(control_all), ROW(control_none), ROW(status_word),
    ROW(environment), ROW(environment_16), ROW(environment_back), ROW(save), ROW(save_16), ROW(save_restore),
    ROW(mmx_moves), ROW(mmx_after_x87), ROW(mmx_empty), ROW(mmx_wide), ROW(fxsave_narrow), ROW(fxsave_wide),
    ROW(fxrstor_wide), ROW(fxrstor_pending), ROW(mxcsr), ROW(xsave_initial), ROW(xsave_used), ROW(xsave_x87_only),
    ROW(xsave_sse_only), ROW(xsave_none), ROW(xsavec_used), ROW(xsavec_x87), ROW(xsavec_narrow), ROW(xrstor_used),
    ROW(xrstor_x87_only), ROW(xrstor_initial), ROW(xrstor_mxcsr), ROW(xrstor_compacted), ROW(xrstor_compacted_initial),
    ROW(components_initial), ROW(components_used), ROW(components_mxcsr),
};

static uint8_t memory[2048] __attribute__((aligned(4096)));
static uint8_t before[2048];
static uint8_t image[512] __attribute__((aligned(64)));
static uint8_t clean[576] __attribute__((aligned(64)));

static void put(int offset, const void *value, int size) { memcpy(before + offset, value, size); }

static void print(const uint8_t *bytes, int count) {
  for (int i = 0; i < count; i++) printf("%02x", bytes[i]);
}

static void differences(const uint8_t *bytes, const uint8_t *from, uint8_t fill, int count) {
  int runs = 0;
  for (int i = 0; i < count; i++) {
    int begin = i;
    while (i < count && bytes[i] != (from ? from[i] : fill)) i++;
    if (i == begin) continue;
    printf("%s%x:", runs++ ? "," : "", begin);
    print(bytes + begin, i - begin);
  }
  if (!runs) printf("-");
}

int main(void) {
  memset(before, 0, sizeof before);
  memset(before + 256, 0x55, sizeof before - 256);
  static const uint16_t control[] = {0x37f, 0x37e, 0x77f, 0xb7f, 0xf7f, 0x27f, 0xffff, 0};
  put(0, control, sizeof control);
  static const uint32_t mxcsr[] = {0x7f80, 0x3f80};
  put(16, mxcsr, sizeof mxcsr);
  static const uint32_t floats[] = {0x3fc00000, 0x00000123, 0x7f800001, 0xff800000};
  put(32, floats, sizeof floats);
  static const uint64_t doubles[] = {0x400921fb54442d18, 0x800000000000abcd, 0xfff0000000000001, 0x7e37e43c8800759c};
  put(64, doubles, sizeof doubles);
  static const uint64_t extendeds[] = {0x4000000000000000, 0x3fff, 0x8123456789abcdef, 0x7ffe, 0x0000000000012345, 0x8000};
  put(96, extendeds, sizeof extendeds);
  int16_t i16 = -5;
  int32_t i32 = 123456789;
  int64_t i64 = -0x4000000000000001;
  put(160, &i16, 2);
  put(164, &i32, 4);
  put(168, &i64, 8);
  /* XSAVE headers start as zero. */
  memset(before + 1024, 0, 64);
  uint16_t cw = 0x37f;
  uint32_t mx = 0x1f80;
  memcpy(clean, &cw, 2);
  memcpy(clean + 24, &mx, 4);
  differences(before, NULL, 0x55, sizeof before);
  printf("\n");
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    memcpy(memory, before, sizeof memory);
    memset(image, 0, sizeof image);
    uint64_t flags, rax;
    asm volatile(
        "xor %%edx, %%edx\n mov $3, %%eax\n xrstor64 %[clean]\n"
        "push $0x202\n popf\n xor %%eax, %%eax\n xor %%ecx, %%ecx\n"
        "call *%[code]\n"
        "pushf\n pop %[flags]\n"
        "fxsave64 %[image]\n fninit\n"
        : [flags] "=&r"(flags), "=&a"(rax), [image] "=m"(image)
        : [code] "r"(cases[i].begin), "D"(memory), [clean] "m"(clean)
        : "rdx", "rcx", "memory", "cc", "xmm3", "xmm9", "xmm15");
    memset(image + 8, 0, 16);
    printf("%s ", cases[i].name);
    print((uint8_t *)cases[i].begin, cases[i].end - cases[i].begin);
    printf(" ");
    differences(image, NULL, 0, sizeof image);
    printf(" %03llx %016llx ", (unsigned long long)(flags & 0x8d5), (unsigned long long)rax);
    differences(memory, before, 0, sizeof memory);
    printf("\n");
  }
  return 0;
}
