/**
 * The attendant of a guest with posted interrupts: takes notifications out of the mailbox, does posted-interrupt processing, and
 * delivers the virtual interrupt that is recognized, all without leaving Wasm. `Processor`, `LocalApic`, `PostedInterrupts`,
 * `VirtualInterrupts` and `deliverThroughIdt` are the authority. Whatever is pending besides is left to them.
 */
import {
  ApicMode,
  ApicPrivate,
  ApicRegister,
  spuriousVectorBit,
} from "../../cpu/local-apic/registers.ts";
import { privateOffset } from "../../cpu/lp-private.ts";
import { flagBit } from "../../cpu/register-bits.ts";
import { codeMode } from "../../execution/code-mode.ts";
import { Assistance } from "../../execution/core-host.ts";
import { lpOffset, Pending, Segment } from "../../execution/lp-window.ts";
import { mailboxCapacity, occupied, ringWord } from "../../protocol/mailbox.ts";
import {
  postedControl,
  postedWord,
  requestGroups,
} from "../../protocol/posted-interrupt-descriptor.ts";
import {
  atomicAnd32,
  atomicExchange32,
  atomicOr32,
  callValue,
  type I32,
  i32,
  i64,
} from "../../wasm/expression.ts";
import { FunctionBuilder, type Local } from "../../wasm/function-builder.ts";
import { slot } from "../vmcs-fields.ts";
import { assistantOffset } from "./assistant-window.ts";
import { any, readStatusFlags } from "./emit.ts";
import {
  isCanonical,
  isLevel0Code,
  isRestricted,
  type LinearAccess,
  missed,
  selectorOf,
} from "./linear.ts";
import {
  bitOf,
  evaluate,
  highestBit,
  highestVector,
  holdsCode,
  interruptStatus,
  isAny,
  priorityClass,
  setInterruptStatus,
  virtualApicPage,
  wordOf,
} from "./virtual-apic.ts";

const dr7Reset = 0x400;
const rsp = lpOffset.gpr + 4 * 8;
/** What of an entry says that it is no plain edge of a fixed vector. */
const entryKind = 0x5700;
/** Entries that are taken at once: then the program goes on. */
const entriesMax = 64;

const done = i32.const(Assistance.Done);
const jump = i32.const(Assistance.Jump);
const none = i32.const(Assistance.None);

/** @param delivery function: (VMCS) → not 0 when the recognized interrupt has been delivered */
export function notificationAttendant(window: I32, delivery: number): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  f.scope(() => {
    const vmcs = f.let(i32.load(window, assistantOffset.receiving));
    f.if(i32.eqz(vmcs), () => f.return(none));
    const page = f.let(virtualApicPage(vmcs));
    const pending = f.let(i32.atomicLoad(window, lpOffset.pending));
    f.if(any(isMoreThan(window, pending), holdsCode(window, page)), () => f.return(none));
    const foreign = f.let(i32.const(0));
    f.if(i32.and(pending, i32.const(Pending.Mailbox)), () => {
      const isNotified = f.let(i32.const(0));
      takeMail(f, window, vmcs, isNotified, foreign);
      f.if(isNotified, () => process(f, window, vmcs, page));
    });
    f.if(foreign, () => f.return(none));
    f.if(i32.and(pending, i32.const(Pending.Events)), () => {
      f.drop(atomicAnd32(window, i32.const(~Pending.Events), lpOffset.pending));
    });
    f.store32(window, i32.const(0), privateOffset.eventsHeldBack);
    f.if(i32.eqz(i32.load(window, assistantOffset.recognized)), () => f.return(done));
    const isEnabled = i32.and(i32.load(window, lpOffset.systemFlags), i32.const(flagBit.IF));
    f.if(i32.eqz(isEnabled), () => {
      f.store32(window, i32.const(1), privateOffset.eventsHeldBack);
      f.return(done);
    });
    f.if(callValue("i32", delivery, vmcs), () => f.return(jump));
    f.drop(atomicOr32(window, i32.const(Pending.Events), lpOffset.pending));
    f.return(none);
  });
  f.unreachable();
  return f;
}

/** Something is pending, or may come between two instructions, that is no notification and no virtual interrupt. */
function isMoreThan(window: I32, pending: I32): I32 {
  const mode = i32.load(window, lpOffset.codeMode);
  const apic = i32.add(window, i32.const(lpOffset.apicPage));
  return any(
    i32.and(pending, i32.const(~(Pending.Mailbox | Pending.Events))),
    i32.xor(i32.and(mode, i32.const(codeMode.sizeMask)), i32.const(codeMode.bits64)),
    i32.and(mode, i32.const(codeMode.single)),
    i32.load(window, lpOffset.interruptibility),
    i32.load(window, lpOffset.activity),
    i32.and(
      i32.load(window, lpOffset.systemFlags),
      i32.const(flagBit.TF | flagBit.RF | flagBit.VM),
    ),
    i32.xor(i32.load(window, lpOffset.dr7), i32.const(dr7Reset)),
    i32.load(window, privateOffset.pendingDebug),
    i32.load(window, privateOffset.nmisPending),
    i32.load(window, privateOffset.initPending),
    isAny(apic, ApicRegister.InterruptRequest),
    i32.load(apic, ApicPrivate.externalLatched),
    i32.load(apic, ApicPrivate.pins),
  );
}

/**
 * As `Mailbox.drain`, as far as entries are notifications that the local APIC would take in and the processor at once.
 * @param foreign is set when another entry is next; the bell is then rung again
 */
function takeMail(
  f: FunctionBuilder,
  window: I32,
  vmcs: I32,
  isNotified: Local<"i32">,
  foreign: Local<"i32">,
): void {
  const vector = f.let(i32.load8u(vmcs, slot.postedInterruptVector * 4));
  const apic = i32.add(window, i32.const(lpOffset.apicPage));
  const headAt = lpOffset.mailbox + ringWord.head * 4;
  f.drop(atomicAnd32(window, i32.const(~Pending.Mailbox), lpOffset.pending));
  const isAccepted = f.let(accepts(apic, vector));
  const left = f.let(i32.const(entriesMax));
  f.block((empty) => {
    f.loop((next) => {
      const head = f.let(i32.atomicLoad(window, headAt));
      const place = i32.shl(i32.and(head, i32.const(mailboxCapacity - 1)), i32.const(2));
      const at = f.let(i32.add(window, place));
      const slots = lpOffset.mailbox + ringWord.slots * 4;
      const entry = f.let(i32.atomicLoad(at, slots));
      f.branchIf(empty, i32.eqz(entry));
      const kind = i32.and(entry, i32.const(entryKind | 0xff | occupied));
      const isOther = i32.xor(kind, i32.or(vector, i32.const(occupied)));
      f.if(i32.or(isOther, i32.or(i32.eqz(isAccepted), i32.eqz(left))), () => {
        f.drop(atomicOr32(window, i32.const(Pending.Mailbox), lpOffset.pending));
        f.set(foreign, i32.const(1));
        f.branch(empty);
      });
      f.atomicStore32(at, i32.const(0), slots);
      f.atomicStore32(window, i32.add(head, i32.const(1)), headAt);
      f.set(isNotified, i32.const(1));
      f.set(left, i32.sub(left, i32.const(1)));
      f.branch(next);
    });
  });
}

/** The local APIC takes a fixed interrupt of this vector, and its priority is higher than what is being served. */
function accepts(apic: I32, vector: I32): I32 {
  const mode = i32.load(apic, ApicPrivate.mode);
  const spurious = i32.load(apic, ApicRegister.SpuriousVector);
  const priority = i32.load8u(apic, ApicRegister.ProcessorPriority);
  const isOn = i32.and(spurious, i32.const(spuriousVectorBit.enable));
  return i32.and(
    i32.and(i32.ne(mode, i32.const(ApicMode.Disabled)), i32.ne(isOn, i32.const(0))),
    i32.gtU(priorityClass(vector), priorityClass(priority)),
  );
}

/**
 * "Posted-Interrupt Processing". Of the local APIC's acknowledgement and end of interrupt nothing stays but the trigger mode.
 */
function process(f: FunctionBuilder, window: I32, vmcs: I32, page: I32): void {
  const vector = i32.load8u(vmcs, slot.postedInterruptVector * 4);
  const edge = f.let(wordOf(i32.add(window, i32.const(lpOffset.apicPage)), vector));
  const modes = i32.load(edge, ApicRegister.TriggerMode);
  const isNot = i32.xor(bitOf(vector), i32.const(-1));
  f.store32(edge, i32.and(modes, isNot), ApicRegister.TriggerMode);
  const descriptor = f.let(i32.load(vmcs, slot.postedInterruptDescriptor * 4));
  const clear = i32.const(~postedControl.outstanding);
  f.drop(atomicAnd32(descriptor, clear, postedWord.control * 4));
  const status = f.let(interruptStatus(vmcs));
  const rvi = f.let(i32.and(status, i32.const(0xff)));
  const bits = f.let(i32.const(0));
  const found = f.let(i32.const(0));
  for (let group = 0; group < requestGroups; group++) {
    const requests = (postedWord.requests + group) * 4;
    f.if(i32.atomicLoad(descriptor, requests), () => {
      f.set(bits, atomicExchange32(descriptor, i32.const(0), requests));
      const place = ApicRegister.InterruptRequest + group * 16;
      f.store32(page, i32.or(i32.load(page, place), bits), place);
      f.set(found, i32.add(i32.const(group * 32), highestBit(bits)));
    });
  }
  f.if(i32.gtU(found, rvi), () => {
    f.set(rvi, found);
    const svi = i32.and(status, i32.const(0xff00));
    setInterruptStatus(f, window, vmcs, i32.or(svi, rvi));
  });
  evaluate(f, window, page, rvi);
}

/**
 * (VMCS) → not 0 when the recognized interrupt has been delivered: "Virtual-Interrupt Delivery", through an interrupt or trap gate
 * to code of level 0 that runs already, on the stack in use. Else nothing has been done.
 */
export function interruptDelivery(
  window: I32,
  { readable, writable, isLoaded }: LinearAccess,
): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const vmcs = f.parameter(0, "i32");
  const giveUpIf = (condition: I32): void => f.if(condition, () => f.return(i32.const(0)));
  f.scope(() => {
    const page = f.let(virtualApicPage(vmcs));
    const vector = f.let(i32.and(interruptStatus(vmcs), i32.const(0xff)));
    const offset = f.let(i32.shl(vector, i32.const(4)));
    giveUpIf(isRestricted(window));
    giveUpIf(i32.gtU(i32.add(offset, i32.const(15)), i32.load(window, lpOffset.idtrLimit)));
    const linear = i64.add(i64.load(window, lpOffset.idtrBase), i64.extendU(offset));
    const gate = f.let(callValue("i32", readable, linear, i32.const(15)));
    giveUpIf(i32.eq(gate, missed));
    const low = f.let(i32.load(gate));
    const high = f.let(i32.load(gate, 4));
    // Present, a gate of type 14 or 15, no stack of its own.
    giveUpIf(i32.ne(i32.and(high, i32.const(0x9e07)), i32.const(0x8e00)));
    const selector = i32.and(i32.shrU(low, i32.const(16)), i32.const(0xfffc));
    giveUpIf(i32.eqz(isLevel0Code(window)));
    giveUpIf(i32.eqz(callValue("i32", isLoaded, selector, i32.const(Segment.CS))));
    const entryLow = i32.or(i32.and(high, i32.const(0xffff_0000)), i32.and(low, i32.const(0xffff)));
    const entry = f.let(
      i64.or(i64.extendU(entryLow), i64.shl(i64.load32u(gate, 8), i64.const(32))),
    );
    giveUpIf(i32.eqz(isCanonical(entry)));
    const top = i64.and(i64.load(window, rsp), i64.const(-16));
    const stack = f.let(i64.sub(top, i64.const(40)));
    const frame = f.let(callValue("i32", writable, stack, i32.const(39)));
    giveUpIf(i32.eq(frame, missed));
    pushFrame(f, window, frame);
    f.store(8, window, stack, rsp);
    f.store(8, window, entry, lpOffset.rip);
    // A trap gate leaves interrupts enabled.
    const isTrap = i32.and(i32.shrU(high, i32.const(8)), i32.const(1));
    const masks = i32.shl(i32.xor(isTrap, i32.const(1)), i32.const(31 - Math.clz32(flagBit.IF)));
    const cleared = i32.or(masks, i32.const(flagBit.TF | flagBit.NT | flagBit.RF | flagBit.VM));
    const flags = i32.load(window, lpOffset.systemFlags);
    f.store32(window, i32.and(flags, i32.xor(cleared, i32.const(-1))), lpOffset.systemFlags);
    takeIntoService(f, window, vmcs, page, vector);
    f.return(i32.const(1));
  });
  f.unreachable();
  return f;
}

function pushFrame(f: FunctionBuilder, window: I32, frame: I32): void {
  const flags = i32.or(i32.load(window, lpOffset.systemFlags), readStatusFlags(f, window));
  f.store(8, frame, i64.load(window, lpOffset.rip));
  f.store(8, frame, i64.extendU(selectorOf(window, Segment.CS)), 8);
  f.store(8, frame, i64.extendU(flags), 16);
  f.store(8, frame, i64.load(window, rsp), 24);
  f.store(8, frame, i64.extendU(selectorOf(window, Segment.SS)), 32);
}

function takeIntoService(f: FunctionBuilder, window: I32, vmcs: I32, page: I32, vector: I32): void {
  const at = f.let(wordOf(page, vector));
  const bit = f.let(bitOf(vector));
  const { InService, InterruptRequest, ProcessorPriority } = ApicRegister;
  f.store32(at, i32.or(i32.load(at, InService), bit), InService);
  f.store32(page, i32.and(vector, i32.const(0xf0)), ProcessorPriority);
  const others = i32.and(i32.load(at, InterruptRequest), i32.xor(bit, i32.const(-1)));
  f.store32(at, others, InterruptRequest);
  const svi = i32.shl(vector, i32.const(8));
  setInterruptStatus(f, window, vmcs, i32.or(highestVector(page, InterruptRequest), svi));
  f.store32(window, i32.const(0), assistantOffset.recognized);
}
