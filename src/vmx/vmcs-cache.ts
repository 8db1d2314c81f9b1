import type { LpState } from "../cpu/lp-state.ts";
import type { PhysicalAccess } from "../cpu/physical-access.ts";
import { lpOffset } from "../execution/lp-window.ts";
import { assistantOffset, lineOffset, lineStride } from "./assistants/assistant-window.ts";
import { allGroups, type GroupSet, groupsBySlot } from "./entry-rules/all-rules.ts";
import { vmcsBytes } from "./vmcs-fields.ts";

/**
 * The VMCS cache of one LP.
 *
 * A VMCS lives in a region of memory; an LP that makes it active keeps it in one of four lines of its window and works on
 * the line. Memory is brought up to date by VMCLEAR, when a line is needed for another VMCS, or by `spill`, which the
 * machine may call whenever it likes. Nothing tells the LPs about each other's lines: a VMCS active on two LPs at once goes
 * wrong the way it does on hardware.
 *
 * ```
 *             VMPTRLD                      VMCLEAR, eviction
 *   memory ────────────▶ line of this LP ───────────────────▶ memory
 * ```
 *
 * Layout of a region and of a line, in 32-bit words: revision identifier and shadow indicator, VMX-abort indicator, launch
 * state, spare, fields (see `vmcs-fields.ts`).
 */
export const lineCount = 4;
const lineWords = vmcsBytes >>> 2;

export const headerWord = { revision: 0, abortIndicator: 1, launchState: 2 } as const;
export const LaunchState = { Clear: 0, Launched: 1 } as const;
/** Bit 31 of the first word of a region. */
export const shadowIndicator = 0x8000_0000;

const noPointer = -1;

/** A VMCS as it was when it left its line, and what was known of the rules then. */
interface LineImage {
  readonly words: Uint32Array;
  dirty: GroupSet;
  live: GroupSet;
}
/** VMCSs of which an LP remembers that. */
const imagesMax = 64;

export class VmcsCache {
  /** 32-bit words of the LP window up to the end of the cache. */
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly #state: LpState;
  readonly #physical: PhysicalAccess;
  // By line.
  readonly #pointers = new Float64Array(lineCount).fill(noPointer);
  readonly #lastUse = new Float64Array(lineCount);
  /** By address, the one that left longest ago first. */
  readonly #images = new Map<number, LineImage>();
  #uses = 0;
  #line = 0;

  /** Physical address of the current VMCS, -1 when there is none. */
  currentPointer = noPointer;
  /** Word at which the current VMCS starts; meaningless without one. */
  base = 0;

  constructor(state: LpState, physical: PhysicalAccess) {
    this.#state = state;
    this.#physical = physical;
    const bytes = lpOffset.vmcsCache + lineCount * vmcsBytes;
    this.u32 = new Uint32Array(state.u32.buffer, state.base, bytes >>> 2);
    this.i32 = new Int32Array(state.u32.buffer, state.base, bytes >>> 2);
  }

  /** Word at which a part of a line's state is: it lies in the window, where assistants find it. */
  #word(line: number, part: number): number {
    return (assistantOffset.lines + line * lineStride + part) >>> 2;
  }

  /** Address of the state of the current VMCS's line. */
  get lineLocation(): number {
    return this.#state.base + assistantOffset.lines + this.#line * lineStride;
  }
  /** Address of the current VMCS in the shared memory. */
  get location(): number {
    return this.#state.base + this.base * 4;
  }
  get hasCurrent(): boolean {
    return this.currentPointer !== noPointer;
  }

  // ——— fields of the current VMCS, by slot

  low(position: number): number {
    return this.u32[this.base + position] ?? 0;
  }
  high(position: number): number {
    return this.u32[this.base + position + 1] ?? 0;
  }
  /** Writes a field whole. The groups of rules that read it are to be looked at again if it changes. */
  write(position: number, low: number, high: number): void {
    const at = this.base + position;
    const words = this.i32;
    if (words[at] !== (low | 0) || words[at + 1] !== (high | 0)) {
      words[at] = low;
      words[at + 1] = high;
      this.changed(groupsBySlot[position] ?? 0);
    }
  }
  write32(position: number, value: number): void {
    this.write(position, value, 0);
  }
  /** Writes a field that no rule reads: exit information. */
  put(position: number, low: number, high: number): void {
    const at = this.base + position;
    this.i32[at] = low;
    this.i32[at + 1] = high;
  }
  /** A field as an address below 2^53. */
  address(position: number): number {
    return this.high(position) * 0x1_0000_0000 + this.low(position);
  }

  /** To be called by whoever has written words of the current line directly. */
  changed(groups: GroupSet): void {
    const words = this.i32;
    words[this.#word(this.#line, lineOffset.modified)] = 1;
    const dirty = this.#word(this.#line, lineOffset.dirty);
    words[dirty] = (words[dirty] ?? 0) | groups;
  }
  /** Groups of rules of which a field has changed since they last held. */
  get dirty(): GroupSet {
    return this.i32[this.#word(this.#line, lineOffset.dirty)] ?? allGroups;
  }
  /** Groups with rules that must be looked at each time. */
  get live(): GroupSet {
    return this.i32[this.#word(this.#line, lineOffset.live)] ?? 0;
  }
  /** These groups have just been found to hold. @param live those of them that must be looked at again all the same */
  held(groups: GroupSet, live: GroupSet): void {
    const dirty = this.#word(this.#line, lineOffset.dirty);
    this.i32[dirty] = (this.i32[dirty] ?? 0) & ~groups;
    this.i32[this.#word(this.#line, lineOffset.live)] = live;
  }

  // ——— header of the current VMCS

  get isShadow(): boolean {
    return this.low(headerWord.revision) >>> 31 !== 0;
  }
  get isLaunched(): boolean {
    return this.low(headerWord.launchState) === LaunchState.Launched;
  }
  setLaunched(): void {
    this.i32[this.base + headerWord.launchState] = LaunchState.Launched;
    this.#setModified(this.#line, 1);
  }

  // ——— residency

  /** Makes a VMCS current. Its region is in RAM. */
  load(pointer: number): void {
    let line = this.#find(pointer);
    if (line < 0) {
      line = this.#victim();
      this.#evict(line);
      this.#fill(line, pointer);
    }
    this.#use(line);
    this.#line = line;
    this.base = this.#baseOf(line);
    this.currentPointer = pointer;
  }

  /**
   * Writes a VMCS back, makes its launch state clear and drops it from the cache. If it was current, there is no current
   * VMCS afterwards.
   */
  clear(pointer: number): void {
    const line = this.#find(pointer);
    if (line >= 0) {
      this.i32[this.#baseOf(line) + headerWord.launchState] = LaunchState.Clear;
      this.#writeBack(line);
      this.#remember(line, pointer);
      this.#pointers[line] = noPointer;
    } else if (this.#physical.isRam(pointer)) {
      this.#physical.write32(pointer + headerWord.launchState * 4, LaunchState.Clear);
    }
    if (pointer === this.currentPointer) {
      this.currentPointer = noPointer;
    }
  }

  /** Brings memory up to date; the lines stay. */
  spill(): void {
    for (let line = 0; line < lineCount; line++) {
      if (this.#isModified(line) && this.#pointers[line] !== noPointer) {
        this.#writeBack(line);
      }
    }
  }

  /** Writes everything back and forgets it. */
  drain(): void {
    this.spill();
    this.#pointers.fill(noPointer);
    this.currentPointer = noPointer;
  }

  /** Addresses of the VMCSs that are active here. */
  active(): number[] {
    return Array.from(this.#pointers).filter((pointer) => pointer !== noPointer);
  }

  #baseOf(line: number): number {
    return (lpOffset.vmcsCache >>> 2) + line * lineWords;
  }
  #isModified(line: number): boolean {
    return this.i32[this.#word(line, lineOffset.modified)] !== 0;
  }
  #setModified(line: number, value: 0 | 1): void {
    this.i32[this.#word(line, lineOffset.modified)] = value;
  }
  #find(pointer: number): number {
    for (let line = 0; line < lineCount; line++) {
      if (this.#pointers[line] === pointer) {
        return line;
      }
    }
    return -1;
  }
  #use(line: number): void {
    this.#uses += 1;
    this.#lastUse[line] = this.#uses;
  }
  /** A free line, or the one that has not been used for longest. */
  #victim(): number {
    let victim = 0;
    for (let line = 0; line < lineCount; line++) {
      if (this.#pointers[line] === noPointer) {
        return line;
      }
      if ((this.#lastUse[line] ?? 0) < (this.#lastUse[victim] ?? 0)) {
        victim = line;
      }
    }
    return victim;
  }
  #evict(line: number): void {
    const pointer = this.#pointers[line] ?? noPointer;
    if (pointer === noPointer) {
      return;
    }
    if (this.#isModified(line)) {
      this.#writeBack(line);
    }
    this.#remember(line, pointer);
    this.#pointers[line] = noPointer;
  }
  #fill(line: number, pointer: number): void {
    const from = pointer >>> 2;
    this.u32.set(this.#state.u32.subarray(from, from + lineWords), this.#baseOf(line));
    this.#pointers[line] = pointer;
    this.#setModified(line, 0);
    const image = this.#images.get(pointer);
    this.i32[this.#word(line, lineOffset.dirty)] =
      image === undefined ? allGroups : this.#dirtySince(image, this.#baseOf(line));
    this.i32[this.#word(line, lineOffset.live)] = image?.live ?? 0;
  }

  /** What is known of a VMCS's rules still stands when it comes back, but for fields that are different then. */
  #remember(line: number, pointer: number): void {
    const image = this.#imageFor(pointer);
    const base = this.#baseOf(line);
    image.words.set(this.u32.subarray(base, base + lineWords));
    image.dirty = this.i32[this.#word(line, lineOffset.dirty)] ?? allGroups;
    image.live = this.i32[this.#word(line, lineOffset.live)] ?? 0;
    this.#images.set(pointer, image);
  }
  #imageFor(pointer: number): LineImage {
    const known = this.#images.get(pointer);
    if (known !== undefined) {
      this.#images.delete(pointer);
      return known;
    }
    if (this.#images.size >= imagesMax) {
      for (const [oldest, image] of this.#images) {
        this.#images.delete(oldest);
        return image;
      }
    }
    return { words: new Uint32Array(lineWords), dirty: allGroups, live: 0 };
  }
  /** @param base of the line that now holds the VMCS */
  #dirtySince({ words, dirty }: LineImage, base: number): GroupSet {
    let groups = dirty;
    for (let n = 0; n < lineWords; n++) {
      if (this.u32[base + n] !== words[n]) {
        groups |= groupsBySlot[n] ?? 0;
      }
    }
    return groups;
  }
  /** All but revision identifier and abort indicator, which software and VMX aborts write in memory. */
  #writeBack(line: number): void {
    const pointer = this.#pointers[line] ?? 0;
    const base = this.#baseOf(line);
    const to = (pointer >>> 2) + headerWord.launchState;
    this.#state.u32.set(this.u32.subarray(base + headerWord.launchState, base + lineWords), to);
    this.#setModified(line, 0);
    this.#physical.announceWrite(pointer, vmcsBytes);
  }
}
