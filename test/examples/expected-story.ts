import { checksum, interruptRounds } from "../../examples/smp-hypervisor/guest.ts";
import { primesBelow } from "../../examples/smp-hypervisor/memory.ts";

/** What the example hypervisor must print on `processors` LPs, worked out here without running any of its code. */
export function expectedStory(processors: number): string {
  const slices = Array.from({ length: processors }, (_, index) => sliceOf(index, processors));
  const forEach = (lines: (lp: number) => string[]) =>
    slices.flatMap((_, lp) => lines(lp).map((line) => `LP ${lp}: ${line}`));
  return [
    `* logical processors that wake up: ${processors}`,
    ...forEach((lp) => [
      `APIC ID ${lp}, started by ${lp === 0 ? "the boot loader" : "INIT and SIPI"}`,
    ]),
    "* each enters VMX operation and makes a virtual processor",
    ...forEach((lp) => ["VMXON", `vCPU ${lp} is ready`]),
    "* the guests look for primes",
    ...forEach((lp) => {
      const { start, end } = slices[lp] ?? sliceOf(lp, processors);
      return [
        `vCPU ${lp} says: hello; CPUID calls my hypervisor vmxonExample`,
        `vCPU ${lp} says: ${countPrimes(start, end)} primes from ${start} to ${end - 1}`,
        `2 hypercalls, ${Math.ceil((end - start) / 4096)} pages given on EPT violations`,
      ];
    }),
    `together: ${countPrimes(2, primesBelow)} primes below ${primesBelow}`,
    "* the guests interrupt each other",
    ...forEach((lp) => [
      `vCPU ${lp} says: ${interruptRounds} interrupts taken, each after one of mine to the next vCPU`,
      `${interruptRounds} interrupts injected at VM entry`,
    ]),
    "* vCPU 0 moves from LP 0 to LP 1, if there is one",
    ...move(processors > 1),
    "* each leaves VMX operation",
    ...forEach(() => ["VMXOFF"]),
    "* the end",
    "",
  ].join("\n");
}

function sliceOf(index: number, processors: number): { start: number; end: number } {
  return {
    start: Math.max(2, Math.floor((index * primesBelow) / processors)),
    end: Math.floor(((index + 1) * primesBelow) / processors),
  };
}

function isPrime(n: number): boolean {
  for (let divisor = 2; divisor * divisor <= n; divisor++) {
    if (n % divisor === 0) return false;
  }
  return n > 1;
}

function countPrimes(start: number, end: number): number {
  let count = 0;
  for (let n = start; n < end; n++) {
    if (isPrime(n)) count++;
  }
  return count;
}

function checksumAfter(steps: number): string {
  let value: bigint = checksum.seed;
  for (let step = 0; step < steps; step++) {
    value = BigInt.asUintN(64, value * checksum.multiplier + checksum.increment);
  }
  return value.toString(16);
}

function move(moves: boolean): string[] {
  const half = `vCPU 0 says: half of my checksum is ${checksumAfter(checksum.stepsPerHalf)} on LP 0`;
  const all = `vCPU 0 says: all of my checksum is ${checksumAfter(2 * checksum.stepsPerHalf)} on LP`;
  return moves
    ? [
        `LP 0: ${half}`,
        "LP 0: VMCLEAR; vCPU 0 may go",
        "LP 1: VMPTRLD, then VMLAUNCH; vCPU 0 goes on here",
        `LP 1: ${all} 1`,
      ]
    : [`LP 0: ${half}`, `LP 0: ${all} 0`];
}
