import { describe, expect, it } from "vitest";
import { flagBit } from "../../src/cpu/register-bits.ts";
import { Vector } from "../../src/cpu/trap.ts";
import { rbx } from "../../src/isa/assembler-operands.ts";
import { messageEntry } from "../../src/protocol/interrupt-entry.ts";
import { DeliveryMode, Shorthand } from "../../src/protocol/interrupt-message.ts";
import { place, TestMachine } from "./test-machine.ts";

const nmi = messageEntry({
  destination: 0,
  wide: false,
  logical: false,
  shorthand: Shorthand.None,
  vector: 0,
  deliveryMode: DeliveryMode.Nmi,
  level: false,
  assert: true,
  source: -1,
});

/** A machine whose NMI handler counts in RBX; the program is a run of NOPs, then HLT. */
function counting(write?: Parameters<TestMachine["assemble"]>[1]): TestMachine {
  const m = new TestMachine().long64();
  m.assemble(
    64,
    (asm) => {
      asm.inc(rbx);
      asm.iretq();
    },
    place.handlers + Vector.NMI * 16,
  );
  m.assemble(64, (asm) => {
    write?.(asm);
    for (let n = 0; n < 20; n++) asm.nop();
    asm.hlt();
  });
  m.state.setGpr(3, 0n);
  return m;
}
function send(m: TestMachine, count: number): void {
  for (let n = 0; n < count; n++) {
    m.mailbox.post(nmi);
  }
}

describe("NMI", () => {
  it.each([
    [1, 1n],
    [2, 2n],
    [3, 2n],
  ])("of %i that arrive together %i are delivered", (arriving, delivered) => {
    const m = counting();
    send(m, arriving);
    m.lp.run(100);
    expect(m.finished).toBe(true);
    expect(m.state.gpr(3)).toBe(delivered);
  });

  it("of those that arrive during the handler one is remembered", () => {
    const m = counting();
    send(m, 1);
    m.lp.run(1);
    expect(Number(m.state.rip)).toBe(place.handlers + Vector.NMI * 16);
    send(m, 3);
    m.lp.run(100);
    expect(m.state.gpr(3)).toBe(2n);
  });

  it("does not come between STI and the next instruction", () => {
    const m = counting((asm) => asm.sti());
    m.lp.writeFlags(flagBit.fixed);
    m.lp.run(1);
    send(m, 1);
    m.lp.run(1);
    expect(Number(m.state.rip)).toBe(place.handlers + Vector.NMI * 16);
    const returnAddress = m.read64(Number(m.state.gpr(4)));
    expect(Number(returnAddress)).toBe(place.code + 2);
  });
});
