/**
 * Moving processor state between the LP window and the current VMCS: a VM exit and the VM entry after it are to cost little
 * more than the words they move.
 */
import type { LpState } from "../cpu/lp-state.ts";
import { deriveSegment } from "../cpu/segment-registers.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "../execution/lp-window.ts";
import { type I32, i32, i64 } from "../wasm/expression.ts";
import { FunctionBuilder } from "../wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../wasm/module-builder.ts";
import { groupsBySlot } from "./entry-rules/all-rules.ts";
import { type FieldName, slot } from "./vmcs-fields.ts";

/** Bits of what the loading functions return, beside those of segments: CR0, CR4, EFER, DR7 or a mode flag has changed. */
export const modeChanged = 1 << 8;
/** What `LogicalProcessor.loadControlState` derives things from. */
export const derivesMore = modeChanged | (1 << Segment.CS) | (1 << Segment.SS);

/** One 32-bit word that is the same in the window and in the guest-state area. */
interface Word {
  /** Word index in the window. */
  readonly window: number;
  /** Word index in the VMCS. */
  readonly position: number;
  /** Segment whose derived range depends on it, or -1. */
  readonly segment: number;
}

function words32(offset: number, field: FieldName, segment = -1): Word[] {
  return [{ window: offset >>> 2, position: slot[field], segment }];
}
function words64(offset: number, field: FieldName, segment = -1): Word[] {
  return [
    { window: offset >>> 2, position: slot[field], segment },
    { window: (offset >>> 2) + 1, position: slot[field] + 1, segment },
  ];
}

const segmentNames = ["Es", "Cs", "Ss", "Ds", "Fs", "Gs", "Ldtr", "Tr"] as const;

function segmentWords(name: (typeof segmentNames)[number], number: number): Word[] {
  const at = lpOffset.segment + number * segmentStride;
  return [
    ...words32(at + segmentOffset.selector, `guest${name}Selector`),
    ...words32(at + segmentOffset.rights, `guest${name}AccessRights`, number),
    ...words32(at + segmentOffset.limit, `guest${name}Limit`, number),
    // The base of CS is part of how code is fetched.
    ...words64(at + segmentOffset.base, `guest${name}Base`, number === Segment.CS ? number : -1),
  ];
}

const rspOffset = lpOffset.gpr + 4 * 8;

const guestWords: readonly Word[] = [
  ...words64(rspOffset, "guestRsp"),
  ...words64(lpOffset.rip, "guestRip"),
  ...words64(lpOffset.cr3, "guestCr3"),
  ...segmentNames.flatMap(segmentWords),
  ...words64(lpOffset.gdtrBase, "guestGdtrBase"),
  ...words32(lpOffset.gdtrLimit, "guestGdtrLimit"),
  ...words64(lpOffset.idtrBase, "guestIdtrBase"),
  ...words32(lpOffset.idtrLimit, "guestIdtrLimit"),
  ...words32(lpOffset.sysenterCs, "guestIa32SysenterCs"),
  ...words64(lpOffset.sysenterEsp, "guestIa32SysenterEsp"),
  ...words64(lpOffset.sysenterEip, "guestIa32SysenterEip"),
];

/** Words that lie side by side in both places are moved as one. */
interface Move {
  readonly window: number;
  readonly position: number;
  readonly isPair: boolean;
  /** Groups of entry rules that read it. */
  readonly groups: number;
  /** Bits of the segments that depend on it. */
  readonly segments: number;
}

function movesOf(words: readonly Word[]): readonly Move[] {
  const moves: Move[] = [];
  for (let n = 0; n < words.length; n++) {
    const word = words[n];
    const next = words[n + 1];
    if (word === undefined) break;
    const isPair =
      next !== undefined &&
      next.window === word.window + 1 &&
      next.position === word.position + 1 &&
      next.segment === word.segment;
    const groupsOf = (at: number): number => groupsBySlot[at] ?? 0;
    moves.push({
      window: word.window,
      position: word.position,
      isPair,
      groups: groupsOf(word.position) | (isPair ? groupsOf(word.position + 1) : 0),
      segments: word.segment < 0 ? 0 : 1 << word.segment,
    });
    if (isPair) n += 1;
  }
  return moves;
}

/**
 * A function that copies words between the window and a VMCS. Its parameter is the address of the VMCS; it answers what has
 * changed, as `bits` says.
 */
function copying(
  window: I32,
  words: readonly Word[],
  toVmcs: boolean,
  bits: (move: Move) => number,
): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const vmcs = f.parameter(0, "i32");
  f.scope(() => {
    const changed = f.let(i32.const(0));
    for (const move of movesOf(words)) {
      const [from, fromOffset, to, toOffset] = toVmcs
        ? ([window, move.window * 4, vmcs, move.position * 4] as const)
        : ([vmcs, move.position * 4, window, move.window * 4] as const);
      const load = move.isPair ? i64.load : i64.load32u;
      const value = f.let(load(from, fromOffset));
      const mask = bits(move);
      if (mask !== 0) {
        const differs = i64.ne(value, load(to, toOffset));
        f.set(changed, i32.or(changed, i32.and(i32.sub(i32.const(0), differs), i32.const(mask))));
      }
      f.store(move.isPair ? 8 : 4, to, value, toOffset);
    }
    f.result(changed);
  });
  return f;
}

/** Copies registers into the guest-state area. */
export const savingGuest = (window: I32): FunctionBuilder =>
  copying(window, guestWords, true, (move) => move.groups);
/** Copies the guest-state area into the registers. */
export const loadingGuest = (window: I32): FunctionBuilder =>
  copying(window, guestWords, false, (move) => move.segments);
/** Copies what VM exits load as it is. */
export const loadingHost = (window: I32): FunctionBuilder =>
  copying(window, hostWords, false, () => 0);

const memoryPagesMax = 65536;
let compiled: WebAssembly.Module | undefined;

function transferModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const module = new ModuleBuilder();
    const window = globalValue("i32", module.importGlobal("window", "i32"));
    module.add(savingGuest(window), "saveGuest");
    module.add(loadingGuest(window), "loadGuest");
    module.add(loadingHost(window), "loadHost");
    compiled = new WebAssembly.Module(module.finish(1, memoryPagesMax));
  }
  return compiled;
}

/** Moves words between one LP's window and a VMCS in its cache. Addresses are those of the shared memory. */
export interface StateTransfer {
  /**
   * Copies registers into the guest-state area.
   * @returns the groups of entry rules that read a word that has changed
   */
  saveGuest(vmcs: number): number;
  /**
   * Copies the guest-state area into the registers.
   * @returns bit n: the rights or limit of segment n (or the base of CS) have changed
   */
  loadGuest(vmcs: number): number;
  /** Copies what VM exits load as it is. */
  loadHost(vmcs: number): number;
}

export function createStateTransfer(memory: WebAssembly.Memory, windowBase: number): StateTransfer {
  const host = { memory, window: windowBase | 0 };
  const { exports } = new WebAssembly.Instance(transferModule(), {
    host: host as unknown as Record<string, WebAssembly.ImportValue>,
  });
  return exports as unknown as StateTransfer;
}

/** Writes a register that decides about modes; its upper half is 0. @returns `modeChanged` or 0 */
export function setMode(words: Int32Array, offset: number, value: number): number {
  const at = offset >>> 2;
  if (words[at] === (value | 0)) {
    return 0;
  }
  words[at] = value;
  words[at + 1] = 0;
  return modeChanged;
}

const hostWords: readonly Word[] = [
  ...words64(rspOffset, "hostRsp"),
  ...words64(lpOffset.rip, "hostRip"),
  ...words64(lpOffset.cr3, "hostCr3"),
  ...words64(segmentBaseOffset(Segment.FS), "hostFsBase"),
  ...words64(segmentBaseOffset(Segment.GS), "hostGsBase"),
  ...words64(segmentBaseOffset(Segment.TR), "hostTrBase"),
  ...words64(lpOffset.gdtrBase, "hostGdtrBase"),
  ...words64(lpOffset.idtrBase, "hostIdtrBase"),
  ...words32(lpOffset.sysenterCs, "hostIa32SysenterCs"),
  ...words64(lpOffset.sysenterEsp, "hostIa32SysenterEsp"),
  ...words64(lpOffset.sysenterEip, "hostIa32SysenterEip"),
];
function segmentBaseOffset(segment: number): number {
  return lpOffset.segment + segment * segmentStride + segmentOffset.base;
}

const hostSelectors = {
  [Segment.ES]: slot.hostEsSelector,
  [Segment.SS]: slot.hostSsSelector,
  [Segment.DS]: slot.hostDsSelector,
  [Segment.FS]: slot.hostFsSelector,
  [Segment.GS]: slot.hostGsSelector,
} as const;
const dataSegments = Int32Array.from(Object.keys(hostSelectors), Number);
const dataSelectorSlots = Int32Array.from(Object.values(hostSelectors));

/** Rights and limits that VM exits give segments ("Loading Host Segment and Descriptor-Table Registers"). */
const hostRights = {
  data: 0xc093,
  code64: 0xa09b,
  code32: 0xc09b,
  task: 0x8b,
  unusable: 0x1_0000,
} as const;
const flatLimit = -1;
const taskLimit = 0x67;

/** Writes one segment but for its base. @returns its bit if rights or limit have changed */
function setSegment(
  words: Int32Array,
  segment: number,
  selector: number,
  rights: number,
  limit: number,
): number {
  const at = (lpOffset.segment + segment * segmentStride) >>> 2;
  words[at] = selector;
  if (words[at + 1] === rights && words[at + 2] === limit) {
    return 0;
  }
  words[at + 1] = rights;
  words[at + 2] = limit;
  return 1 << segment;
}
/** @returns whether it was something else */
function clearBase(words: Int32Array, segment: number): boolean {
  const at = segmentBaseOffset(segment) >>> 2;
  if (words[at] === 0 && words[at + 1] === 0) {
    return false;
  }
  words[at] = 0;
  words[at + 1] = 0;
  return true;
}

/**
 * Loads the host's segment registers; the bases of FS, GS and TR are `loadHostWords`'s.
 * @returns bit n: the rights or limit of segment n (or the base of CS) have changed
 */
export function loadHostSegments(words: Int32Array, base: number, is64Bit: boolean): number {
  let segments = 0;
  for (let n = 0; n < dataSegments.length; n++) {
    const segment = dataSegments[n] ?? 0;
    const selector = words[base + (dataSelectorSlots[n] ?? 0)] ?? 0;
    const rights = selector === 0 ? hostRights.unusable : hostRights.data;
    segments |= setSegment(words, segment, selector, rights, flatLimit);
    if (segment < Segment.FS) {
      clearBase(words, segment);
    }
  }
  const codeRights = is64Bit ? hostRights.code64 : hostRights.code32;
  const code = words[base + slot.hostCsSelector] ?? 0;
  segments |= setSegment(words, Segment.CS, code, codeRights, flatLimit);
  if (clearBase(words, Segment.CS)) {
    segments |= 1 << Segment.CS;
  }
  const task = words[base + slot.hostTrSelector] ?? 0;
  segments |= setSegment(words, Segment.TR, task, hostRights.task, taskLimit);
  segments |= setSegment(words, Segment.LDTR, 0, hostRights.unusable, 0);
  clearBase(words, Segment.LDTR);
  return segments;
}

/** Recomputes what is derived from the segments in a set; CS is `loadControlState`'s. */
export function deriveSegments(state: LpState, segments: number): void {
  for (let left = segments & 0xff & ~(1 << Segment.CS); left !== 0; left &= left - 1) {
    deriveSegment(state, 31 - Math.clz32(left & -left));
  }
}
