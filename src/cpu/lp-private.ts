import { lpOffset } from "../execution/lp-window.ts";

/** Words of the window's part for the cpu room; u32 each. */
export const privateOffset = {
  /** Debug exceptions pending on the next boundary: DR6 bits B0–B3 (enabled ones) and BS; VMX adds bit 12. */
  pendingDebug: lpOffset.cpuPrivate + 0x00,
  /** How many NMIs are latched. */
  nmisPending: lpOffset.cpuPrivate + 0x04,
  /** An INIT is latched. */
  initPending: lpOffset.cpuPrivate + 0x08,
  /** Vector of a latched SIPI, or -1. */
  sipiVector: lpOffset.cpuPrivate + 0x0c,
  /** An ExtINT message is latched. */
  extIntPending: lpOffset.cpuPrivate + 0x10,
  /** MONITOR has armed a line. */
  monitorArmed: lpOffset.cpuPrivate + 0x14,
  /** Its physical address. */
  monitorAddress: lpOffset.cpuPrivate + 0x18,
  /** MWAIT was told to end at an interrupt though interrupts are masked. */
  mwaitBreaks: lpOffset.cpuPrivate + 0x1c,
  /** Data breakpoints that the instruction in progress has hit: DR6 bits. They count when it, or an iteration of it, is done. */
  dataHits: lpOffset.cpuPrivate + 0x20,
  /** Not 0: an event waits for RFLAGS.IF, a shadow or NMI blocking to go. */
  eventsHeldBack: lpOffset.cpuPrivate + 0x24,
  /** The 64 bytes the line held when MONITOR ran. */
  monitorLine: lpOffset.cpuPrivate + 0x40,
} as const;
