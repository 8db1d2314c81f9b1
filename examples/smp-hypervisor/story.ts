import {
  al,
  eax,
  ecx,
  edi,
  edx,
  esi,
  type Label,
  type MemoryOperand,
  mem,
  mem32,
  mem64,
  r14,
  r15,
  rdi,
  rdx,
} from "../../src/isa/assembler-operands.ts";
import { lapic, port } from "./architecture.ts";
import { primesBelow, processor, stopReason, virtualProcessor } from "./memory.ts";
import type { Program } from "./program.ts";

/** What the processors do from beginning to end. Every LP runs the same story; some steps are for one LP alone. */

const loaderMagic = 0x2badb002;
/** The multiboot information: flags, and the size in KiB of the memory above 1 MiB, valid if flag 0 is set. */
const information = { flags: 0, upperMemory: 8 } as const;
const memorySizeValid = 1;
const allLines = 0xff;

/** A text, or the address of a number. */
type Part = string | MemoryOperand<64>;

interface Story extends Program {
  /** Writes a line into this LP's log. */
  readonly tell: (...parts: Part[]) => void;
  /** Writes to the console at once; for the BSP. */
  readonly announce: (...parts: Part[]) => void;
  /** Emits what only LP 0, or only the others, shall run. */
  readonly onBsp: (body: () => void) => void;
  readonly onAps: (body: () => void) => void;
  /** Waits until every LP is here, and has the BSP print the logs. */
  readonly turnPage: () => void;
}

const ofLp = (name: keyof typeof processor) => mem64(r15, { disp: processor[name] });
const ofVcpu = (name: keyof typeof virtualProcessor) =>
  mem64(r14, { disp: virtualProcessor[name] });

export function emitStory(program: Program): void {
  const { asm, at } = program;
  const story = createStory(program);
  const together = asm.label("story_together");

  asm.here(at.bsp_story);
  emitBspStart(program);
  asm.jmp(together);
  asm.here(at.ap_story);
  asm.call(at.ap_check_in);

  asm.here(together);
  emitAwakening(story);
  emitVmxOperation(story);
  emitComputing(story);
  emitInterrupting(story);
  emitMoving(story);
  emitEnd(story);
}

function createStory(program: Program): Story {
  const { asm, at, text, later } = program;
  const page = asm.label("turn_page");
  const notOurs = asm.label("turn_page.not_ours");
  let skips = 0;
  later(() => {
    asm.here(page);
    asm.call(at.barrier);
    asm.cmp(ofLp("index"), 0);
    asm.jne(notOurs);
    asm.call(at.print_logs);
    asm.here(notOurs);
    asm.jmp(at.barrier);
  });
  const write = (parts: Part[], textRoutine: Label, numberRoutine: Label) => {
    for (const part of parts) {
      if (typeof part === "string") {
        asm.lea(rdi, mem(text(part)));
        asm.call(textRoutine);
      } else {
        asm.mov(rdi, part);
        asm.call(numberRoutine);
      }
    }
  };
  return {
    ...program,
    tell(...parts) {
      asm.call(at.log_processor);
      write([...parts, "\n"], at.log_text, at.log_number);
    },
    announce(...parts) {
      asm.call(at.console_lock_take);
      write([...parts, "\n"], at.console_text, at.console_number);
      asm.call(at.console_lock_release);
    },
    onBsp(body) {
      const skip = asm.label(`story_skip_${skips++}`);
      asm.cmp(ofLp("index"), 0);
      asm.jne(skip);
      body();
      asm.here(skip);
    },
    onAps(body) {
      const skip = asm.label(`story_skip_${skips++}`);
      asm.cmp(ofLp("index"), 0);
      asm.je(skip);
      body();
      asm.here(skip);
    },
    turnPage() {
      asm.call(page);
    },
  };
}

/** What must be done once, before there are others. */
function emitBspStart(program: Program): void {
  const { asm, at } = program;
  asm.lea(r15, mem(at.processors));
  asm.call(at.console_init);
  emitLoaderCheck(program);
  // The legacy interrupt controllers keep silent.
  asm.mov(al, allLines);
  asm.out(port.picMasterMask, al);
  asm.out(port.picSlaveMask, al);
  asm.call(at.build_interrupt_table);
  asm.mov(edx, lapic.base);
  asm.mov(esi, mem32(rdx, { disp: lapic.id }));
  asm.shr(esi, 24);
  asm.xor(edi, edi);
  asm.call(at.processor_init);
  asm.call(at.wake_aps);
}

function emitLoaderCheck({ asm, at, text }: Program): void {
  const known = asm.label("loader_check.known");
  const enough = asm.label("loader_check.enough");
  const needed = at.memory_end.minus(at.multiboot_header);

  asm.mov(esi, mem32(at.boot_magic));
  asm.cmp(esi, loaderMagic);
  asm.je(known);
  asm.lea(rdi, mem(text("not started by a Multiboot loader; EAX was")));
  asm.jmp(at.fatal);
  asm.here(known);
  asm.mov(edx, mem32(at.boot_information));
  asm.test(mem32(rdx, { disp: information.flags }), memorySizeValid);
  asm.jz(enough);
  asm.mov(esi, mem32(rdx, { disp: information.upperMemory }));
  asm.mov(ecx, needed);
  asm.shr(ecx, 10);
  asm.cmp(esi, ecx);
  asm.jae(enough);
  asm.lea(rdi, mem(text("too little memory; KiB above 1 MiB:")));
  asm.jmp(at.fatal);
  asm.here(enough);
}

function emitAwakening({ at, tell, announce, onBsp, onAps, turnPage }: Story): void {
  onBsp(() => {
    announce("* logical processors that wake up: ", mem64(at.processor_count));
    tell("APIC ID ", ofLp("apicId"), ", started by the boot loader");
  });
  onAps(() => tell("APIC ID ", ofLp("apicId"), ", started by INIT and SIPI"));
  turnPage();
}

function emitVmxOperation({ asm, at, tell, announce, onBsp, turnPage }: Story): void {
  onBsp(() => {
    announce("* each enters VMX operation and makes a virtual processor");
    asm.call(at.build_guest_memory);
  });
  asm.call(at.vmx_on);
  asm.call(at.create_vcpu);
  tell("vCPU ", ofVcpu("index"), " is ready");
  turnPage();
}

function emitComputing({ asm, at, tell, announce, onBsp, turnPage }: Story): void {
  onBsp(() => announce("* the guests look for primes"));
  asm.call(at.run_vcpu);
  tell(
    ofVcpu("hypercalls"),
    " hypercalls, ",
    ofVcpu("pagesMapped"),
    " pages given on EPT violations",
  );
  turnPage();
  onBsp(() => announce("together: ", mem64(at.primes_total), ` primes below ${primesBelow}`));
}

function emitInterrupting({ asm, at, tell, announce, onBsp, turnPage }: Story): void {
  onBsp(() => announce("* the guests interrupt each other"));
  asm.call(at.run_vcpu);
  tell(ofVcpu("interruptsInjected"), " interrupts injected at VM entry");
  turnPage();
}

/** Every vCPU but the first is done at once. Then LP 1 takes vCPU 0 over; with one LP alone it stays where it is. */
function emitMoving({ asm, at, announce, onBsp, turnPage }: Story): void {
  const done = asm.label("story_moved");
  const runToTheEnd = () => {
    asm.call(at.run_vcpu);
    asm.cmp(eax, stopReason.released);
    asm.je(done);
    // A VMCS must not be left active on a processor that has no more use for it.
    asm.vmclear(ofVcpu("vmcs"));
    asm.jbe(at.vmx_failed);
  };
  onBsp(() => announce("* vCPU 0 moves from LP 0 to LP 1, if there is one"));
  runToTheEnd();
  asm.cmp(ofLp("index"), 1);
  asm.jne(done);
  asm.call(at.adopt_vcpu);
  runToTheEnd();
  asm.here(done);
  turnPage();
}

function emitEnd({ asm, at, announce, onBsp, turnPage }: Story): void {
  onBsp(() => announce("* each leaves VMX operation"));
  asm.call(at.vmx_off);
  turnPage();
  onBsp(() => {
    announce("* the end");
    asm.xor(edi, edi);
    asm.jmp(at.power_off);
  });
  const rest = asm.here("story_rest");
  asm.cli();
  asm.hlt();
  asm.jmp(rest);
}
