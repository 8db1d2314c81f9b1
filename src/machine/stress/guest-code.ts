import { accountField, accountOf, guestPlace } from "../../hypervisor/posting/posting-memory.ts";
import { type Assembler, createAssembler } from "../../isa/assembler.ts";
import {
  cl,
  eax,
  ebx,
  ecx,
  edx,
  type Label,
  mem32,
  mem64,
  r9d,
  r10d,
  r11d,
  r13,
  r14d,
  r15,
  rax,
  rbx,
  rcx,
  rdx,
} from "../../isa/assembler-operands.ts";

/** A guest of machine code, to be placed at `guestPlace.code`. */
export interface GuestCode {
  readonly bytes: Uint8Array;
  /** Where a vCPU begins, and where an interrupt's handler does. */
  readonly entry: (vcpu: number) => bigint;
  readonly gate: (vector: number) => bigint | undefined;
}

export interface GuestCodeHabits {
  readonly vcpus: number;
  readonly vectors: readonly number[];
  /** Vectors of devices, by interrupt number: where the device records what it sends. */
  readonly devices: readonly { readonly vector: number; readonly record: number }[];
  /** Turns of an empty loop in a round of work. */
  readonly work: number;
  /** Rounds between two halts and between two IPIs, 0 for never. */
  readonly halts: number;
  readonly ipis: number;
  readonly ipiVector: number;
  /** The first vCPU sends IPIs too. */
  readonly firstPosts: boolean;
  /** Handlers measure how long it took. */
  readonly measures: boolean;
}

const msr = { eoi: 0x80b, command: 0x830 } as const;
const accountShift = 13;
const entryBytes = 64;
/** Eight buckets for each factor of 2, by the three bits behind the highest. */
const bucketBits = 3;

/** Least value of a bucket of latencies that a handler counts. */
export const latencyOfBucket = (bucket: number): number =>
  ((bucket & 7) + 8) * 2 ** ((bucket >>> bucketBits) - 1);
export const latencyBuckets = 512;

/**
 * Machine code that takes interrupts and counts them. A handler adds to its vector's account and notes the number of the last
 * post it can see; R15 is where the vCPU's accounts are, R13 where its latencies.
 */
export function assembleGuest(habits: GuestCodeHabits): GuestCode {
  const asm = createAssembler({ origin: guestPlace.code, bits: 64 });
  const main = asm.label("main");
  for (let vcpu = 0; vcpu < habits.vcpus; vcpu++) {
    asm.align(entryBytes);
    asm.mov(r15, accountOf(vcpu, 0));
    asm.mov(r13, guestPlace.latencies + vcpu * 4096);
    asm.mov(r14d, vcpu);
    asm.mov(r9d, vcpu);
    asm.mov(r10d, Math.max(1, habits.halts));
    asm.mov(r11d, Math.max(1, habits.ipis));
    asm.jmp(main);
  }
  emitMain(asm, main, habits);
  emitHandlers(asm, habits);
  const assembly = asm.assemble();
  return {
    bytes: assembly.bytes,
    entry: (vcpu) => BigInt(guestPlace.code + vcpu * entryBytes),
    gate: (vector) => assembly.symbols.get(handlerName(vector)),
  };
}

function emitMain(asm: Assembler, main: Label, habits: GuestCodeHabits): void {
  asm.here(main);
  asm.sti();
  const round = asm.here("round");
  const finish = asm.label("finish");
  asm.cmp(mem32(guestPlace.stop), 0);
  asm.jne(finish);
  asm.mov(ecx, Math.max(1, habits.work));
  const work = asm.here("work");
  asm.dec(ecx);
  asm.jne(work);
  if (habits.ipis > 0) every(asm, "ipi", r11d, habits.ipis, () => emitIpi(asm, habits));
  if (habits.halts > 0) every(asm, "halt", r10d, habits.halts, () => asm.hlt());
  asm.jmp(round);
  asm.here(finish);
  asm.hlt();
  asm.jmp(finish);
}

function every(
  asm: Assembler,
  name: string,
  counter: typeof r10d,
  rounds: number,
  emit: () => void,
): void {
  const not = asm.label(`no ${name}`);
  asm.dec(counter);
  asm.jne(not);
  asm.mov(counter, rounds);
  emit();
  asm.here(not);
}

/** To the next of the other vCPUs in turn. The account comes before the IPI. */
function emitIpi(asm: Assembler, habits: GuestCodeHabits): void {
  const { vcpus, ipiVector, firstPosts, measures } = habits;
  const silent = asm.label("silent");
  if (!firstPosts) {
    asm.test(r14d, r14d);
    asm.je(silent);
  }
  const chosen = asm.label("target");
  const another = asm.here("another target");
  asm.inc(r9d);
  asm.cmp(r9d, vcpus);
  asm.jb(chosen);
  asm.xor(r9d, r9d);
  asm.here(chosen);
  asm.cmp(r9d, r14d);
  asm.je(another);
  if (measures) {
    asm.rdtsc();
    asm.shl(rdx, 32);
    asm.or(rax, rdx);
    asm.mov(rcx, rax);
  }
  asm.mov(ebx, r9d);
  asm.shl(ebx, accountShift);
  const account = accountOf(0, ipiVector);
  if (measures) {
    asm.xor(eax, eax);
    asm.lock.cmpxchg(mem64(rbx, { disp: account + accountField.since }), rcx);
  }
  asm.lock.inc(mem64(rbx, { disp: account + accountField.posted }));
  asm.mov(ecx, msr.command);
  asm.mov(edx, r9d);
  asm.mov(eax, ipiVector);
  asm.wrmsr();
  asm.here(silent);
}

const handlerName = (vector: number): string => `handler of vector ${vector}`;

function emitHandlers(asm: Assembler, habits: GuestCodeHabits): void {
  const posted = asm.label("account of a post");
  const device = asm.label("account of a device");
  const records = new Map(habits.devices.map(({ vector, record }) => [vector, record]));
  for (const vector of new Set([...habits.vectors, habits.ipiVector, ...records.keys()])) {
    asm.here(handlerName(vector));
    for (const register of [rax, rcx, rdx, rbx]) asm.push(register);
    asm.mov(ebx, accountOf(0, vector) - guestPlace.accounts);
    asm.add(rbx, r15);
    asm.inc(mem64(rbx, { disp: accountField.delivered }));
    const record = records.get(vector);
    if (record === undefined) {
      asm.jmp(posted);
    } else {
      asm.mov(edx, record);
      asm.jmp(device);
    }
  }
  const measure = asm.label("measure");
  asm.here(posted);
  asm.mov(rax, mem64(rbx, { disp: accountField.posted }));
  asm.mov(mem64(rbx, { disp: accountField.seen }), rax);
  asm.xor(ecx, ecx);
  if (habits.measures) asm.xchg(mem64(rbx, { disp: accountField.since }), rcx);
  asm.jmp(measure);
  asm.here(device);
  asm.mov(eax, mem32(rdx));
  asm.mov(mem64(rbx, { disp: accountField.seen }), rax);
  asm.mov(rcx, mem64(rdx, { disp: 8 }));
  asm.here(measure);
  if (habits.measures) emitMeasure(asm);
  asm.mov(ecx, msr.eoi);
  asm.xor(eax, eax);
  asm.xor(edx, edx);
  asm.wrmsr();
  for (const register of [rbx, rdx, rcx, rax]) asm.pop(register);
  asm.iretq();
}

/** Counts the time since RCX; 0 there means that it is not known. */
function emitMeasure(asm: Assembler): void {
  const done = asm.label("measured");
  asm.test(rcx, rcx);
  asm.je(done);
  asm.rdtsc();
  asm.shl(rdx, 32);
  asm.or(rax, rdx);
  asm.sub(rax, rcx);
  asm.jbe(done);
  asm.bsr(rcx, rax);
  asm.sub(ecx, bucketBits);
  asm.jb(done);
  asm.shr(rax, cl);
  asm.lea(rcx, mem64(rax, { index: rcx, scale: 8 }));
  asm.inc(mem64(r13, { index: rcx, scale: 8 }));
  asm.here(done);
}
