/*
 * Executes instruction cases on the processor this program runs on and reports what each one did.
 *
 *   run-cases <filler byte> < cases > results
 *
 * The register file of a case is loaded by returning from a signal handler whose saved context was
 * rewritten, and read back from the saved context of the next signal. So no line of assembly stands
 * between a case and the processor: every register, the stack pointer included, belongs to the case.
 * The case ends at the first breakpoint byte behind (or at the branch target of) its instruction, or
 * at the fault it raises. Compatibility-mode code is entered the same way, with the 32-bit code
 * selector in the saved context.
 *
 * Bytes around the memory operand area are set to the filler. Running the same cases with two fillers
 * and comparing the results shows a case that read outside its area; a write outside it is counted.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

enum { PAGE = 4096, AREA = 256, CODE_BYTES = 16, MAX_PAGES = 64 };
enum { CS_64BIT = 0x33, CS_32BIT = 0x23, STACK_SELECTOR = 0x2b };
enum { VECTOR_BREAKPOINT = 3, VECTOR_PAGE_FAULT = 14 };
enum { XSTATE_HEADER = 512, XSTATE_SSE = 2 };

/* Both layouts are repeated in run-cases.ts. Little endian, no padding. */
struct header {
  uint32_t case_count;
  uint32_t page_count;
  struct { uint64_t address; uint32_t executable; uint32_t reserved; } page[MAX_PAGES];
};

struct test_case {
  uint32_t mode; /* 32 or 64 */
  uint32_t code_length;
  uint64_t code_address;
  uint64_t memory_address;
  uint8_t code[CODE_BYTES];
  uint64_t gpr[16];
  uint64_t rflags;
  uint8_t xmm[256];
  uint8_t memory[AREA];
};

struct result {
  uint32_t vector; /* VECTOR_BREAKPOINT means: completed */
  uint32_t error_code;
  uint64_t fault_address;
  uint64_t rip;
  uint64_t gpr[16];
  uint64_t rflags;
  uint8_t xmm[256];
  uint8_t memory[AREA];
  uint64_t stray_bytes; /* bytes changed outside the memory area */
};

/* Saved-context slots in the order of register numbers in instruction encodings. */
static const int gpr_slot[16] = {
  REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
  REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static struct header header;
static struct test_case *cases;
static struct result *results;
static uint32_t current;
static int running;
static int filler;
static gregset_t home;

static void fail(const char *message) {
  fprintf(stderr, "run-cases: case %u: %s\n", current, message);
  exit(1);
}

static void fill_pages(void) {
  for (uint32_t i = 0; i < header.page_count; i++)
    memset((void *)header.page[i].address, header.page[i].executable ? 0xcc : filler, PAGE);
}

/* Only the pages that this case can reach are prepared: those of its memory area and its code. */
static int page_of_case(const struct test_case *c, uint64_t page) {
  uint64_t first = c->memory_address & ~(uint64_t)(PAGE - 1);
  uint64_t last = (c->memory_address + AREA - 1) & ~(uint64_t)(PAGE - 1);
  return page >= first && page <= last;
}

static void prepare(const struct test_case *c) {
  for (uint32_t i = 0; i < header.page_count; i++)
    if (page_of_case(c, header.page[i].address))
      memset((void *)header.page[i].address, filler, PAGE);
  memcpy((void *)c->memory_address, c->memory, AREA);
  memcpy((void *)c->code_address, c->code, c->code_length);
}

static uint64_t count_stray(const struct test_case *c) {
  uint64_t stray = 0;
  for (uint32_t i = 0; i < header.page_count; i++) {
    uint64_t page = header.page[i].address;
    if (!page_of_case(c, page)) continue;
    for (uint64_t a = page; a < page + PAGE; a++)
      if (a - c->memory_address >= AREA && *(uint8_t *)a != filler) stray++;
  }
  return stray;
}

static void load(ucontext_t *context, const struct test_case *c) {
  greg_t *g = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[gpr_slot[i]] = (greg_t)c->gpr[i];
  g[REG_EFL] = (greg_t)c->rflags;
  g[REG_RIP] = (greg_t)c->code_address;
  uint64_t selectors = (uint64_t)g[REG_CSGSFS] & 0x0000ffffffff0000ull;
  selectors |= c->mode == 64 ? CS_64BIT : CS_32BIT;
  g[REG_CSGSFS] = (greg_t)(selectors | (uint64_t)STACK_SELECTOR << 48);
  memcpy(context->uc_mcontext.fpregs->_xmm, c->xmm, sizeof c->xmm);
  uint64_t *components = (uint64_t *)((char *)context->uc_mcontext.fpregs + XSTATE_HEADER);
  *components |= XSTATE_SSE;
}

static void store(const ucontext_t *context, const struct test_case *c, struct result *r) {
  const greg_t *g = context->uc_mcontext.gregs;
  r->vector = (uint32_t)g[REG_TRAPNO];
  r->error_code = (uint32_t)g[REG_ERR];
  r->fault_address = r->vector == VECTOR_PAGE_FAULT ? (uint64_t)g[REG_CR2] : 0;
  r->rip = (uint64_t)g[REG_RIP] - (r->vector == VECTOR_BREAKPOINT);
  for (int i = 0; i < 16; i++) r->gpr[i] = (uint64_t)g[gpr_slot[i]];
  r->rflags = (uint64_t)g[REG_EFL];
  uint64_t components = *(uint64_t *)((char *)context->uc_mcontext.fpregs + XSTATE_HEADER);
  if (components & XSTATE_SSE) memcpy(r->xmm, context->uc_mcontext.fpregs->_xmm, sizeof r->xmm);
  memcpy(r->memory, (void *)c->memory_address, AREA);
  r->stray_bytes = count_stray(c);
}

static void on_signal(int signal_number, siginfo_t *information, void *pointer) {
  (void)signal_number, (void)information;
  ucontext_t *context = pointer;
  if (!running) {
    memcpy(home, context->uc_mcontext.gregs, sizeof home);
    running = 1;
  } else {
    const struct test_case *c = &cases[current];
    store(context, c, &results[current]);
    memset((void *)c->code_address, 0xcc, c->code_length);
    current++;
  }
  if (current == header.case_count) {
    memcpy(context->uc_mcontext.gregs, home, sizeof home);
    return;
  }
  prepare(&cases[current]);
  load(context, &cases[current]);
}

static void read_all(void *into, size_t length) {
  if (length != 0 && fread(into, length, 1, stdin) != 1) fail("the case file is too short");
}

static void map_pages(void) {
  for (uint32_t i = 0; i < header.page_count; i++) {
    void *at = (void *)header.page[i].address;
    int protection = PROT_READ | PROT_WRITE | (header.page[i].executable ? PROT_EXEC : 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    if (mmap(at, PAGE, protection, flags, -1, 0) != at) fail("cannot map a page of the cases");
  }
}

static void catch_signals(void) {
  size_t size = 1 << 18;
  stack_t stack = { .ss_sp = malloc(size), .ss_size = size };
  if (stack.ss_sp == NULL || sigaltstack(&stack, NULL) != 0) fail("no signal stack");
  struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
  sigfillset(&action.sa_mask);
  const int signals[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    if (sigaction(signals[i], &action, NULL) != 0) fail("cannot catch a signal");
}

int main(int count, char **arguments) {
  filler = count > 1 ? atoi(arguments[1]) & 0xff : 0;
  read_all(&header, sizeof header);
  if (header.page_count > MAX_PAGES) fail("too many pages");
  cases = calloc(header.case_count + 1, sizeof *cases);
  results = calloc(header.case_count + 1, sizeof *results);
  if (cases == NULL || results == NULL) fail("out of memory");
  read_all(cases, header.case_count * sizeof *cases);
  map_pages();
  fill_pages();
  catch_signals();
  alarm(120);
  /* 64-bit Linux processes start with null data selectors; compatibility mode needs real ones. */
  __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(STACK_SELECTOR));
  __asm__ volatile("int3" : : : "memory");
  fwrite(results, sizeof *results, header.case_count, stdout);
  return fflush(stdout) == 0 ? 0 : 1;
}
