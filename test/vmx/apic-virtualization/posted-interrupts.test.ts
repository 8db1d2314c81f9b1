import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { Activity } from "../../../src/execution/lp-window.ts";
import type { Assembler } from "../../../src/isa/assembler.ts";
import { eax, edx, mem32, rbx } from "../../../src/isa/assembler-operands.ts";
import {
  claimNotification,
  postRequest,
} from "../../../src/protocol/posted-interrupt-descriptor.ts";
import { exitReason } from "../../../src/vmx/exit-reasons.ts";
import { place } from "../../cpu/test-machine.ts";
import { vmxPlace } from "../vmx-machine.ts";
import { ApicMachine, apicPlace, descriptorWord, notification, writeMsr } from "./apic-machine.ts";

let m: ApicMachine;
let restore: () => void;
beforeAll(() => {
  m = new ApicMachine().x2apic().ipis();
  for (let vector = 0x20; vector < 0x100; vector++) {
    m.handler(vector, (asm) => asm.vmcall());
  }
  restore = m.checkpoint();
});
beforeEach(() => {
  restore();
  m.sent.length = 0;
});

const { descriptor, otherDescriptor, pidTable } = apicPlace;
const control = descriptor + descriptorWord.control;
const inHandler = (vector: number) => ({
  reason: exitReason.vmcall,
  rip: BigInt(place.handlers + vector * 16),
});

function post(...vectors: number[]): void {
  for (const vector of vectors) {
    postRequest(m.state.i32, descriptor >>> 2, vector);
  }
}
const posted = (at: number): number[] =>
  Array.from({ length: 256 }, (_, vector) => vector).filter(
    (vector) => ((m.read32(at + (vector >>> 5) * 4) >>> (vector & 31)) & 1) !== 0,
  );

describe("a notification", () => {
  it("moves what is posted into the guest without an exit", () => {
    post(0x35, 0x61, 0xfe);
    m.write32(control, 0xf2_0003);
    m.interruptible().status(0x44).request(0x44).setRegister(0x80, 0xf0).interrupt(notification);
    m.guest((asm) => {
      asm.nop();
      asm.mov(eax, 0x66);
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.state.gpr32(0)).toBe(0x66);
    expect(m.vectors(0x200)).toEqual([0x35, 0x44, 0x61, 0xfe]);
    expect(m.rvi).toBe(0xfe);
    expect(posted(descriptor)).toEqual([]);
    // ON is cleared, SN and NV are left.
    expect(m.read32(control)).toBe(0xf2_0002);
    // The real interrupt is dismissed.
    expect(m.lp.apic.readMmio(0x100 + 0x70, 4)).toBe(0);
    expect(m.lp.apic.readMmio(0x200 + 0x70, 4)).toBe(0);
  });

  it("delivers the highest posted interrupt", () => {
    post(0x35, 0x61);
    m.interruptible()
      .interrupt(notification)
      .guest((asm) => asm.nop());
    expect(m.launch()).toMatchObject(inHandler(0x61));
    expect([m.rvi, m.svi]).toEqual([0x35, 0x61]);
  });

  it("is taken with RFLAGS.IF clear, and what it brings then waits", () => {
    post(0x61);
    m.interrupt(notification).guest((asm) => {
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch()).toMatchObject({ rip: BigInt(vmxPlace.guestCode + 1) });
    expect(m.rvi).toBe(0x61);
    expect(posted(descriptor)).toEqual([]);
  });

  it("leaves RVI alone when nothing is posted, and evaluates it", () => {
    m.interruptible().status(0x61).request(0x61).setRegister(0x80, 0x70).interrupt(notification);
    m.guest((asm) => {
      asm.nop();
      asm.vmcall();
    });
    expect(m.launch().reason).toBe(exitReason.vmcall);
    expect(m.rvi).toBe(0x61);
  });

  it("wakes a halted guest only for an interrupt that is delivered", () => {
    post(0x61);
    m.interruptible().setRegister(0x80, 0x70).interrupt(notification);
    m.set("guestActivity", Activity.Halted);
    expect(() => m.launch()).toThrow(/no VM exit/);
    expect(m.state.activity).toBe(Activity.Halted);
    expect(m.vectors(0x200)).toEqual([0x61]);
    post(0x81);
    m.interrupt(notification);
    m.lp.run(1000);
    expect(m.exit()).toMatchObject(inHandler(0x81));
  });

  it("is an ordinary interrupt of another vector: it exits with it", () => {
    post(0x61);
    m.interrupt(0x90).guest((asm) => asm.nop());
    expect(m.launch()).toMatchObject({
      reason: exitReason.externalInterrupt,
      interruption: 0x8000_0090,
    });
    expect(posted(descriptor)).toEqual([0x61]);
  });

  it("is an ordinary interrupt without the control", () => {
    m.disable("primary.activateTertiaryControls").disable("pin.processPostedInterrupts");
    m.interrupt(notification).guest((asm) => asm.nop());
    expect(m.launch()).toMatchObject({
      reason: exitReason.externalInterrupt,
      interruption: (0x8000_0000 | notification) >>> 0,
    });
  });
});

describe("a post in the middle of the processing of another", () => {
  afterEach(() => vi.restoreAllMocks());

  type AtomicUpdate = (words: Int32Array, index: number, value: number) => number;
  /** Runs `action` right before the nth atomic operation of this kind. */
  function before(kind: "and" | "exchange", nth: number, action: () => void): void {
    const original = Atomics[kind] as AtomicUpdate;
    let calls = 0;
    const watched: AtomicUpdate = (words, index, value) => {
      if (index >>> 4 === descriptor >>> 6) {
        calls += 1;
        if (calls === nth) {
          action();
        }
      }
      return original(words, index, value);
    };
    vi.spyOn(Atomics, kind).mockImplementation(watched as never);
  }
  const moments = [
    ["and", 1] as const,
    ...Array.from({ length: 8 }, (_, n) => ["exchange", n + 1] as const),
  ];

  it.each(moments)("before %s number %i is taken with it or brings a notification", (kind, nth) => {
    for (const vector of [0x21, 0x7f, 0xfe]) {
      restore();
      post(0x80);
      m.write32(control, 1);
      m.setRegister(0x80, 0xf0).interrupt(notification);
      m.guest((asm) => asm.vmcall());
      let isNotified = false;
      before(kind, nth, () => {
        post(vector);
        isNotified = claimNotification(m.state.i32, descriptor >>> 2);
      });
      m.launch();
      vi.restoreAllMocks();
      const isTaken = m.vectors(0x200).includes(vector);
      expect(posted(descriptor).includes(vector)).toBe(!isTaken);
      expect(isTaken || isNotified).toBe(true);
      expect(m.read32(control)).toBe(isNotified ? 1 : 0);
    }
  });
});

describe("an interrupt posted by the guest", () => {
  beforeEach(() => {
    m.write64(pidTable, BigInt(descriptor | 1));
    m.write64(pidTable + 8, BigInt(otherDescriptor | 1));
    m.write32(otherDescriptor + descriptorWord.control, 0x66 << 16);
    m.write32(otherDescriptor + descriptorWord.destination, 3 << 8);
  });
  const ways: readonly (readonly [
    string,
    () => unknown,
    (asm: Assembler, low: number, id: number) => void,
  ])[] = [
    ["WRMSR of 830H", () => m, (asm, low, id) => writeMsr(asm, 0x830, low, id)],
    [
      "a store to 300H",
      () => m.disable("secondary.virtualizeX2apicMode").accesses(),
      (asm, low, id) => {
        asm.mov(mem32(apicPlace.virtualApic + 0x310), id << 24);
        asm.mov(eax, low);
        asm.mov(mem32(apicPlace.accessPage + 0x300), eax);
        asm.mov(edx, 1);
      },
    ],
  ];

  describe.each(ways)("with %s", (_name, prepare, send) => {
    it("sets PIR and ON, and notifies", () => {
      prepare();
      m.guest((asm) => {
        send(asm, 0x4081, 1);
        asm.vmcall();
      });
      expect(m.launch().reason).toBe(exitReason.vmcall);
      expect(posted(otherDescriptor)).toEqual([0x81]);
      expect(m.read32(otherDescriptor + descriptorWord.control)).toBe(0x66_0001);
      expect(m.sent).toEqual([
        expect.objectContaining({ vector: 0x66, destination: 3, logical: false, shorthand: 0 }),
      ]);
    });

    it.each([
      ["ON is already set", 0x66_0001],
      ["SN is set", 0x66_0002],
    ])("notifies nobody when %s", (_why, word) => {
      prepare();
      m.write32(otherDescriptor + descriptorWord.control, word);
      m.guest((asm) => {
        send(asm, 0x4081, 1);
        asm.vmcall();
      });
      expect(m.launch().reason).toBe(exitReason.vmcall);
      expect(posted(otherDescriptor)).toEqual([0x81]);
      expect(m.read32(otherDescriptor + descriptorWord.control)).toBe(word);
      expect(m.sent).toEqual([]);
    });

    const good = BigInt(otherDescriptor | 1);
    const failing: readonly (readonly [string, low: number, id: number, entry: bigint])[] = [
      ["lowest priority", 0x4181, 1, good],
      ["NMI", 0x4400, 1, good],
      ["logical destination", 0x4881, 1, good],
      ["delivery pending", 0x5081, 1, good],
      ["level triggered", 0xc081, 1, good],
      ["a reserved bit", 0x1_4081, 1, good],
      ["all but self", 0xc_4081, 1, good],
      ["all and self", 0x8_4081, 1, good],
      ["a vector below 16", 0x400f, 1, good],
      ["an id behind the table", 0x4081, 2, good],
      ["an entry that is not valid", 0x4081, 1, BigInt(otherDescriptor)],
      ["an entry with a reserved bit", 0x4081, 1, BigInt(otherDescriptor | 3)],
      ["an address beyond the width", 0x4081, 1, BigInt(otherDescriptor | 1) | (1n << 60n)],
    ];
    it.each(failing)("exits for %s", (_what, low, id, entry) => {
      prepare();
      m.write64(pidTable + 8, entry);
      m.guest((asm) => {
        send(asm, low, id);
        asm.vmcall();
      });
      expect(m.launch()).toMatchObject({ reason: exitReason.apicWrite, qualification: 0x300n });
      expect(m.register(0x300)).toBe(low);
      expect(posted(otherDescriptor)).toEqual([]);
      expect(m.sent).toEqual([]);
    });

    it("goes straight to the guest's own VIRR with the self shorthand", () => {
      prepare();
      m.interruptible().guest((asm) => {
        send(asm, 0x4_4081, 0);
        asm.vmcall();
      });
      expect(m.launch()).toMatchObject(inHandler(0x81));
      expect(posted(descriptor)).toEqual([]);
    });
  });
});

describe("a descriptor", () => {
  it("owes one notification until it is taken", () => {
    const at = otherDescriptor >>> 2;
    expect(postRequest(m.state.i32, at, 0x40)).toBe(true);
    expect(claimNotification(m.state.i32, at)).toBe(true);
    expect(postRequest(m.state.i32, at, 0x40)).toBe(false);
    expect(claimNotification(m.state.i32, at)).toBe(false);
  });
});

describe("a flood of notifications", () => {
  it("leaves the guest something to do between two of them", () => {
    const flooded = new ApicMachine().x2apic().posting().interruptible();
    flooded.guest((asm) => {
      const top = asm.here("top");
      asm.inc(rbx);
      asm.jmp(top);
    });
    let notifications = 0;
    flooded.hear = (kind) => {
      if (kind === "posted-interrupts") {
        notifications += 1;
        flooded.interrupt(notification);
      }
    };
    flooded.interrupt(notification);
    flooded.state.activity = Activity.Active;
    flooded.run(64, (asm) => asm.vmlaunch(), 3000);
    expect(flooded.vmx.unit.isNonRoot).toBe(true);
    expect(notifications).toBeGreaterThan(500);
    expect(flooded.state.gpr32(3)).toBeGreaterThan(notifications / 3);
  });
});
