/**
 * VM entries and VM exits that leave no more to do than to move words. `VmEntries` and `VmExits` are the authority; these do
 * the same where `SteadyTransitions` says that it comes to this, and where what they look at themselves allows it.
 */
import { privateOffset } from "../../cpu/lp-private.ts";
import { flagBit, flagsDefined } from "../../cpu/register-bits.ts";
import { codeMode } from "../../execution/code-mode.ts";
import { Assistance } from "../../execution/core-host.ts";
import { statusFlagsMask } from "../../execution/flags.ts";
import { recordOffset } from "../../execution/instruction-record.ts";
import { Activity, lpOffset } from "../../execution/lp-window.ts";
import { addressSpaceIdMax } from "../../execution/tlb.ts";
import { callValue, type I32, type I64, i32, i64 } from "../../wasm/expression.ts";
import { FunctionBuilder, type Local } from "../../wasm/function-builder.ts";
import { groupsBySlot, longModeBit, ripGroup } from "../entry-rules/all-rules.ts";
import { cr0Kept } from "../host-loading.ts";
import { headerWord, LaunchState } from "../vmcs-cache.ts";
import { type FieldName, slot } from "../vmcs-fields.ts";
import { modeBit, vmxOffset } from "../vmx-unit.ts";
import { assistantOffset, lineOffset } from "./assistant-window.ts";
import { any, readStatusFlags, writeStatusFlags } from "./emit.ts";
import { keptEfer, restoreDerived, restoreRanges, restoreSegments } from "./sides.ts";

/** Functions of the same module. */
export interface Movers {
  readonly saveGuest: number;
  readonly loadGuest: number;
  readonly loadHost: number;
}

const dr7Reset = 0x400;
const tableLimit = 0xffff;
/** Flags that make what follows go instruction by instruction, or that derived state depends on. */
const unsteadyFlags = flagBit.TF | flagBit.RF | flagBit.VM | flagBit.AC;

const at = (field: FieldName): number => slot[field] * 4;
const low = (vmcs: I32, field: FieldName): I32 => i32.load(vmcs, at(field));
const wide = (vmcs: I32, field: FieldName): I64 => i64.load(vmcs, at(field));

/** What either transition looks at: the side that is left is as the VMCS and the kept side say. */
function isUnsteady(window: I32, side: number): I32 {
  return any(
    i32.and(i32.load(window, lpOffset.codeMode), i32.const(codeMode.single)),
    i32.load(window, lpOffset.interruptibility),
    i32.load(window, privateOffset.pendingDebug),
    i32.load(window, privateOffset.eventsHeldBack),
    i32.load(window, lpOffset.debugCtl),
    i32.and(i32.load(window, lpOffset.systemFlags), i32.const(unsteadyFlags & ~flagBit.AC)),
    i64.ne(i64.load(window, lpOffset.dr7), i64.const(dr7Reset)),
    i64.ne(i64.load(window, lpOffset.efer), i64.load(window, side + keptEfer)),
  );
}

/** A new address-space id, or 0 where the old ones stay. Leaves the function when there is none left. */
function takeId(f: FunctionBuilder, window: I32): I32 {
  const id = f.let(i32.const(0));
  f.if(i32.load(window, assistantOffset.forgetsZero), () => {
    f.set(id, i32.load(window, lpOffset.nextAddressSpace));
    const isUsedUp = i32.gtU(id, i32.const(addressSpaceIdMax));
    f.if(isUsedUp, () => f.return(i32.const(Assistance.None)));
    f.store32(window, i32.add(id, i32.const(1)), lpOffset.nextAddressSpace);
  });
  return id;
}

function increment(f: FunctionBuilder, window: I32, offset: number): void {
  f.store32(window, i32.add(i32.load(window, offset), i32.const(1)), offset);
}

/** CR0 and CR4 as fields have them. */
function loadControls(f: FunctionBuilder, window: I32, cr0: I32, cr4: I32): void {
  const kept = i32.and(i32.load(window, lpOffset.cr0), i32.const(cr0Kept));
  const value = i32.or(i32.and(cr0, i32.const(~cr0Kept)), kept);
  f.store(8, window, i64.extendU(value), lpOffset.cr0);
  f.store(8, window, i64.extendU(cr4), lpOffset.cr4);
}

// ——— VM entry

/** VMRESUME. */
export function vmresumeAssistant(window: I32, { loadGuest }: Movers): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  f.scope(() => {
    const vmcs = f.let(i32.load(window, assistantOffset.enterable));
    f.if(i32.eqz(vmcs), () => f.return(i32.const(Assistance.None)));
    const isRefused = any(mayNotTry(window), isUnsteady(window, assistantOffset.host));
    f.if(isRefused, () => f.return(i32.const(Assistance.None)));
    const isDoubtful = any(mayBreakRule(window, vmcs), isSpecialGuest(vmcs));
    f.if(isDoubtful, () => f.return(i32.const(Assistance.None)));
    const id = takeId(f, window);
    loadControls(f, window, low(vmcs, "guestCr0"), low(vmcs, "guestCr4"));
    f.drop(callValue("i32", loadGuest, vmcs));
    const side = i32.add(window, i32.const(assistantOffset.guest));
    restoreDerived(f, window, side, id);
    restoreRanges(f, window, side);
    const flags = f.let(i32.and(low(vmcs, "guestRflags"), i32.const(flagsDefined)));
    writeStatusFlags(f, window, flags);
    const system = i32.and(flags, i32.const(~statusFlagsMask));
    f.store32(window, i32.or(system, i32.const(flagBit.fixed)), lpOffset.systemFlags);
    f.store32(window, i32.const(0), privateOffset.monitorArmed);
    increment(f, window, vmxOffset.entries);
    increment(f, window, assistantOffset.entered);
    f.store32(window, i32.const(modeBit.on | modeBit.nonRoot), vmxOffset.mode);
    f.store32(window, i32.const(0), assistantOffset.vmcs);
    f.store32(window, i32.const(0), assistantOffset.enterable);
    f.store32(window, vmcs, assistantOffset.exitable);
    f.store32(window, i32.const(1), lpOffset.assisted);
    f.return(i32.const(Assistance.Jump));
  });
  f.unreachable();
  return f;
}

/** The beginning of VMRESUME: privilege, mode; that there is a launched VMCS is known. */
function mayNotTry(window: I32): I32 {
  const mode = i32.and(i32.load(window, lpOffset.codeMode), i32.const(codeMode.sizeMask));
  return any(i32.ne(mode, i32.const(codeMode.bits64)), i32.load(window, lpOffset.cpl));
}

/** Some field has changed since the rules have held, other than to a RIP that is canonical. */
function mayBreakRule(window: I32, vmcs: I32): I32 {
  const line = i32.load(window, assistantOffset.line);
  const rip = i64.shrS(wide(vmcs, "guestRip"), i64.const(47));
  const isCanonical = i64.ltU(i64.add(rip, i64.const(1)), i64.const(2));
  return any(
    i32.and(i32.load(line, lineOffset.dirty), i32.const(~ripGroup)),
    i32.and(i32.load(line, lineOffset.live), i32.const(~longModeBit)),
    i32.ne(i32.load(vmcs, headerWord.launchState * 4), i32.const(LaunchState.Launched)),
    i32.eqz(isCanonical),
  );
}

/** The guest would begin with more than instructions. */
function isSpecialGuest(vmcs: I32): I32 {
  return any(
    i32.and(low(vmcs, "guestRflags"), i32.const(unsteadyFlags)),
    low(vmcs, "guestActivity"),
    low(vmcs, "guestInterruptibility"),
    low(vmcs, "guestPendingDebug"),
    i64.ne(wide(vmcs, "guestIa32Debugctl"), i64.const(0)),
    i64.ne(wide(vmcs, "guestDr7"), i64.const(dr7Reset)),
  );
}

// ——— VM exit

/**
 * An instruction that exits whatever the controls say.
 * @param kind of `exitKind`
 * @param isPrivileged leaves anything above privilege level 0 to the handler
 */
export function exitAssistant(
  window: I32,
  { saveGuest, loadHost }: Movers,
  reason: number,
  kind: number,
  isPrivileged: boolean,
): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const record = f.parameter(0, "i32");
  f.scope(() => {
    const vmcs = f.let(i32.load(window, assistantOffset.exitable));
    f.if(i32.eqz(vmcs), () => f.return(i32.const(Assistance.None)));
    const level = isPrivileged ? i32.load(window, lpOffset.cpl) : i32.const(0);
    const isUnusual = any(level, isUnsteady(window, assistantOffset.guest));
    f.if(isUnusual, () => f.return(i32.const(Assistance.None)));
    const id = takeId(f, window);
    recordExit(f, vmcs, reason, i64.load8u(record, recordOffset.length));
    saveRest(f, window, vmcs, f.let(callValue("i32", saveGuest, vmcs)));
    increment(f, window, vmxOffset.exits + reason * 4);
    increment(f, window, assistantOffset.exited + kind * 4);
    loadHostState(f, window, vmcs, loadHost, id);
    f.store32(window, i32.const(modeBit.on), vmxOffset.mode);
    f.store32(window, vmcs, assistantOffset.vmcs);
    f.store32(window, i32.const(0), assistantOffset.exitable);
    f.store32(window, vmcs, assistantOffset.enterable);
    f.store32(window, i32.const(1), lpOffset.assisted);
    f.return(i32.const(Assistance.Jump));
  });
  f.unreachable();
  return f;
}

function recordExit(f: FunctionBuilder, vmcs: I32, reason: number, length: I64): void {
  f.store(8, vmcs, i64.const(reason), at("exitReason"));
  f.store(8, vmcs, i64.const(0), at("exitQualification"));
  f.store(8, vmcs, i64.const(0), at("exitInterruptionInformation"));
  f.store(8, vmcs, i64.const(0), at("idtVectoringInformation"));
  f.store(8, vmcs, length, at("exitInstructionLength"));
}

/** Guest state that is not copied as it is. @param changed groups of rules that read what has changed so far */
function saveRest(f: FunctionBuilder, window: I32, vmcs: I32, changed: Local<"i32">): void {
  const put = (field: FieldName, value: I64, ignored = 0): void => {
    const differs = f.let(i64.xor(value, wide(vmcs, field)));
    f.store(8, vmcs, i64.xor(differs, wide(vmcs, field)), at(field));
    const counts = i64.ne(i64.and(differs, i64.const(~BigInt(ignored))), i64.const(0));
    const groups = i32.const(groupsBySlot[slot[field]] ?? 0);
    f.set(changed, i32.or(changed, i32.and(i32.sub(i32.const(0), counts), groups)));
  };
  const system = i32.and(i32.load(window, lpOffset.systemFlags), i32.const(~statusFlagsMask));
  const flags = i32.or(system, readStatusFlags(f, window));
  // No rule asks about status flags.
  put("guestRflags", i64.extendU(flags), statusFlagsMask);
  put("guestCr0", i64.load32u(window, lpOffset.cr0));
  put("guestCr4", i64.load32u(window, lpOffset.cr4));
  put("guestActivity", i64.const(Activity.Active));
  put("guestInterruptibility", i64.const(0));
  put("guestPendingDebug", i64.const(0));
  // Saved where it could be loaded; elsewhere nobody sees the word.
  put("guestIa32Pkrs", i64.load32u(window, lpOffset.pkrs));
  const line = f.let(i32.load(window, assistantOffset.line));
  f.store32(line, i32.const(1), lineOffset.modified);
  f.store32(line, i32.or(i32.load(line, lineOffset.dirty), changed), lineOffset.dirty);
}

function loadHostState(
  f: FunctionBuilder,
  window: I32,
  vmcs: I32,
  loadHost: number,
  id: I32,
): void {
  loadControls(f, window, low(vmcs, "hostCr0"), low(vmcs, "hostCr4"));
  const side = i32.add(window, i32.const(assistantOffset.host));
  restoreSegments(f, window, side);
  f.drop(callValue("i32", loadHost, vmcs));
  restoreDerived(f, window, side, id);
  f.store32(window, i32.const(tableLimit), lpOffset.gdtrLimit);
  f.store32(window, i32.const(tableLimit), lpOffset.idtrLimit);
  f.store(8, window, i64.const(1), lpOffset.flagResult);
  f.store(8, window, i64.const(0), lpOffset.flagCarries);
  f.store32(window, i32.const(flagBit.fixed), lpOffset.systemFlags);
  f.store32(window, i32.const(0), privateOffset.dataHits);
  f.store32(window, i32.const(0), privateOffset.monitorArmed);
}
