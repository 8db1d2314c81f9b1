import { ApicMode, ApicPrivate } from "../../cpu/local-apic/registers.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import { lpOffset, lpWindowBytes, Pending } from "../../execution/lp-window.ts";
import { windowBase } from "../../memory/physical-memory.ts";
import { messageEntry } from "../../protocol/interrupt-entry.ts";
import { DeliveryMode, Shorthand } from "../../protocol/interrupt-message.ts";
import { mailboxCapacity, occupied, ringWord } from "../../protocol/mailbox.ts";
import {
  atomicCompareExchange,
  atomicNotify,
  atomicOr32,
  type I32,
  i32,
  i64,
} from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { assistantOffset } from "./assistant-window.ts";

/** From now on the LP's assistants send plain interrupts themselves, into the mailboxes of all LPs of the machine. */
export function letAssistantsSend({ state, layout }: LogicalProcessor): void {
  state.write32(assistantOffset.peers, windowBase(layout, 0));
  state.write32(assistantOffset.peerCount, layout.lpCount);
}
export function sentByAssistants({ state }: LogicalProcessor): number {
  return state.read32(assistantOffset.sent);
}

/** A fixed interrupt of vector 0 from LP 0; each LP after it adds `sourceStep`. */
const plain = {
  deliveryMode: DeliveryMode.Fixed,
  logical: false,
  level: false,
  assert: true,
} as const;
const entryFrom = (source: number): number =>
  messageEntry({
    ...plain,
    vector: 0,
    shorthand: Shorthand.None,
    destination: 0,
    wide: true,
    source,
  });
const sourceStep = entryFrom(1) - entryFrom(0);
const broadcast = -1;

/**
 * (x2APIC id, vector) → not 0 when the fixed interrupt has been sent to the LP of that id, physically, or there is no such LP.
 * `MailboxFabric` is the authority; what is not this simple is left to it: an APIC in another mode, a full mailbox.
 */
export function sending(window: I32): FunctionBuilder {
  const f = new FunctionBuilder(["i32", "i32"], ["i32"]);
  const id = f.parameter(0, "i32");
  const vector = f.parameter(1, "i32");
  const refused = i32.const(0);
  f.scope(() => {
    const peer = f.let(i32.load(window, assistantOffset.peers));
    const cannot = i32.or(i32.eqz(peer), i32.eq(id, i32.const(broadcast)));
    f.if(cannot, () => f.return(refused));
    const left = f.let(i32.load(window, assistantOffset.peerCount));
    const target = f.let(i32.const(0));
    f.loop((next) => {
      const mode = i32.atomicLoad(peer, lpOffset.apicPage + ApicPrivate.mode);
      f.if(i32.ne(mode, i32.const(ApicMode.X2Apic)), () => f.return(refused));
      const isTarget = i32.eq(i32.atomicLoad(peer, lpOffset.apicPage + ApicPrivate.x2apicId), id);
      f.if(isTarget, () => f.set(target, peer));
      f.set(peer, i32.add(peer, i32.const(lpWindowBytes)));
      f.set(left, i32.sub(left, i32.const(1)));
      f.branchIf(next, left);
    });
    f.if(target, () => {
      const source = i32.mul(i32.load(window, lpOffset.index), i32.const(sourceStep));
      const entry = i32.or(i32.add(source, i32.const(entryFrom(0) | occupied)), vector);
      post(f, target, entry, refused);
    });
    f.return(i32.const(1));
  });
  f.unreachable();
  return f;
}

/** As `Mailbox.post`. */
function post(f: FunctionBuilder, target: I32, entry: I32, refused: I32): void {
  const tailAt = lpOffset.mailbox + ringWord.tail * 4;
  const tail = f.let(i32.const(0));
  f.loop((again) => {
    f.set(tail, i32.atomicLoad(target, tailAt));
    const head = i32.atomicLoad(target, lpOffset.mailbox + ringWord.head * 4);
    const isFull = i32.geU(i32.sub(tail, head), i32.const(mailboxCapacity));
    f.if(isFull, () => f.return(refused));
    const found = atomicCompareExchange(
      4,
      i32.add(target, i32.const(tailAt)),
      i64.extendU(tail),
      i64.extendU(i32.add(tail, i32.const(1))),
    );
    f.branchIf(again, i64.ne(found, i64.extendU(tail)));
  });
  const slot = i32.shl(i32.and(tail, i32.const(mailboxCapacity - 1)), i32.const(2));
  f.atomicStore32(i32.add(target, slot), entry, lpOffset.mailbox + ringWord.slots * 4);
  f.drop(atomicOr32(target, i32.const(Pending.Mailbox), lpOffset.pending));
  f.if(i32.atomicLoad(target, lpOffset.asleep), () => {
    f.drop(atomicNotify(target, i32.const(0x7fff_ffff), lpOffset.pending));
  });
}
