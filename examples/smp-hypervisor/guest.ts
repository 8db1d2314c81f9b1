import {
  al,
  dx,
  eax,
  ebx,
  ecx,
  edx,
  type Label,
  mem,
  mem8,
  mem32,
  mem64,
  r8,
  r9,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
  rsp,
} from "../../src/isa/assembler-operands.ts";
import { emitWriteNumber, emitWriteText } from "./console.ts";
import {
  guestConsolePort,
  guestInformation,
  guestMap,
  guestVector,
  hypercall,
  pageSize,
} from "./memory.ts";
import { apart, type Program } from "./program.ts";

/**
 * The guest: one program that every vCPU runs, knowing nothing of the hypervisor but its hypercalls. It is assembled
 * for guest-physical 1000h, where EPT shows it. R12 points to what the vCPU was told, all the time: the interrupt
 * handler relies on it.
 */

/** How often each vCPU interrupts the next one. */
export const interruptRounds = 50;
/** The checksum: a linear congruential generator stepped so often before and so often after the invitation to move. */
export const checksum = {
  seed: 1n,
  multiplier: 6364136223846793005n,
  increment: 1442695040888963407n,
  stepsPerHalf: 200_000,
} as const;

const hypervisorLeaf = 0x40000000;
const interruptGate = 0x8e00;
const gateSize = 16;
const codeSelector = 0x08;

const told = (name: keyof typeof guestInformation) => mem64(r12, { disp: guestInformation[name] });

/** What the phases of the guest's program use. */
interface Guest extends Program {
  readonly say: (text: string) => void;
  /** The address of the text is in RDI. */
  readonly sayText: () => void;
  /** The number is in RDI. */
  readonly sayNumber: () => void;
  readonly sayHex: () => void;
  readonly ask: (call: keyof typeof hypercall) => void;
}

/** Emits the guest's program in whole pages. */
export function emitGuest(host: Program): void {
  const { asm, at } = host;
  const guest = createGuest(apart(host, "guest_text"));

  asm.align(pageSize);
  asm.here(at.guest_program);
  asm.runAt(guestMap.program, () => {
    asm.here(at.guest_entry);
    emitDescriptors(guest);
    emitHello(guest);
    emitPrimes(guest);
    guest.ask("endOfPhase");
    emitInterruptRing(guest);
    guest.ask("endOfPhase");
    emitMove(guest);
    const over = asm.here("guest_over");
    guest.ask("endOfPhase");
    asm.jmp(over);
    guest.emitDeferred();
    asm.align(pageSize);
  });
  asm.here(at.guest_program_end);
}

function createGuest(program: Program): Guest {
  const { asm, text, later } = program;
  const character = asm.label("guest_put_character");
  const writeText = asm.label("guest_write_text");
  const writeNumber = asm.label("guest_write_number");
  const writeHex = asm.label("guest_write_hex");
  later(() => {
    asm.here(character);
    asm.mov(edx, guestConsolePort);
    asm.out(dx, al);
    asm.ret();
    emitWriteText(program, writeText, character);
    emitWriteNumber(program, writeNumber, character, 10);
    emitWriteNumber(program, writeHex, character, 16);
  });
  return {
    ...program,
    say(words) {
      asm.lea(rdi, mem(text(words)));
      asm.call(writeText);
    },
    sayText() {
      asm.call(writeText);
    },
    sayNumber() {
      asm.call(writeNumber);
    },
    sayHex() {
      asm.call(writeHex);
    },
    ask(call) {
      asm.mov(eax, hypercall[call]);
      asm.vmcall();
    },
  };
}

/**
 * The guest may not write its program's pages, so the descriptors have their accessed bits set already. Only one vector
 * has a gate; its handler lies below 64 KiB, so the upper parts of its address are zero.
 */
function emitDescriptors({ asm, later }: Program): void {
  const gdtPointer = asm.label("guest_gdt_pointer");
  const idtPointer = asm.label("guest_idt_pointer");
  const gdt = asm.label("guest_gdt");
  const idt = asm.label("guest_idt");
  const descriptors = [0n, 0x00af9b000000ffffn, 0x00cf93000000ffffn];

  asm.mov(r12, rdi);
  asm.lgdt(mem(gdtPointer));
  asm.lidt(mem(idtPointer));
  later(() => {
    const handler = asm.here("guest_interrupt");
    asm.inc(told("interruptsTaken"));
    asm.iretq();
    asm.align(16);
    asm.here(gdt);
    asm.u64(...descriptors);
    asm.here(idt);
    asm.reserve(guestVector * gateSize);
    asm.u16(handler, codeSelector, interruptGate, 0);
    asm.u64(0);
    asm.here(gdtPointer);
    asm.u16(8 * descriptors.length - 1);
    asm.u64(gdt);
    asm.here(idtPointer);
    asm.u16((guestVector + 1) * gateSize - 1);
    asm.u64(idt);
  });
}

/** CPUID tells the name of the hypervisor in EBX, ECX and EDX. */
function emitHello({ asm, say, sayText }: Guest): void {
  asm.mov(eax, hypervisorLeaf);
  asm.cpuid();
  asm.push(0);
  asm.push(0);
  asm.mov(mem32(rsp), ebx);
  asm.mov(mem32(rsp, { disp: 4 }), ecx);
  asm.mov(mem32(rsp, { disp: 8 }), edx);
  say("hello; CPUID calls my hypervisor ");
  asm.mov(rdi, rsp);
  sayText();
  asm.add(rsp, 16);
  say("\n");
}

/**
 * The sieve of Eratosthenes on this vCPU's slice, R14 to R15, one byte per number from R13 on: a byte is struck when
 * its number is the multiple of a prime. The memory comes into being as it is touched.
 */
function emitPrimes(guest: Guest): void {
  const { asm, say, sayNumber, ask } = guest;
  const nextPrime = asm.label("guest_primes.next_prime");
  const strike = asm.label("guest_primes.strike");
  const struck = asm.label("guest_primes.struck");
  const skip = asm.label("guest_primes.skip");
  const count = asm.label("guest_primes.count");
  const add = asm.label("guest_primes.add");

  asm.mov(r13, told("sliceMemory"));
  asm.mov(r14, told("sliceStart"));
  asm.mov(r15, told("sliceEnd"));
  asm.mov(rdi, r13);
  asm.mov(rcx, r15);
  asm.sub(rcx, r14);
  asm.mov(al, 1);
  asm.rep.stosb();

  // R9 + n is the byte of number n.
  asm.mov(r9, r13);
  asm.sub(r9, r14);
  asm.mov(ebx, 2);
  asm.here(nextPrime);
  asm.mov(r8, rbx);
  asm.imul(r8, rbx);
  asm.cmp(r8, r15);
  asm.jae(count);
  emitSkipUnlessPrime(guest, skip);
  // The first multiple to strike: in the slice, and not below the square, as smaller ones have a smaller factor.
  asm.lea(rax, mem(r14, { index: rbx, disp: -1 }));
  asm.xor(edx, edx);
  asm.div(rbx);
  asm.imul(rax, rbx);
  asm.cmp(rax, r8);
  asm.cmovb(rax, r8);
  asm.jmp(struck);
  asm.here(strike);
  asm.mov(mem8(r9, { index: rax }), 0);
  asm.add(rax, rbx);
  asm.here(struck);
  asm.cmp(rax, r15);
  asm.jb(strike);
  asm.here(skip);
  asm.inc(ebx);
  asm.jmp(nextPrime);

  asm.here(count);
  asm.xor(ebx, ebx);
  asm.mov(rcx, r14);
  asm.here(add);
  asm.movzx(eax, mem8(r9, { index: rcx }));
  asm.add(rbx, rax);
  asm.inc(rcx);
  asm.cmp(rcx, r15);
  asm.jb(add);

  asm.mov(rdi, rbx);
  sayNumber();
  say(" primes from ");
  asm.mov(rdi, r14);
  sayNumber();
  say(" to ");
  asm.lea(rdi, mem(r15, { disp: -1 }));
  sayNumber();
  say("\n");
  ask("reportPrimes");
}

/** Trial division: RBX is below 1000, so that is quick. */
function emitSkipUnlessPrime({ asm }: Guest, skip: Label): void {
  const divide = asm.label("guest_primes.divide");
  const prime = asm.label("guest_primes.prime");

  asm.mov(ecx, 2);
  asm.here(divide);
  asm.mov(eax, ecx);
  asm.mul(ecx);
  asm.cmp(eax, ebx);
  asm.ja(prime);
  asm.mov(eax, ebx);
  asm.xor(edx, edx);
  asm.div(ecx);
  asm.test(edx, edx);
  asm.jz(skip);
  asm.inc(ecx);
  asm.jmp(divide);
  asm.here(prime);
}

/**
 * Every vCPU interrupts the next one, the last one the first, and waits for its own interrupt before the next round.
 * Interrupts are off between looking and HLT, and STI lets them in only after HLT has begun: none is slept through.
 */
function emitInterruptRing({ asm, say, sayNumber, ask }: Guest): void {
  const last = asm.label("guest_ring.last");
  const wait = asm.label("guest_ring.wait");
  const arrived = asm.label("guest_ring.arrived");

  asm.mov(r13, 1);
  const round = asm.here("guest_ring.round");
  asm.mov(rbx, told("index"));
  asm.inc(rbx);
  asm.cmp(rbx, told("count"));
  asm.jb(last);
  asm.xor(ebx, ebx);
  asm.here(last);
  ask("sendInterrupt");
  asm.here(wait);
  asm.cli();
  asm.cmp(told("interruptsTaken"), r13);
  asm.jae(arrived);
  asm.sti();
  asm.hlt();
  asm.jmp(wait);
  asm.here(arrived);
  asm.inc(r13);
  asm.cmp(r13, interruptRounds);
  asm.jbe(round);
  asm.sti();

  asm.mov(rdi, told("interruptsTaken"));
  sayNumber();
  say(" interrupts taken, each after one of mine to the next vCPU\n");
}

/** vCPU 0 computes while it is moved to another LP, and must not notice but for asking where it is. */
function emitMove(guest: Guest): void {
  const { asm, say, sayNumber, sayHex, ask } = guest;
  const others = asm.label("guest_move.others");
  const report = (words: string) => {
    say(words);
    asm.mov(rdi, r13);
    sayHex();
    say(" on LP ");
    ask("whereAmI");
    asm.mov(rdi, rax);
    sayNumber();
    say("\n");
  };
  const halfTheSteps = (name: string) => {
    asm.mov(rax, checksum.multiplier);
    asm.mov(rdx, checksum.increment);
    asm.mov(ecx, checksum.stepsPerHalf);
    const step = asm.here(name);
    asm.imul(r13, rax);
    asm.add(r13, rdx);
    asm.dec(ecx);
    asm.jnz(step);
  };

  asm.cmp(told("index"), 0);
  asm.jne(others);
  asm.mov(r13, checksum.seed);
  halfTheSteps("guest_move.first_half");
  report("half of my checksum is ");
  ask("readyToMove");
  halfTheSteps("guest_move.second_half");
  const wait = asm.here("guest_move.wait");
  asm.pause();
  asm.cmp(told("moved"), 0);
  asm.je(wait);
  report("all of my checksum is ");
  asm.here(others);
}
