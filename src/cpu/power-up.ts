/** RESET, INIT and start-up: "Processor State After Reset", "MP Initialization Protocol". */
import { Activity, lpOffset, Segment } from "../execution/lp-window.ts";
import type { LogicalProcessor } from "./logical-processor.ts";
import { privateOffset } from "./lp-private.ts";
import { cr0Bit, dr6Reset, dr7Reset, flagBit } from "./register-bits.ts";
import { setSegment } from "./segment-registers.ts";

const data = 0x93;
const realLimit = 0xffff;
const rdx = 2;
const mxcsrReset = 0x1f80;
/** x87 after RESET; FNINIT would leave 37FH, and all registers empty. */
const x87Reset = { control: 0x40, status: 0, tags: 0x5555 } as const;

/** RESET, or power-up. The bootstrap processor becomes active, the others wait for a SIPI. */
export function powerUp(lp: LogicalProcessor): void {
  const { state } = lp;
  state.setLow("cr0", cr0Bit.ET | cr0Bit.NW | cr0Bit.CD);
  state.u8.fill(0, state.base + lpOffset.xmm, state.base + lpOffset.mxcsr);
  state.write32(lpOffset.mxcsr, mxcsrReset);
  state.write32(lpOffset.pkru, 0);
  state.write16(lpOffset.fcw, x87Reset.control);
  state.write16(lpOffset.fsw, x87Reset.status);
  state.write16(lpOffset.ftw, x87Reset.tags);
  state.write16(lpOffset.fop, 0);
  state.set("fip", 0n);
  state.set("fdp", 0n);
  state.set("xcr0", 1n);
  lp.msrs.reset();
  lp.apic.reset();
  lp.apicBaseChanged();
  state.write32(privateOffset.sipiVector, noSipi);
  resetRegisters(lp);
}

/**
 * INIT: as reset, but caches, x87 and SSE state, and most MSRs stay as they are. So does a SIPI that has come after the INIT:
 * an LP that is slow to look finds both.
 */
export function initialize(lp: LogicalProcessor): void {
  const { state } = lp;
  state.setLow("cr0", cr0Bit.ET | (state.read32(lpOffset.cr0) & (cr0Bit.NW | cr0Bit.CD)));
  lp.apic.initialize();
  lp.apicBaseChanged();
  resetRegisters(lp);
  lp.trace?.("init", { lp: lp.index });
}

/** SIPI: begins at the page that the vector names. */
export function startUp(lp: LogicalProcessor, vector: number): void {
  const { state } = lp;
  setSegment(state, Segment.CS, vector << 8, data, realLimit, BigInt(vector << 12));
  state.rip = 0n;
  state.activity = Activity.Active;
  lp.codeSegmentChanged();
  lp.trace?.("sipi", { lp: lp.index, vector });
}

function resetRegisters(lp: LogicalProcessor): void {
  const { state } = lp;
  for (let n = 0; n < 16; n++) {
    state.setGpr(n, 0n);
  }
  state.setGpr(rdx, BigInt(lp.model.signature));
  for (const name of ["cr2", "cr3", "cr4", "efer", "dr0", "dr1", "dr2", "dr3"] as const) {
    state.set(name, 0n);
  }
  state.setLow("dr6", dr6Reset);
  state.setLow("dr7", dr7Reset);
  for (const segment of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) {
    setSegment(state, segment, 0, data, realLimit, 0n);
  }
  setSegment(state, Segment.CS, 0xf000, data, realLimit, 0xffff_0000n);
  setSegment(state, Segment.LDTR, 0, 0x82, realLimit, 0n);
  setSegment(state, Segment.TR, 0, 0x8b, realLimit, 0n);
  state.set("gdtrBase", 0n);
  state.set("idtrBase", 0n);
  state.write32(lpOffset.gdtrLimit, realLimit);
  state.write32(lpOffset.idtrLimit, realLimit);
  for (let n = 0; n < 8; n++) {
    state.write32(lpOffset.pdpte + n * 4, 0);
  }
  state.rip = 0xfff0n;
  lp.writeFlags(flagBit.fixed);
  state.interruptibility = 0;
  lp.pendingDebug = 0;
  state.write32(privateOffset.nmisPending, 0);
  lp.initPending = false;
  state.write32(privateOffset.monitorArmed, 0);
  state.activity = lp.index === 0 ? Activity.Active : Activity.WaitForSipi;
  lp.addressSpace.invalidateAll();
  lp.loadControlState();
}

/** Value of `privateOffset.sipiVector` when no SIPI is latched. */
export const noSipi = 0xffff_ffff;
