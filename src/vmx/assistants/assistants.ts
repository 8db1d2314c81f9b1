import { present } from "../../base/assert.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import type { Assistant } from "../../execution/core.ts";
import { tlbEntryOffset } from "../../execution/lp-window.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import type { I32 } from "../../wasm/expression.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../../wasm/module-builder.ts";
import { sendNotification } from "../apic-virtualization/virtual-ipis.ts";
import { exitReason } from "../exit-reasons.ts";
import { loadingGuest, loadingHost, savingGuest } from "../state-transfer.ts";
import { type Senders, wrmsrAssistant } from "./apic-registers.ts";
import { exitKind } from "./assistant-window.ts";
import { vmreadAssistant, vmwriteAssistant } from "./field-access.ts";
import { iretqAssistant } from "./interrupt-return.ts";
import { comparingDescriptor, type LinearAccess, lookingUp } from "./linear.ts";
import { interruptDelivery, notificationAttendant } from "./notifications.ts";
import { sending } from "./sending.ts";
import { keeping } from "./sides.ts";
import { exitAssistant, type Movers, vmresumeAssistant } from "./transitions.ts";

/** Instructions that have an assistant, by iced's name of the encoding (see `Assistance`). */
const assistants: Readonly<Record<string, (window: I32, movers: Movers) => FunctionBuilder>> = {
  Vmread_rm64_r64: vmreadAssistant,
  Vmwrite_r64_rm64: vmwriteAssistant,
  Vmresume: vmresumeAssistant,
  Vmcall: (window, movers) =>
    exitAssistant(window, movers, exitReason.vmcall, exitKind.vmcall, false),
  // Above privilege level 0 it may fault instead.
  Cpuid: (window, movers) => exitAssistant(window, movers, exitReason.cpuid, exitKind.cpuid, true),
};

/** The same for instructions that lead to nowhere but the program's own handlers. */
const localAssistants: Readonly<
  Record<string, (window: I32, linear: LinearAccess, senders: Senders) => FunctionBuilder>
> = {
  Wrmsr: (window, _, senders) => wrmsrAssistant(window, senders),
  Iretq: iretqAssistant,
};

/** What else than assistants of instructions the module of one LP has. */
export interface AssistantFunctions {
  /** Copies the derived part of the window to a side (see `sides.ts`), given by its address. */
  readonly keep: (side: number) => void;
  /** Place of the attendant of guests with posted interrupts (see `notificationAttendant`); 0 when there is none. */
  readonly attendant: number;
}

const memoryPagesMax = 65536;
const attendantName = "attendant";
let compiled: WebAssembly.Module | undefined;

function assistantModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const module = new ModuleBuilder();
    const window = globalValue("i32", module.importGlobal("window", "i32"));
    const notify = module.importFunction("notify", ["i32", "i32"], []);
    const rest = module.importFunction("rest", [], []);
    const movers: Movers = {
      saveGuest: module.add(savingGuest(window)),
      loadGuest: module.add(loadingGuest(window)),
      loadHost: module.add(loadingHost(window)),
    };
    const readable = module.add(lookingUp(window, tlbEntryOffset.read));
    const linear: LinearAccess = {
      readable,
      writable: module.add(lookingUp(window, tlbEntryOffset.write)),
      isLoaded: module.add(comparingDescriptor(window, readable)),
    };
    const senders: Senders = { notify, rest, send: module.add(sending(window)) };
    module.add(keeping(window), "keep");
    for (const [name, emit] of Object.entries(assistants)) {
      module.add(emit(window, movers), name);
    }
    for (const [name, emit] of Object.entries(localAssistants)) {
      module.add(emit(window, linear, senders), name);
    }
    const delivery = module.add(interruptDelivery(window, linear));
    module.add(notificationAttendant(window, delivery), attendantName);
    compiled = new WebAssembly.Module(module.finish(1, memoryPagesMax));
  }
  return compiled;
}

/** Gives an LP's instructions their assistants, as far as it executes machine code. */
export function installAssistants(lp: LogicalProcessor): AssistantFunctions {
  const { memory, state, core } = lp;
  const notify = (destination: number, vector: number): void =>
    sendNotification(lp, destination, vector);
  const rest = (): void => lp.clock.rest?.();
  const host = { memory, window: state.base | 0, notify, rest };
  const { exports } = new WebAssembly.Instance(assistantModule(), {
    host: host as unknown as Record<string, WebAssembly.ImportValue>,
  });
  const byName = exports as Record<string, Assistant>;
  const assistant = (name: string): Assistant =>
    present(byName[name], `no assistant is called ${name}`);
  const code = (name: string): number =>
    present(codeNumber(name), `no instruction is called ${name}`);
  for (const name of Object.keys(assistants)) {
    core.assist?.(code(name), assistant(name));
  }
  for (const name of Object.keys(localAssistants)) {
    core.assistLocally?.(code(name), assistant(name));
  }
  const attendant = core.addAttendant?.(assistant(attendantName)) ?? 0;
  return { keep: exports["keep"] as AssistantFunctions["keep"], attendant };
}
