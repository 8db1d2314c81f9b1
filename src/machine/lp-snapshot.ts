import { LpState } from "../cpu/lp-state.ts";
import { codeMode } from "../execution/code-mode.ts";
import { readStatusFlags } from "../execution/flags.ts";
import { Activity, lpOffset, Segment } from "../execution/lp-window.ts";
import { vmxOffset } from "../vmx/vmx-unit.ts";

const activityNames = Object.keys(Activity) as readonly (keyof typeof Activity)[];
const registerNames = [
  "RAX",
  "RCX",
  "RDX",
  "RBX",
  "RSP",
  "RBP",
  "RSI",
  "RDI",
  "R8",
  "R9",
  "R10",
  "R11",
  "R12",
  "R13",
  "R14",
  "R15",
] as const;
/** By the two low bits of the published mode. */
const vmxModes = ["off", "root"] as const;
const controlNames = ["cr0", "cr2", "cr3", "cr4", "efer"] as const;
const segmentNames = Object.keys(Segment) as readonly (keyof typeof Segment)[];

export type VmxMode = "off" | "root" | "non-root";

export interface SegmentSnapshot {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  /** Access rights in the VMX layout. */
  readonly rights: number;
}

/** What an LP's window says at one moment. */
export interface LpSnapshot {
  readonly index: number;
  readonly activity: string;
  /** Default size of code: 16, 32 or 64. */
  readonly bits: number;
  readonly cpl: number;
  readonly vmx: VmxMode;
  readonly rip: bigint;
  readonly rflags: number;
  readonly registers: Readonly<Record<string, bigint>>;
  readonly control: Readonly<Record<(typeof controlNames)[number], bigint>>;
  readonly segments: Readonly<Record<string, SegmentSnapshot>>;
}

/** Reads an LP's registers out of the shared memory; exact when the LP has stopped, a blurred picture when it runs. */
export function takeSnapshot(
  memory: WebAssembly.Memory,
  windowBase: number,
  index: number,
): LpSnapshot {
  const state = new LpState(memory, windowBase);
  return {
    index,
    activity: (
      activityNames.find((name) => Activity[name] === state.activity) ?? "unknown"
    ).toLowerCase(),
    bits: 16 << (state.read32(lpOffset.codeMode) & codeMode.sizeMask),
    cpl: state.cpl,
    vmx: vmxModes[state.read32(vmxOffset.mode) & 3] ?? "non-root",
    rip: state.rip,
    rflags: (state.read32(lpOffset.systemFlags) | readStatusFlags(state.u32, windowBase)) >>> 0,
    registers: Object.fromEntries(registerNames.map((name, number) => [name, state.gpr(number)])),
    control: {
      cr0: state.get("cr0"),
      cr2: state.get("cr2"),
      cr3: state.get("cr3"),
      cr4: state.get("cr4"),
      efer: state.get("efer"),
    },
    segments: Object.fromEntries(
      segmentNames.map((name) => {
        const number = Segment[name];
        return [
          name,
          {
            selector: state.selector(number),
            base: state.segmentBase(number),
            limit: state.limit(number),
            rights: state.rights(number),
          },
        ];
      }),
    ),
  };
}

const hex = (value: number | bigint, digits: number): string =>
  value.toString(16).padStart(digits, "0");

/** Where the LP is, in one line. */
export function describePlace(lp: LpSnapshot): string {
  const cs = lp.segments["CS"];
  const place = lp.vmx === "off" ? "" : `VMX ${lp.vmx} operation, `;
  return `LP ${lp.index}: ${lp.activity}, ${lp.bits}-bit code, CPL ${lp.cpl}, ${place}CS:RIP ${hex(cs?.selector ?? 0, 4)}:${hex(lp.rip, 16)}`;
}

/** All of it, several lines. */
export function describeState(lp: LpSnapshot): string {
  const registers = Object.entries(lp.registers).map(
    ([name, value]) => `${name.padStart(3)} ${hex(value, 16)}`,
  );
  const rows = [0, 4, 8, 12].map((at) => registers.slice(at, at + 4).join("  "));
  const control = controlNames
    .map((name) => `${name.toUpperCase()} ${hex(lp.control[name], 1)}`)
    .join("  ");
  const segments = Object.entries(lp.segments).map(
    ([name, s]) =>
      `${name.padStart(4)} ${hex(s.selector, 4)} base ${hex(s.base, 16)} limit ${hex(s.limit, 8)} rights ${hex(s.rights, 5)}`,
  );
  return [describePlace(lp), ...rows, `RFLAGS ${hex(lp.rflags, 8)}  ${control}`, ...segments].join(
    "\n  ",
  );
}
