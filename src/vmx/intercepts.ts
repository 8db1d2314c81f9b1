import type { InstructionView } from "../cpu/instruction-view.ts";
import { privateOffset } from "../cpu/lp-private.ts";
import type { DeliveredEvent, InterceptedInstruction, Intercepts } from "../cpu/ports.ts";
import { Vector } from "../cpu/trap.ts";
import { prefixBit } from "../execution/instruction-record.ts";
import { Activity } from "../execution/lp-window.ts";
import type { ApicVirtualization } from "./apic-virtualization/apic-virtualization.ts";
import { bitAt, ioBitmapsSelect, msrBitmapsSelect } from "./bitmaps.ts";
import { pin, primary, secondary } from "./controls.ts";
import type { VmExits } from "./exit.ts";
import {
  memoryAndRegisterInformation,
  memoryInformation,
  operandInformation,
  registerInformation,
  stringIoInformation,
  tableIdentity,
} from "./exit-information.ts";
import { exitReason } from "./exit-reasons.ts";
import type { GuestEvents } from "./guest-events.ts";
import { highHalf, lowHalf } from "./halves.ts";
import { type InterceptRow, interceptTable } from "./intercepted-instructions.ts";
import { InterruptionType } from "./interruption.ts";
import { OwnFields } from "./own-fields.ts";
import { slot } from "./vmcs-fields.ts";
import { type VmxUnit, vmxOffset } from "./vmx-unit.ts";

/** Access type of a control-register exit, bits 5:4 of the qualification. */
const ControlAccess = { To: 0, From: 1, Clts: 2, Lmsw: 3 } as const;
const taskSwitched = 1 << 3;
const statusWord = 0xf;

/** What the guest may not do by itself: VMX non-root operation as the cpu room asks about it. */
export class NonRootIntercepts implements Intercepts {
  readonly #unit: VmxUnit;
  readonly #exits: VmExits;
  readonly #events: GuestEvents;
  readonly #apic: ApicVirtualization;
  readonly #test: (address: number, bit: number) => boolean;
  readonly fields: OwnFields;
  /** The loop of PAUSEs in progress: clock at its first and its last one, and the number of VM entries before it. */
  readonly #pauseLoop = { first: 0, last: 0, entries: 0 };

  constructor(
    unit: VmxUnit,
    exits: VmExits,
    events: GuestEvents,
    apic: ApicVirtualization,
    ramBytes: number,
  ) {
    this.#unit = unit;
    this.#exits = exits;
    this.#events = events;
    this.#apic = apic;
    this.fields = new OwnFields(unit);
    const { state } = unit.lp;
    this.#test = (address, bit) => bitAt(state, ramBytes, address, bit);
  }

  get nonRoot(): boolean {
    return this.#unit.isNonRoot;
  }

  // ——— instructions

  instruction(which: InterceptedInstruction, insn: InstructionView, operand: bigint): boolean {
    // By far the most frequent one where software waits, and in no table.
    if (which === "PAUSE") {
      return this.#pause(insn);
    }
    const row = interceptTable[which];
    if (row !== undefined) {
      return this.#tabled(which, row, insn, operand);
    }
    switch (which) {
      case "RDMSR":
        return this.#msr(exitReason.rdmsr, insn, Number(operand), false);
      case "WRMSR":
        return this.#msr(exitReason.wrmsr, insn, Number(operand), true);
      case "MWAIT":
        return this.#mwait(insn);
      case "XSAVES":
        return this.#extendedState(exitReason.xsaves, insn, operand);
      case "XRSTORS":
        return this.#extendedState(exitReason.xrstors, insn, operand);
      default:
        return false;
    }
  }

  #tabled(
    which: InterceptedInstruction,
    row: InterceptRow,
    insn: InstructionView,
    operand: bigint,
  ): boolean {
    const { controls } = this.#unit;
    const isUnconditional = row.primary === undefined && row.secondary === undefined;
    const isSelected =
      (controls.primary & (row.primary ?? 0)) !== 0 ||
      (controls.secondary & (row.secondary ?? 0)) !== 0;
    if (!isUnconditional && !isSelected) {
      return false;
    }
    if (row.qualification === undefined && row.information === undefined) {
      this.#exits.instruction(row.reason, insn);
      return true;
    }
    const isDisplacement = row.qualification === "displacement" && insn.isMemory;
    const value = isDisplacement
      ? insn.displacement
      : row.qualification === "operand"
        ? operand
        : 0n;
    const information = informationOf(which, row, insn);
    this.#exits.instruction(row.reason, insn, lowHalf(value), highHalf(value), information);
    return true;
  }

  /** VMREAD and VMWRITE. @returns false when they go to the shadow VMCS */
  fieldAccess(insn: InstructionView, isWrite: boolean): boolean {
    const encoding = isWrite ? insn.destination : insn.source;
    if (this.#isShadowed(encoding, isWrite)) {
      return false;
    }
    const other = isWrite ? insn.source : insn.destination;
    const information = (operandInformation(insn, other) | (encoding << 28)) >>> 0;
    const at = insn.isMemory ? insn.displacement : 0n;
    const reason = isWrite ? exitReason.vmwrite : exitReason.vmread;
    this.#exits.instruction(reason, insn, lowHalf(at), highHalf(at), information);
    return true;
  }
  /** "VMREAD Bitmap" and "VMWRITE Bitmap": a bit for each encoding of 15 bits; there is no shadow of any other. */
  #isShadowed(encodingRegister: number, isWrite: boolean): boolean {
    const { lp, vmcs, controls } = this.#unit;
    if ((controls.secondary & secondary.vmcsShadowing) === 0) {
      return false;
    }
    const encoding = lp.state.gpr32(encodingRegister);
    const isWide = lp.is64Bit && lp.state.readHigh32(encodingRegister * 8) !== 0;
    const bitmap = isWrite ? slot.vmwriteBitmap : slot.vmreadBitmap;
    return !isWide && encoding >>> 15 === 0 && !this.#test(vmcs.address(bitmap), encoding);
  }

  isUndefined(which: "RDTSCP" | "INVPCID" | "XSAVES"): boolean {
    const control =
      which === "RDTSCP"
        ? secondary.enableRdtscp
        : which === "INVPCID"
          ? secondary.enableInvpcid
          : secondary.enableXsavesXrstors;
    return (this.#unit.controls.secondary & control) === 0;
  }

  #msr(reason: number, insn: InstructionView, index: number, isWrite: boolean): boolean {
    const { controls, vmcs } = this.#unit;
    const usesBitmaps = (controls.primary & primary.useMsrBitmaps) !== 0;
    const exits =
      !usesBitmaps || msrBitmapsSelect(this.#test, vmcs.address(slot.msrBitmaps), index, isWrite);
    if (exits) {
      this.#exits.instruction(reason, insn);
    }
    return exits;
  }

  readApicMsr(index: number): bigint | undefined {
    return this.#apic.readMsr(index);
  }
  writeApicMsr(index: number, value: bigint): boolean {
    return this.#apic.writeMsr(index, value);
  }

  #mwait(insn: InstructionView): boolean {
    const { controls, lp } = this.#unit;
    if ((controls.primary & primary.mwaitExiting) === 0) {
      return false;
    }
    this.#exits.instruction(
      exitReason.mwait,
      insn,
      lp.state.read32(privateOffset.monitorArmed) & 1,
    );
    return true;
  }

  #pause(insn: InstructionView): boolean {
    const { controls } = this.#unit;
    if ((controls.primary & primary.pauseExiting) === 0 && !this.#isPauseLoop()) {
      return false;
    }
    this.#exits.instruction(exitReason.pause, insn);
    return true;
  }
  /** "PAUSE-Loop Exiting": at CPL 0, a loop of PAUSEs that follow one another closely has gone on for too long. */
  #isPauseLoop(): boolean {
    const { controls, lp, vmcs } = this.#unit;
    if ((controls.secondary & secondary.pauseLoopExiting) === 0 || lp.state.cpl !== 0) {
      return false;
    }
    const now = lp.clock.now();
    const entries = lp.state.read32(vmxOffset.entries);
    const loop = this.#pauseLoop;
    const isFirst = entries !== loop.entries || now - loop.last > vmcs.low(slot.pleGap);
    loop.last = now;
    if (isFirst) {
      loop.first = now;
      loop.entries = entries;
      return false;
    }
    return now - loop.first > vmcs.low(slot.pleWindow);
  }

  pauseLoopLeft(): number {
    const { controls, lp, vmcs, isNonRoot } = this.#unit;
    const loop = this.#pauseLoop;
    const isWatched = isNonRoot && (controls.secondary & secondary.pauseLoopExiting) !== 0;
    if (!isWatched || lp.state.cpl !== 0) {
      return Number.POSITIVE_INFINITY;
    }
    if (loop.entries !== lp.state.read32(vmxOffset.entries)) {
      return vmcs.low(slot.pleWindow) + 1;
    }
    return Math.max(0, loop.first + vmcs.low(slot.pleWindow) + 1 - lp.clock.now());
  }
  pausedUntilNow(): void {
    const { lp } = this.#unit;
    if (this.#pauseLoop.entries === lp.state.read32(vmxOffset.entries)) {
      this.#pauseLoop.last = lp.clock.now();
    }
  }

  /** @param requested the state components asked for, as far as XCR0 and IA32_XSS enable them */
  #extendedState(reason: number, insn: InstructionView, requested: bigint): boolean {
    const { vmcs } = this.#unit;
    const isSelected =
      (vmcs.low(slot.xssExitingBitmap) & lowHalf(requested)) !== 0 ||
      (vmcs.high(slot.xssExitingBitmap) & highHalf(requested)) !== 0;
    if (isSelected) {
      const at = insn.displacement;
      this.#exits.instruction(reason, insn, lowHalf(at), highHalf(at), memoryInformation(insn));
    }
    return isSelected;
  }

  // ——— control and debug registers

  writeControl(
    register: 0 | 3 | 4 | 8,
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): boolean | { readonly load: bigint } {
    const { lp } = this.#unit;
    switch (register) {
      case 0:
        return this.#writeMasked(
          0,
          slot.cr0Mask,
          slot.cr0ReadShadow,
          lp.state.get("cr0"),
          value,
          insn,
          gpr,
        );
      case 4:
        return this.#writeMasked(
          4,
          slot.cr4Mask,
          slot.cr4ReadShadow,
          lp.state.get("cr4"),
          value,
          insn,
          gpr,
        );
      case 3:
        return this.#writeCr3(value, insn, gpr);
      default:
        return (
          this.#controlExit(primary.cr8LoadExiting, 8, ControlAccess.To, insn, gpr) ||
          this.#apic.writeCr8(value)
        );
    }
  }

  /** A masked bit must stay as the read shadow has it; the register keeps its own there. */
  #writeMasked(
    register: number,
    maskSlot: number,
    shadowSlot: number,
    current: bigint,
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): true | { readonly load: bigint } {
    const mask = this.#wide(maskSlot);
    if (((value ^ this.#wide(shadowSlot)) & mask) !== 0n) {
      this.#exitOnControl(register, ControlAccess.To, insn, gpr);
      return true;
    }
    return { load: (value & ~mask) | (current & mask) };
  }

  #writeCr3(
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): boolean | { readonly load: bigint } {
    const { controls, vmcs } = this.#unit;
    if ((controls.primary & primary.cr3LoadExiting) !== 0) {
      const targets = vmcs.low(slot.cr3TargetCount);
      let isTarget = false;
      for (let n = 0; n < targets; n++) {
        isTarget ||= this.#wide(slot.cr3TargetValue0 + n * 2) === value;
      }
      if (!isTarget) {
        this.#exitOnControl(3, ControlAccess.To, insn, gpr);
        return true;
      }
    }
    return { load: value };
  }

  readControl(
    register: 0 | 3 | 4 | 8,
    value: bigint,
    insn: InstructionView,
    gpr: number,
  ): boolean | { readonly see: bigint } {
    switch (register) {
      case 0:
        return { see: this.#masked(value, slot.cr0Mask, slot.cr0ReadShadow) };
      case 4:
        return { see: this.#masked(value, slot.cr4Mask, slot.cr4ReadShadow) };
      case 3:
        return (
          this.#controlExit(primary.cr3StoreExiting, 3, ControlAccess.From, insn, gpr) || {
            see: value,
          }
        );
      default:
        return (
          this.#controlExit(primary.cr8StoreExiting, 8, ControlAccess.From, insn, gpr) || {
            see: this.#apic.readCr8(value),
          }
        );
    }
  }

  #masked(value: bigint, maskSlot: number, shadowSlot: number): bigint {
    const mask = this.#wide(maskSlot);
    return (value & ~mask) | (this.#wide(shadowSlot) & mask);
  }

  #controlExit(
    control: number,
    register: number,
    access: number,
    insn: InstructionView,
    gpr: number,
  ): boolean {
    if ((this.#unit.controls.primary & control) === 0) {
      return false;
    }
    this.#exitOnControl(register, access, insn, gpr);
    return true;
  }
  #exitOnControl(register: number, access: number, insn: InstructionView, gpr: number): void {
    const qualification = register | (access << 4) | (gpr << 8);
    this.#exits.instruction(exitReason.controlRegisterAccess, insn, qualification);
  }

  clts(insn: InstructionView): boolean | "ignore" | "proceed" {
    const { vmcs } = this.#unit;
    if ((vmcs.low(slot.cr0Mask) & taskSwitched) === 0) {
      return "proceed";
    }
    if ((vmcs.low(slot.cr0ReadShadow) & taskSwitched) === 0) {
      return "ignore";
    }
    this.#exits.instruction(exitReason.controlRegisterAccess, insn, ControlAccess.Clts << 4);
    return true;
  }

  /** LMSW can set PE but not clear it; the other three bits it loads. */
  lmsw(source: number, insn: InstructionView): boolean | { readonly load: number } {
    const { lp, vmcs } = this.#unit;
    const mask = vmcs.low(slot.cr0Mask) & statusWord;
    const shadow = vmcs.low(slot.cr0ReadShadow);
    const setsPe = (source & mask & 1) !== 0 && (shadow & 1) === 0;
    const changes = ((source ^ shadow) & mask & ~1) !== 0;
    if (setsPe || changes) {
      if (insn.isMemory) {
        const linear = lp.effectiveLinear(insn, 0, 2, false);
        vmcs.write(slot.guestLinearAddress, lowHalf(linear), highHalf(linear));
      }
      const form = insn.isMemory ? 1 << 6 : 0;
      const qualification = ((ControlAccess.Lmsw << 4) | form | (source << 16)) >>> 0;
      this.#exits.instruction(exitReason.controlRegisterAccess, insn, qualification);
      return true;
    }
    return { load: (source & ~mask) | (lp.state.low("cr0") & mask) };
  }

  smsw(value: number): number {
    const { vmcs } = this.#unit;
    const mask = vmcs.low(slot.cr0Mask);
    return ((value & ~mask) | (vmcs.low(slot.cr0ReadShadow) & mask)) >>> 0;
  }

  moveDebug(register: number, isRead: boolean, gpr: number, insn: InstructionView): boolean {
    if ((this.#unit.controls.primary & primary.movDrExiting) === 0) {
      return false;
    }
    const qualification = register | (isRead ? 1 << 4 : 0) | (gpr << 8);
    this.#exits.instruction(exitReason.movDr, insn, qualification);
    return true;
  }

  // ——— ports

  io(
    port: number,
    size: number,
    isIn: boolean,
    insn: InstructionView,
    string: boolean,
    immediate: boolean,
    linear: bigint,
  ): boolean {
    if (!this.#exitsOnPorts(port, size)) {
      return false;
    }
    const { vmcs, profile } = this.#unit;
    const repeats = string && (insn.prefixes & (prefixBit.rep | prefixBit.repne)) !== 0;
    const qualification =
      ((size - 1) |
        (isIn ? 1 << 3 : 0) |
        (string ? 1 << 4 : 0) |
        (repeats ? 1 << 5 : 0) |
        (immediate ? 1 << 6 : 0) |
        (port << 16)) >>>
      0;
    if (string) {
      vmcs.write(slot.guestLinearAddress, lowHalf(linear), highHalf(linear));
    }
    const information = string && profile.reportsStringIo ? stringIoInformation(insn, isIn) : 0;
    this.#exits.instruction(exitReason.ioInstruction, insn, qualification, 0, information);
    return true;
  }

  #exitsOnPorts(port: number, size: number): boolean {
    const { controls, vmcs } = this.#unit;
    if ((controls.primary & primary.useIoBitmaps) === 0) {
      return (controls.primary & primary.unconditionalIoExiting) !== 0;
    }
    const bitmapA = vmcs.address(slot.ioBitmapA);
    const bitmapB = vmcs.address(slot.ioBitmapB);
    return ioBitmapsSelect(this.#test, bitmapA, bitmapB, port, size);
  }

  // ——— events

  taskSwitch(selector: number, source: number, insn: InstructionView | undefined): boolean {
    const qualification = (selector | (source << 30)) >>> 0;
    const { lp } = this.#unit;
    const length = insn?.length ?? lp.delivering?.instructionLength ?? 0;
    this.#exits.taskSwitch(qualification, length);
    return true;
  }

  event(event: DeliveredEvent, during: DeliveredEvent | undefined): boolean {
    if (this.#events.isInjected(event) || !this.#exitsOn(event)) {
      this.#events.delivered();
      return false;
    }
    const { lp } = this.#unit;
    // A double fault that exits is not an exit during the delivery of what led to it.
    lp.delivering = event.vector === Vector.DF ? undefined : during;
    const isQualified = event.vector === Vector.PF || event.vector === Vector.DB;
    const qualification = isQualified ? event.qualification : 0n;
    const unblocked = lp.nmiUnblockedByIret && during === undefined && event.vector !== Vector.DF;
    this.#exits.event(event, lowHalf(qualification), highHalf(qualification), unblocked);
    return true;
  }

  /** The exception bitmap; for page faults the error code can turn its bit around. INT n never exits. */
  #exitsOn(event: DeliveredEvent): boolean {
    const { vmcs } = this.#unit;
    const isException =
      event.type === InterruptionType.HardwareException ||
      event.type === InterruptionType.PrivilegedSoftwareException ||
      event.type === InterruptionType.SoftwareException;
    if (!isException || event.vector > 31) {
      return false;
    }
    const isSelected = ((vmcs.low(slot.exceptionBitmap) >>> event.vector) & 1) !== 0;
    if (event.vector !== Vector.PF) {
      return isSelected;
    }
    const masked = (event.errorCode ?? 0) & vmcs.low(slot.pageFaultErrorCodeMask);
    return isSelected === (masked >>> 0 === vmcs.low(slot.pageFaultErrorCodeMatch));
  }

  tripleFault(): boolean {
    const { lp } = this.#unit;
    lp.delivering = undefined;
    this.#exits.between(exitReason.tripleFault);
    return true;
  }

  /** INIT: exits from a guest that does not wait for a SIPI; else it is held back until VM entry or VMXOFF. */
  init(): boolean {
    const unit = this.#unit;
    if (!unit.isOn) {
      return false;
    }
    const isGuestThere = unit.isNonRoot && unit.lp.state.activity !== Activity.WaitForSipi;
    // What comes behind a virtualized instruction goes before INIT.
    if (isGuestThere && !this.#apic.finish()) {
      this.#exits.between(exitReason.init);
    } else {
      unit.isInitHeld = true;
    }
    return true;
  }

  /** Start-up IPIs matter only to a guest that waits for one. */
  sipi(vector: number): boolean {
    const unit = this.#unit;
    if (!unit.isOn) {
      return false;
    }
    if (unit.isNonRoot && unit.lp.state.activity === Activity.WaitForSipi) {
      this.#exits.between(exitReason.sipi, vector);
    }
    return true;
  }

  boundary(interruptPending: boolean, nmiPending: boolean): boolean {
    return this.#unit.isNonRoot && this.#events.boundary(interruptPending, nmiPending);
  }

  get externalInterruptExiting(): boolean {
    return this.#hasPin(pin.externalInterruptExiting);
  }
  get nmiExiting(): boolean {
    return this.#hasPin(pin.nmiExiting);
  }
  get stepping(): boolean {
    return this.#events.stepping;
  }
  get deadline(): number | undefined {
    return this.#events.deadline;
  }
  #hasPin(control: number): boolean {
    return this.#unit.isNonRoot && (this.#unit.controls.pin & control) !== 0;
  }

  /** With NMI exiting but no virtual NMIs, IRET does not touch NMI blocking. */
  iret(): boolean {
    return this.nmiExiting && !this.#hasPin(pin.virtualNmis);
  }

  /** "Use TSC offsetting" and "use TSC scaling": the multiplier has 48 fractional bits. */
  guestTsc(tsc: bigint): bigint {
    const { controls } = this.#unit;
    if ((controls.primary & primary.useTscOffsetting) === 0) {
      return tsc;
    }
    const isScaled = (controls.secondary & secondary.useTscScaling) !== 0;
    const scaled = isScaled ? (tsc * this.#wide(slot.tscMultiplier)) >> 48n : tsc;
    return BigInt.asUintN(64, scaled + this.#wide(slot.tscOffset));
  }

  #wide(position: number): bigint {
    const { vmcs } = this.#unit;
    return (BigInt(vmcs.high(position)) << 32n) | BigInt(vmcs.low(position));
  }
}

function informationOf(
  which: InterceptedInstruction,
  row: InterceptRow,
  insn: InstructionView,
): number {
  switch (row.information) {
    case "memory":
      return memoryInformation(insn);
    case "memory-and-register":
      return memoryAndRegisterInformation(insn, insn.destination);
    case "table":
      return memoryInformation(insn) | operandSizeBit(insn) | identityOf(which);
    case "selector":
      return operandInformation(insn, insn.destination) | identityOf(which);
    case "register":
      return registerInformation(insn, insn.destination);
    default:
      return 0;
  }
}

/** Operand size of LGDT and its kin in bit 11: 0 = 16, 1 = 32 bits. */
function operandSizeBit(insn: InstructionView): number {
  return insn.operandSize > 2 ? 1 << 11 : 0;
}
function identityOf(which: InterceptedInstruction): number {
  return which in tableIdentity ? tableIdentity[which as keyof typeof tableIdentity] << 28 : 0;
}
