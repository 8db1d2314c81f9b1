import type { Prng } from "../../../base/prng.ts";
import type { GuestImage } from "../../../hypervisor/reference/guest-software.ts";
import { hypercall } from "../../../hypervisor/reference/vectors.ts";
import type { LockKind, SpinlockWorkload } from "../../../hypervisor/scenario.ts";
import {
  codeAddress,
  guardedWord,
  lockLine,
  nodeLocked,
  nodeNext,
  waitingSlots,
  waitingWord,
  workWord,
} from "../../../hypervisor/workloads/guest-memory-map.ts";
import { type Assembler, createAssembler } from "../../../isa/assembler.ts";
import {
  eax,
  ecx,
  edi,
  edx,
  type Label,
  mem64,
  r8,
  r11,
  r11w,
  r12,
  r13,
  r14,
  r15,
  rax,
  rbx,
  rcx,
  rdi,
  rdx,
} from "../../../isa/assembler-operands.ts";
import { clockFrequencyHz } from "../../clock.ts";

/** Where a vCPU's entry lies behind that of the vCPU before it. */
const entryBytes = 64;
/** What a turn of an empty loop takes: two instructions of a cycle each. */
const nanosecondsPerTurn = (2 * 1e9) / clockFrequencyHz;
const turns = (nanoseconds: number): number =>
  Math.max(1, Math.round(nanoseconds / nanosecondsPerTurn));

/** Words of lock 0; those of lock n lie `lockStride` bytes further for each. */
const first = { word: Number(lockLine(0, 0)), waiting: Number(waitingWord(0, 0)) } as const;
const lockStride = Number(lockLine(1, 0) - lockLine(0, 0));
/** From a lock's first line to its others, to the slots of its sleepers, and from a queue node's word to the link behind it. */
const serving = Number(lockLine(0, 1) - lockLine(0, 0));
const guarded = Number(guardedWord(0) - lockLine(0, 0));
const waiting = first.waiting - first.word;
const next = Number(nodeNext(0) - nodeLocked(0));

/**
 * The kernel of a guest that does what the workload `spinlock` does, in machine code: every vCPU computes, takes one of the VM's
 * locks, computes, gives it back, and counts the round in a word of its own (`workWord`). Computing is a loop of a known length. Whoever has the
 * lock also counts in a word that only the lock protects (`guardedWord`): the counts differ if two ever have it at once.
 *
 * R11 is chance, R12 the lock, R13 the vCPU's queue node, R14 its number plus one, R15 the address of its count.
 */
export function assembleLockContest(
  workload: SpinlockWorkload,
  vcpus: number,
  random: Prng,
): GuestImage {
  const asm = createAssembler({ origin: codeAddress, bits: 64 });
  const round = asm.label("round");
  for (let vcpu = 0; vcpu < vcpus; vcpu++) {
    asm.align(entryBytes);
    asm.mov(r11, (BigInt(random.next()) << 32n) | BigInt(random.next() | 1));
    asm.mov(r12, first.word);
    asm.mov(r13, nodeLocked(vcpu));
    asm.mov(r14, vcpu + 1);
    asm.mov(r15, workWord(vcpu));
    asm.sti();
    asm.jmp(round);
  }
  emitRound(asm, round, workload);
  const { bytes } = asm.assemble();
  return {
    bytes,
    address: codeAddress,
    entry: (vcpu) => BigInt(codeAddress + vcpu * entryBytes),
    gate: () => undefined,
  };
}

function emitRound(asm: Assembler, round: Label, workload: SpinlockWorkload): void {
  const { think, hold, locks, lock, spins } = workload;
  const { acquire, release } = emitters[lock];
  asm.here(round);
  emitChance(asm);
  // From half to one and a half of the time, evenly.
  asm.movzx(eax, r11w);
  asm.mov(rcx, turns(think));
  asm.imul(rax, rcx);
  asm.shr(rax, 16);
  asm.mov(rcx, turns(think / 2));
  asm.add(rcx, rax);
  emitCompute(asm, "think");
  if (locks > 1) {
    asm.mov(rax, r11);
    asm.shr(rax, 48);
    asm.imul(eax, eax, locks);
    asm.shr(eax, 16);
    asm.imul(eax, eax, lockStride);
    asm.lea(r12, mem64(rax, { disp: first.word }));
  }
  acquire(asm, spins);
  asm.mov(r8, mem64(r12, { disp: guarded }));
  asm.mov(rcx, turns(hold));
  emitCompute(asm, "hold");
  asm.inc(r8);
  asm.mov(mem64(r12, { disp: guarded }), r8);
  release(asm);
  asm.inc(mem64(r15));
  asm.jmp(round);
}

/** The next number of a generator by shifts (Marsaglia's, 13, 7, 17) in R11. */
function emitChance(asm: Assembler): void {
  asm.mov(rax, r11);
  asm.shl(rax, 13);
  asm.xor(r11, rax);
  asm.mov(rax, r11);
  asm.shr(rax, 7);
  asm.xor(r11, rax);
  asm.mov(rax, r11);
  asm.shl(rax, 17);
  asm.xor(r11, rax);
}

/** Turns a loop RCX times. */
function emitCompute(asm: Assembler, name: string): void {
  const turn = asm.here(name);
  asm.dec(rcx);
  asm.jne(turn);
}

interface LockEmitter {
  /** @param spins rounds of PAUSE before a paravirtual waiter halts */
  readonly acquire: (asm: Assembler, spins: number) => void;
  readonly release: (asm: Assembler) => void;
}

const testAndSet: LockEmitter = {
  acquire(asm) {
    const [attempt, wait, taken] = labels(asm, "attempt", "wait", "taken");
    asm.here(attempt);
    asm.mov(eax, 1);
    asm.xchg(mem64(r12), rax);
    asm.test(rax, rax);
    asm.je(taken);
    asm.here(wait);
    asm.pause();
    asm.cmp(mem64(r12), 0);
    asm.jne(wait);
    asm.jmp(attempt);
    asm.here(taken);
  },
  release: (asm) => asm.mov(mem64(r12), 0),
};

const ticket: LockEmitter = {
  acquire(asm) {
    const [wait, taken] = labels(asm, "wait", "taken");
    asm.mov(eax, 1);
    asm.lock.xadd(mem64(r12), rax);
    asm.here(wait);
    asm.cmp(mem64(r12, { disp: serving }), rax);
    asm.je(taken);
    asm.pause();
    asm.jmp(wait);
    asm.here(taken);
  },
  release: (asm) => asm.inc(mem64(r12, { disp: serving })),
};

const mcs: LockEmitter = {
  acquire(asm) {
    const [wait, taken] = labels(asm, "wait", "taken");
    asm.mov(mem64(r13), 1);
    asm.mov(mem64(r13, { disp: next }), 0);
    asm.mov(rax, r13);
    asm.xchg(mem64(r12), rax);
    asm.test(rax, rax);
    asm.je(taken);
    asm.mov(mem64(rax, { disp: next }), r13);
    asm.here(wait);
    asm.cmp(mem64(r13), 0);
    asm.je(taken);
    asm.pause();
    asm.jmp(wait);
    asm.here(taken);
  },
  release(asm) {
    const [follower, handOver, released] = labels(asm, "follower", "hand over", "released");
    asm.mov(rcx, mem64(r13, { disp: next }));
    asm.test(rcx, rcx);
    asm.jne(handOver);
    asm.mov(rax, r13);
    asm.lock.cmpxchg(mem64(r12), rcx);
    asm.je(released);
    // Somebody has queued behind, and is about to say so.
    asm.here(follower);
    asm.pause();
    asm.mov(rcx, mem64(r13, { disp: next }));
    asm.test(rcx, rcx);
    asm.je(follower);
    asm.here(handOver);
    asm.mov(mem64(rcx), 0);
    asm.here(released);
  },
};

/** A ticket lock whose waiters halt after a while; whoever hands it over wakes the next by a hypercall. */
const paravirtual: LockEmitter = {
  acquire(asm, spins) {
    const [patience, wait, taken] = labels(asm, "patience", "wait", "taken");
    asm.mov(edx, 1);
    asm.lock.xadd(mem64(r12), rdx);
    asm.here(patience);
    asm.mov(ecx, spins);
    asm.here(wait);
    asm.cmp(mem64(r12, { disp: serving }), rdx);
    asm.je(taken);
    asm.pause();
    asm.dec(ecx);
    asm.jne(wait);
    asm.mov(rax, r14);
    emitSlot(asm);
    asm.xchg(mem64(r12, { index: rdi, scale: 8, disp: waiting }), rax);
    asm.cmp(mem64(r12, { disp: serving }), rdx);
    asm.je(taken);
    asm.hlt();
    asm.jmp(patience);
    asm.here(taken);
  },
  release(asm) {
    const [released] = labels(asm, "released");
    asm.mov(rdx, mem64(r12, { disp: serving }));
    asm.inc(rdx);
    asm.mov(mem64(r12, { disp: serving }), rdx);
    emitSlot(asm);
    asm.xor(eax, eax);
    asm.xchg(mem64(r12, { index: rdi, scale: 8, disp: waiting }), rax);
    asm.test(rax, rax);
    asm.je(released);
    asm.lea(rbx, mem64(rax, { disp: -1 }));
    asm.mov(eax, hypercall.kick);
    asm.vmcall();
    asm.here(released);
  },
};

/** The number of the slot where who has the ticket in RDX says that it sleeps. */
function emitSlot(asm: Assembler): void {
  asm.mov(edi, edx);
  asm.and(edi, waitingSlots - 1);
}

const emitters: Readonly<Record<LockKind, LockEmitter>> = {
  "test-and-set": testAndSet,
  ticket,
  mcs,
  paravirtual,
};

function labels<const Names extends readonly string[]>(
  asm: Assembler,
  ...names: Names
): { readonly [N in keyof Names]: Label } {
  return names.map((name) => asm.label(name)) as { readonly [N in keyof Names]: Label };
}
