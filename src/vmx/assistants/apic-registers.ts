import { ApicMode, ApicPrivate, ApicRegister } from "../../cpu/local-apic/registers.ts";
import { privateOffset } from "../../cpu/lp-private.ts";
import { flagBit } from "../../cpu/register-bits.ts";
import { Assistance } from "../../execution/core-host.ts";
import { lpOffset, Pending } from "../../execution/lp-window.ts";
import { postedControl, postedWord } from "../../protocol/posted-interrupt-descriptor.ts";
import {
  atomicCompareExchange,
  atomicOr32,
  callValue,
  type I32,
  type I64,
  i32,
  i64,
} from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { command, pointerBit } from "../apic-virtualization/virtual-ipis.ts";
import { slot } from "../vmcs-fields.ts";
import { modeBit, vmxOffset } from "../vmx-unit.ts";
import { ability, assistantOffset } from "./assistant-window.ts";
import { any } from "./emit.ts";
import {
  bitOf,
  evaluate,
  highestVector,
  holdsCode,
  interruptStatus,
  priorityClass,
  setInterruptStatus,
  virtualApicPage,
  virtualizePpr,
  wordOf,
} from "./virtual-apic.ts";

const endOfInterrupt = 0x80b;
const interruptCommand = 0x830;
const selfIpi = 0x83f;
const writeBitmap = 0x800;
const rax = lpOffset.gpr;
const rcx = lpOffset.gpr + 8;
const rdx = lpOffset.gpr + 16;
const byte = 0xff;
/** Virtual IPIs, of a tenth of a microsecond each: no processor that runs takes so long to notice one. */
const unnoticedMax = 5000;

const done = i32.const(Assistance.Done);
const none = i32.const(Assistance.None);

/** Functions that a WRMSR may need. */
export interface Senders {
  /** (x2APIC id, vector) → not 0 when the interrupt has been sent (see `sending`). */
  readonly send: number;
  /** (APIC id as NDST has it, vector): has TypeScript send it. */
  readonly notify: number;
  /** (): lets the threads run that do not notice what is sent to them. */
  readonly rest: number;
}

/**
 * WRMSR at privilege level 0 of three registers of the x2APIC: the guest's virtual end of interrupt and self-IPI; the interrupt
 * command, virtual with IPI virtualization, or the processor's own for a plain interrupt to one other. `ApicVirtualization` and `LocalApic` are the
 * authority, and do everything else.
 */
export function wrmsrAssistant(window: I32, senders: Senders): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  f.scope(() => {
    const msr = f.let(i32.load(window, rcx));
    const isEnd = f.let(i32.eq(msr, i32.const(endOfInterrupt)));
    const isCommand = f.let(i32.eq(msr, i32.const(interruptCommand)));
    const isSelf = f.let(i32.eq(msr, i32.const(selfIpi)));
    const isOther = i32.eqz(any(isEnd, isCommand, isSelf));
    f.if(i32.or(isOther, i32.load(window, lpOffset.cpl)), () => f.return(none));
    const vmcs = f.let(i32.load(window, assistantOffset.receiving));
    f.if(i32.eqz(vmcs), () => {
      f.if(isCommand, () => ownCommand(f, window, senders));
      f.return(none);
    });
    const page = f.let(virtualApicPage(vmcs));
    const isVirtual = i32.and(
      i32.load(window, assistantOffset.abilities),
      i32.const(ability.x2apicRegisters),
    );
    const exits = isIntercepted(vmcs, msr);
    f.if(any(i32.eqz(isVirtual), exits, holdsCode(window, page)), () => f.return(none));
    f.if(isEnd, () => virtualEnd(f, window, vmcs, page));
    f.if(isSelf, () => virtualSelfIpi(f, window, vmcs, page));
    virtualCommand(f, window, vmcs, page, senders);
  });
  f.unreachable();
  return f;
}

/** The bitmap's bit of a low MSR. */
function isIntercepted(vmcs: I32, msr: I32): I32 {
  const bitmaps = i32.load(vmcs, slot.msrBitmaps * 4);
  const at = i32.add(bitmaps, i32.shrU(msr, i32.const(3)));
  const bits = i32.load8u(at, writeBitmap);
  return i32.and(i32.shrU(bits, i32.and(msr, i32.const(7))), i32.const(1));
}

/** "EOI Virtualization". */
function virtualEnd(f: FunctionBuilder, window: I32, vmcs: I32, page: I32): void {
  const isIllegal = i32.or(i32.load(window, rax), i32.load(window, rdx));
  f.if(isIllegal, () => f.return(none));
  const status = f.let(interruptStatus(vmcs));
  const vector = f.let(i32.and(i32.shrU(status, i32.const(8)), i32.const(byte)));
  const bit = f.let(bitOf(vector));
  const exits = i32.load(
    i32.add(vmcs, i32.shl(i32.shrU(vector, i32.const(5)), i32.const(2))),
    slot.eoiExitBitmap0 * 4,
  );
  f.if(i32.and(exits, bit), () => f.return(none));
  const { EndOfInterrupt, InService } = ApicRegister;
  f.store32(page, i32.const(0), EndOfInterrupt);
  f.store32(page, i32.const(0), EndOfInterrupt + 4);
  const at = f.let(wordOf(page, vector));
  const others = i32.and(i32.load(at, InService), i32.xor(bit, i32.const(-1)));
  f.store32(at, others, InService);
  const svi = f.let(highestVector(page, InService));
  const rvi = f.let(i32.and(status, i32.const(byte)));
  setInterruptStatus(f, window, vmcs, i32.or(rvi, i32.shl(svi, i32.const(8))));
  virtualizePpr(f, page, svi);
  finish(f, window, page, rvi);
}

/** What is recognized comes right behind the instruction, or waits for RFLAGS.IF. */
function finish(f: FunctionBuilder, window: I32, page: I32, rvi: I32): void {
  f.if(evaluate(f, window, page, rvi), () => {
    const isEnabled = i32.and(i32.load(window, lpOffset.systemFlags), i32.const(flagBit.IF));
    f.if(
      isEnabled,
      () => f.drop(atomicOr32(window, i32.const(Pending.Events), lpOffset.pending)),
      () => f.store32(window, i32.const(1), privateOffset.eventsHeldBack),
    );
  });
  f.return(done);
}

/** "Self-IPI Virtualization". */
function virtualSelfIpi(f: FunctionBuilder, window: I32, vmcs: I32, page: I32): void {
  const vector = f.let(i32.load(window, rax));
  const isIllegal = i32.or(i32.and(vector, i32.const(~byte)), i32.load(window, rdx));
  f.if(i32.or(isIllegal, i32.eqz(priorityClass(vector))), () => f.return(none));
  const { SelfIpi, InterruptRequest } = ApicRegister;
  f.store32(page, vector, SelfIpi);
  f.store32(page, i32.const(0), SelfIpi + 4);
  const at = f.let(wordOf(page, vector));
  f.store32(at, i32.or(i32.load(at, InterruptRequest), bitOf(vector)), InterruptRequest);
  const status = f.let(interruptStatus(vmcs));
  const rvi = f.let(i32.and(status, i32.const(byte)));
  f.if(i32.gtU(vector, rvi), () => {
    f.set(rvi, vector);
    const svi = i32.and(status, i32.const(0xff00));
    setInterruptStatus(f, window, vmcs, i32.or(svi, rvi));
  });
  finish(f, window, page, rvi);
}

/** "IPI Virtualization". */
function virtualCommand(
  f: FunctionBuilder,
  window: I32,
  vmcs: I32,
  page: I32,
  { send, notify, rest }: Senders,
): void {
  const low = f.let(i32.load(window, rax));
  const id = f.let(i32.load(window, rdx));
  const vector = f.let(i32.and(low, i32.const(command.vector)));
  const last = i32.load16u(vmcs, slot.lastPidPointerIndex * 4);
  const isVirtual = i32.and(i32.load(window, assistantOffset.abilities), i32.const(ability.ipis));
  const notPlain = command.mustBeZero | command.logical | (3 << command.shorthandShift);
  const isRefused = any(
    i32.eqz(isVirtual),
    i32.and(low, i32.const(notPlain)),
    i32.eqz(priorityClass(vector)),
    i32.gtU(id, last),
    isNotX2apic(window),
  );
  f.if(isRefused, () => f.return(none));
  const table = i64.load(vmcs, slot.pidPointerTable * 4);
  const entryAt = f.let(i64.add(table, i64.shl(i64.extendU(id), i64.const(3))));
  const ram = f.let(i64.load32u(window, lpOffset.ramBytes));
  f.if(i64.gtU(entryAt, i64.sub(ram, i64.const(8))), () => f.return(none));
  const entry = f.let(i64.load(i32.wrap(entryAt)));
  const marks = i64.and(entry, i64.const(pointerBit.valid | pointerBit.reserved));
  const isUnusable = i32.or(i64.ne(marks, i64.const(pointerBit.valid)), i64.geU(entry, ram));
  f.if(isUnusable, () => f.return(none));
  f.store32(page, low, ApicRegister.CommandLow);
  f.store32(page, id, ApicRegister.CommandLow + 4);
  const descriptor = f.let(i32.and(i32.wrap(entry), i32.const(~0x3f)));
  const group = i32.add(descriptor, i32.shl(i32.shrU(vector, i32.const(5)), i32.const(2)));
  f.drop(atomicOr32(group, bitOf(vector), postedWord.requests * 4));
  const control = f.let(
    claim(f, window, i32.add(descriptor, i32.const(postedWord.control * 4)), rest),
  );
  const destination = f.let(i32.wrap(i64.shrU(control, i64.const(32))));
  const number = i32.wrap(i64.shrU(control, i64.const(postedControl.vectorShift)));
  const notification = f.let(i32.and(number, i32.const(byte)));
  f.if(
    callValue("i32", send, destination, notification),
    () => countSent(f, window),
    () => f.call(notify, destination, notification),
  );
  f.return(done);
}

/** As `claimNotification`, with all of ON, SN, NV and NDST in one operation. Leaves the function when none is owed. */
function claim(f: FunctionBuilder, window: I32, at: I32, rest: number): I64 {
  const seen = f.let(i64.atomicLoad(at));
  const held = i64.const(postedControl.outstanding | postedControl.suppressed);
  const found = f.let(i64.const(0));
  f.block((claimed) => {
    f.loop((again) => {
      f.if(i64.ne(i64.and(seen, held), i64.const(0)), () => {
        const count = f.let(i32.load(window, assistantOffset.unnoticed));
        f.store32(window, i32.add(count, i32.const(1)), assistantOffset.unnoticed);
        f.if(i32.gtU(count, i32.const(unnoticedMax)), () => {
          f.store32(window, i32.const(0), assistantOffset.unnoticed);
          f.call(rest);
        });
        f.return(done);
      });
      const next = i64.or(seen, i64.const(postedControl.outstanding));
      f.set(found, atomicCompareExchange(8, at, seen, next));
      f.branchIf(claimed, i64.eq(found, seen));
      f.set(seen, found);
      f.branch(again);
    });
  });
  f.store32(window, i32.const(0), assistantOffset.unnoticed);
  return seen;
}

const isNotX2apic = (window: I32): I32 =>
  i32.xor(i32.load(window, lpOffset.apicPage + ApicPrivate.mode), i32.const(ApicMode.X2Apic));

/** The processor's own interrupt command: fixed, physical, edge. Leaves the function when it is done. */
function ownCommand(f: FunctionBuilder, window: I32, { send }: Senders): void {
  const low = f.let(i32.load(window, rax));
  const id = f.let(i32.load(window, rdx));
  const assertBit = 1 << 14;
  const vector = i32.and(low, i32.const(byte));
  const isRefused = any(
    i32.and(low, i32.const(~(byte | assertBit))),
    i32.eqz(priorityClass(vector)),
    i32.and(i32.load(window, vmxOffset.mode), i32.const(modeBit.nonRoot)),
    isNotX2apic(window),
  );
  f.if(i32.eqz(isRefused), () => {
    f.if(callValue("i32", send, id, vector), () => {
      f.store32(window, id, lpOffset.apicPage + ApicRegister.CommandHigh);
      f.store32(window, low, lpOffset.apicPage + ApicRegister.CommandLow);
      countSent(f, window);
      f.return(done);
    });
  });
}

function countSent(f: FunctionBuilder, window: I32): void {
  const count = i32.load(window, assistantOffset.sent);
  f.store32(window, i32.add(count, i32.const(1)), assistantOffset.sent);
}
