import type { CodePagePort } from "../../execution/code-pages.ts";
import {
  lpOffset,
  Pending,
  tlbEntries,
  tlbEntryBytes,
  tlbEntryOffset,
} from "../../execution/lp-window.ts";
import type { Tlb } from "../../execution/tlb.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { type ControlRegion, Presence } from "../control-region.ts";

/** All LPs on one thread: the others are between instructions, so their TLBs are simply changed. */
export class DirectCodePages implements CodePagePort {
  readonly #control: ControlRegion;
  readonly #self: number;
  readonly #tlbs: readonly { readonly tlb: Tlb }[];

  /** @param cores of all LPs; may be filled after this is made */
  constructor(control: ControlRegion, self: number, cores: readonly { readonly tlb: Tlb }[]) {
    this.#control = control;
    this.#self = self;
    this.#tlbs = cores;
  }

  claim(physicalPage: number): void {
    for (const [lp, core] of this.#tlbs.entries()) {
      if (lp !== this.#self) core.tlb.protectPhysicalPage(physicalPage);
    }
  }

  changed(_physicalPage: number): void {
    signalOthers(this.#control, this.#self);
  }
}

/** Looks at the other LP's pending word before going to sleep: a running LP clears the bit at its next block. */
const spins = 2000;
/** It wakes nobody by clearing it, so a sleep is short. */
const pollMs = 0.1;

/**
 * LPs on threads of their own. The page has been marked before `claim` is called, so nobody gets write permission to it any
 * more; an LP that has it already is asked to drop its permissions (`Pending.CodePage`) and clears the bit when it has.
 */
export class ThreadCodePages implements CodePagePort {
  readonly #control: ControlRegion;
  readonly #self: number;
  /** Set once the LP exists. */
  tlb: Tlb | undefined;

  constructor(control: ControlRegion, self: number) {
    this.#control = control;
    this.#self = self;
  }

  claim(physicalPage: number): void {
    const { lpCount } = this.#control.layout;
    const holders: number[] = [];
    for (let lp = 0; lp < lpCount; lp++) {
      if (lp !== this.#self && this.#mayStore(lp, physicalPage)) {
        this.#control.signal(lp, Pending.CodePage);
        holders.push(lp);
      }
    }
    for (const lp of holders) this.#awaitDrop(lp);
  }

  changed(_physicalPage: number): void {
    signalOthers(this.#control, this.#self);
  }

  /** The LP's TLB lets stores to the page through without asking. */
  #mayStore(lp: number, physicalPage: number): boolean {
    const { words, layout } = this.#control;
    const tlb = (windowBase(layout, lp) + lpOffset.tlb) >>> 2;
    for (let n = 0; n < tlbEntries; n++) {
      const entry = tlb + n * (tlbEntryBytes >> 2);
      const page = Atomics.load(words, entry + (tlbEntryOffset.write >> 2)) & ~0xfff;
      const addend = words[entry + (tlbEntryOffset.addend >> 2)] ?? 0;
      if ((page + addend) >>> 0 === physicalPage) return true;
    }
    return false;
  }

  #awaitDrop(lp: number): void {
    const control = this.#control;
    const pending = control.pendingWord(lp);
    for (let looks = 0; ; looks++) {
      const seen = Atomics.load(control.words, pending);
      const isAway = control.presence(lp) !== Presence.Running;
      if ((seen & Pending.CodePage) === 0 || isAway || control.isStopping) return;
      this.answerClaims();
      if (looks >= spins) Atomics.wait(control.words, pending, seen, pollMs);
    }
  }

  /** For an LP that waits for another: it is in the middle of no store, and that other may be waiting for this answer. */
  answerClaims(): void {
    const control = this.#control;
    const word = Atomics.load(control.words, control.pendingWord(this.#self));
    if ((word & Pending.CodePage) === 0) return;
    this.tlb?.protectAll();
    control.clear(this.#self, Pending.CodePage);
  }
}

function signalOthers(control: ControlRegion, self: number): void {
  for (let lp = 0; lp < control.layout.lpCount; lp++) {
    if (lp !== self) control.signal(lp, Pending.CodeChanged);
  }
}
