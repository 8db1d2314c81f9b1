/**
 * How long does an interprocessor interrupt take? LP 0 sends one to each of the others in turn, a hundred times, and waits for
 * the answer in memory. Run it with
 *
 *     vmxon run dist/examples/scripts/ipi-latency.js --lps 4 --driver deterministic
 */
import {
  exchangeAdd,
  hlt,
  load,
  pause,
  portIn,
  portOut,
  rdmsr,
  rdtsc,
  type ScriptEnvironment,
  type ScriptedSoftware,
  type Steps,
  sti,
  wrmsr,
} from "../../src/isa/operations.ts";

const msr = { apicBase: 0x1b, endOfInterrupt: 0x80b, spurious: 0x80f, command: 0x830 } as const;
const x2apic = 0xc00n;
const enabled = 0x1ffn;
const com1 = 0x3f8;
const transmitterEmpty = 0x20n;
const debugExit = 0xf4;
const pingVector = 0x60;
const rounds = 100;

/** Counts the pings that have been taken, and the LPs that are ready for them. */
const answers = 0x20_0000n;
const ready = 0x20_0040n;

function* print(text: string): Steps<void> {
  for (const character of text) {
    while (((yield portIn(com1 + 5, 1)) & transmitterEmpty) === 0n);
    yield portOut(com1, 1, BigInt(character.charCodeAt(0)));
  }
}

function* enableApic(): Steps<void> {
  yield wrmsr(msr.apicBase, (yield rdmsr(msr.apicBase)) | x2apic);
  yield wrmsr(msr.spurious, enabled);
}

/** @returns clock cycles from the command to the answer, on average */
function* measure(destination: number): Steps<number> {
  const before = yield rdtsc();
  for (let round = 0; round < rounds; round++) {
    const seen = yield load(answers);
    yield wrmsr(msr.command, (BigInt(destination) << 32n) | BigInt(pingVector));
    while ((yield load(answers)) === seen) yield pause();
  }
  return Number((yield rdtsc()) - before) / rounds;
}

export function createSoftware(): ScriptedSoftware {
  return {
    programs: {
      *main({ lp, lpCount, apicIds }: ScriptEnvironment) {
        yield* enableApic();
        if (lp > 0) {
          yield sti();
          yield exchangeAdd(ready, 8, 1n);
          for (;;) yield hlt();
        }
        while ((yield load(ready)) < BigInt(lpCount - 1)) yield pause();
        for (const [target, apicId] of apicIds.entries()) {
          if (target === lp) continue;
          const cycles = yield* measure(apicId);
          yield* print(`LP ${lp} to LP ${target}: ${cycles.toFixed(0)} cycles\n`);
        }
        yield portOut(debugExit, 1, 0n);
      },
      *interrupt() {
        yield exchangeAdd(answers, 8, 1n);
        yield wrmsr(msr.endOfInterrupt, 0n);
      },
    },
  };
}
