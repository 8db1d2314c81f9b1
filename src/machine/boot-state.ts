import type { LogicalProcessor } from "../cpu/logical-processor.ts";
import { cr0Bit, cr4Bit, eferBit, flagBit } from "../cpu/register-bits.ts";
import { setSegment } from "../cpu/segment-registers.ts";
import { lpOffset, Segment } from "../execution/lp-window.ts";
import { bootArea, bootDescriptorsLimit, bootSelector } from "./boot-area.ts";
import type { StartMode } from "./loaders/image.ts";

/** How the first LP starts an image. */
export interface BootState {
  readonly mode: StartMode;
  /** Physical address of the first instruction; linear too, in every mode. */
  readonly entry: number;
  readonly eax: number;
  readonly ebx: number;
}

const flatLimit = 0xffff_ffff;
const realLimit = 0xffff;

/** Code and data segments of each mode, in the layout of the window's access rights. */
const segments = {
  real16: { code: 0x009b, data: 0x0093, selector: 0, limit: realLimit },
  protected32: { code: 0xc09b, data: 0xc093, selector: bootSelector.code32, limit: flatLimit },
  long64: { code: 0xa09b, data: 0xc093, selector: bootSelector.code64, limit: flatLimit },
} as const;

const dataSegments = [Segment.ES, Segment.SS, Segment.DS, Segment.FS, Segment.GS] as const;
const gpr = { rax: 0, rbx: 3, rsp: 4 } as const;

/**
 * Takes a freshly reset LP to where firmware and a boot loader would have brought it: flat segments from descriptors in the
 * boot area, a stack below them, interrupts off, the local APIC in virtual-wire mode.
 */
export function applyBootState(lp: LogicalProcessor, { mode, entry, eax, ebx }: BootState): void {
  const { state } = lp;
  const { code, data, selector, limit } = segments[mode];
  const isReal = mode === "real16";
  // Real mode reaches an entry point above 64 KiB by the segment.
  const realBase = entry > realLimit ? entry & ~0xf : 0;
  const codeBase = isReal ? realBase : 0;

  lp.apic.configureVirtualWire();
  state.setLow("cr0", isReal ? cr0Bit.ET : cr0Bit.ET | cr0Bit.PE);
  if (mode === "long64") {
    state.setLow("cr4", cr4Bit.PAE);
    state.set("cr3", BigInt(bootArea.pageTables));
    state.setLow("efer", eferBit.LME | eferBit.LMA);
    state.setLow("cr0", cr0Bit.ET | cr0Bit.PE | cr0Bit.PG);
  }
  if (!isReal) {
    state.set("gdtrBase", BigInt(bootArea.descriptors));
    state.write32(lpOffset.gdtrLimit, bootDescriptorsLimit);
  }
  setSegment(state, Segment.CS, isReal ? codeBase >> 4 : selector, code, limit, BigInt(codeBase));
  for (const segment of dataSegments) {
    setSegment(state, segment, isReal ? 0 : bootSelector.data, data, limit, 0n);
  }
  state.setGpr32(gpr.rax, eax);
  state.setGpr32(gpr.rbx, ebx);
  state.setGpr32(gpr.rsp, isReal ? 0 : bootArea.start);
  state.rip = BigInt(entry - codeBase);
  lp.writeFlags(flagBit.fixed);
  lp.loadControlState();
}
