import { lpOffset, Pending } from "../../execution/lp-window.ts";
import { Mailbox } from "../../protocol/mailbox.ts";

/** The mailbox in an LP's window; its doorbell is the LP's pending word. */
export function lpMailbox(words: Int32Array<ArrayBufferLike>, windowBase: number): Mailbox {
  return new Mailbox({
    words,
    ring: windowBase + lpOffset.mailbox,
    doorbell: windowBase + lpOffset.pending,
    doorbellBit: Pending.Mailbox,
    asleep: windowBase + lpOffset.asleep,
  });
}
