import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { cr0Bit, cr4Bit, eferBit, flagBit } from "../cpu/register-bits.ts";
import type { ScriptStreams } from "../cpu/scripts/script-streams.ts";
import { setSegment } from "../cpu/segment-registers.ts";
import { Activity, lpOffset, Segment } from "../execution/lp-window.ts";
import type { HostLayout } from "../isa/operations.ts";
import { bootArea, writeIdentityMap } from "./boot-area.ts";
import { highRamStart } from "./memory-map.ts";

/**
 * What the loader of scripts leaves in RAM: the identity map where other images find theirs, descriptor tables where those find
 * Multiboot information, and a stack for each LP from 1 MiB on.
 */
const area = {
  gdt: bootArea.information,
  idt: bootArea.information + 0x1000,
  task: bootArea.information + 0x2000,
} as const;

const selector = { code: 0x08, data: 0x10, task: 0x18 } as const;
const rights = { code: 0xa09b, data: 0xc093, busyTask: 0x008b } as const;
const taskLimit = 0x67;
const flatLimit = 0xffff_ffff;
const vectors = 256;
const gateBytes = 16;
/** Present, privilege 0, 64-bit interrupt gate. */
const interruptGate = 0x8e00n;
const stackBytes = 0x4000;

/** The stacks of all LPs. */
export function scriptStacks(lpCount: number): { start: number; end: number } {
  return { start: highRamStart, end: highRamStart + lpCount * stackBytes };
}

export function scriptHost(lp: number): HostLayout {
  return {
    codeSelector: selector.code,
    dataSelector: selector.data,
    taskSelector: selector.task,
    gdtBase: BigInt(area.gdt),
    idtBase: BigInt(area.idt),
    taskBase: BigInt(area.task),
    stackTop: BigInt(highRamStart + (lp + 1) * stackBytes),
  };
}

const descriptors = [
  0n,
  /** 64-bit code, accessed. */
  0x00af_9b00_0000_ffffn,
  /** Data, read and write, accessed. */
  0x00cf_9300_0000_ffffn,
  /** Task-state segment, 64-bit, busy: two entries. */
  (BigInt(area.task & 0xff_ffff) << 16n) | (0x8bn << 40n) | BigInt(taskLimit),
  0n,
] as const;

export function writeScriptArea(ram: Uint8Array): void {
  writeIdentityMap(ram);
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  descriptors.forEach((descriptor, index) => {
    view.setBigUint64(area.gdt + index * 8, descriptor, true);
  });
}

/** Points every gate of the IDT at the program `interrupt`, if there is one. */
export function writeScriptGates(ram: Uint8Array, gate: (vector: number) => bigint): void {
  const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
  for (let vector = 0; vector < vectors; vector++) {
    const offset = gate(vector);
    const at = area.idt + vector * gateBytes;
    const low =
      (offset & 0xffffn) |
      (BigInt(selector.code) << 16n) |
      (interruptGate << 32n) |
      (((offset >> 16n) & 0xffffn) << 48n);
    view.setBigUint64(at, low, true);
    view.setBigUint64(at + 8, offset >> 32n, true);
  }
}

/** Takes a freshly reset LP to the first operation of the program `main`: 64-bit mode, flat, interrupts off. */
export function applyScriptedState(lp: LogicalProcessor, scripts: ScriptStreams): void {
  const { state } = lp;
  lp.apic.configureVirtualWire();
  state.setLow("cr4", cr4Bit.PAE | cr4Bit.OSFXSR | cr4Bit.OSXMMEXCPT);
  state.set("cr3", BigInt(bootArea.pageTables));
  state.setLow("efer", eferBit.LME | eferBit.LMA);
  state.setLow("cr0", cr0Bit.ET | cr0Bit.PE | cr0Bit.PG | cr0Bit.NE | cr0Bit.MP | cr0Bit.WP);
  state.set("gdtrBase", BigInt(area.gdt));
  state.write32(lpOffset.gdtrLimit, descriptors.length * 8 - 1);
  state.set("idtrBase", BigInt(area.idt));
  state.write32(lpOffset.idtrLimit, vectors * gateBytes - 1);
  setSegment(state, Segment.CS, selector.code, rights.code, flatLimit, 0n);
  for (const segment of [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS]) {
    setSegment(state, segment, selector.data, rights.data, flatLimit, 0n);
  }
  setSegment(state, Segment.TR, selector.task, rights.busyTask, taskLimit, BigInt(area.task));
  const rsp = 4;
  state.setGpr(rsp, scriptHost(lp.index).stackTop);
  state.rip = scripts.entry("main", lp.index);
  state.activity = Activity.Active;
  lp.writeFlags(flagBit.fixed);
  lp.loadControlState();
}
