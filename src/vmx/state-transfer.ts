/**
 * Moving processor state between the LP window and the current VMCS, word by word over prepared tables: a VM exit and the
 * VM entry after it are to cost little more than the words they move.
 */
import type { LpState } from "../cpu/lp-state.ts";
import { deriveSegment } from "../cpu/segment-registers.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "../execution/lp-window.ts";
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

const windowIndex = Int32Array.from(guestWords, (word) => word.window);
const slotIndex = Int32Array.from(guestWords, (word) => word.position);
const ruleGroups = Int32Array.from(guestWords, (word) => groupsBySlot[word.position] ?? 0);
const segmentBits = Int32Array.from(guestWords, (word) =>
  word.segment < 0 ? 0 : 1 << word.segment,
);
const count = guestWords.length;

/**
 * Copies registers into the guest-state area.
 * @param words 32-bit words of the window, the VMCS cache included
 * @param base word at which the VMCS starts
 * @returns the groups of entry rules that read a word that has changed
 */
export function saveGuestWords(words: Int32Array, base: number): number {
  let groups = 0;
  for (let n = 0; n < count; n++) {
    const value = words[windowIndex[n] ?? 0] ?? 0;
    const at = base + (slotIndex[n] ?? 0);
    if (words[at] !== value) {
      words[at] = value;
      groups |= ruleGroups[n] ?? 0;
    }
  }
  return groups;
}

/**
 * Copies the guest-state area into the registers.
 * @returns bit n: the rights or limit of segment n (or the base of CS) have changed
 */
export function loadGuestWords(words: Int32Array, base: number): number {
  let segments = 0;
  for (let n = 0; n < count; n++) {
    const value = words[base + (slotIndex[n] ?? 0)] ?? 0;
    const at = windowIndex[n] ?? 0;
    if (words[at] !== value) {
      words[at] = value;
      segments |= segmentBits[n] ?? 0;
    }
  }
  return segments;
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
const hostWindowIndex = Int32Array.from(hostWords, (word) => word.window);
const hostSlotIndex = Int32Array.from(hostWords, (word) => word.position);
const hostCount = hostWords.length;

function segmentBaseOffset(segment: number): number {
  return lpOffset.segment + segment * segmentStride + segmentOffset.base;
}

/** Copies what VM exits load as it is. */
export function loadHostWords(words: Int32Array, base: number): void {
  for (let n = 0; n < hostCount; n++) {
    words[hostWindowIndex[n] ?? 0] = words[base + (hostSlotIndex[n] ?? 0)] ?? 0;
  }
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
