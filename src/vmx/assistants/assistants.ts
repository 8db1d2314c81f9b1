import { present } from "../../base/assert.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import type { Assistant } from "../../execution/core.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import type { I32 } from "../../wasm/expression.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../../wasm/module-builder.ts";
import { exitReason } from "../exit-reasons.ts";
import { loadingGuest, loadingHost, savingGuest } from "../state-transfer.ts";
import { exitKind } from "./assistant-window.ts";
import { vmreadAssistant, vmwriteAssistant } from "./field-access.ts";
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

/** The assistants of one LP, and what else their module has. */
export interface AssistantFunctions {
  /** Copies the derived part of the window to a side (see `sides.ts`), given by its address. */
  readonly keep: (side: number) => void;
  readonly byName: Readonly<Record<string, Assistant>>;
}

const memoryPagesMax = 65536;
let compiled: WebAssembly.Module | undefined;

function assistantModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const module = new ModuleBuilder();
    const window = globalValue("i32", module.importGlobal("window", "i32"));
    const movers: Movers = {
      saveGuest: module.add(savingGuest(window)),
      loadGuest: module.add(loadingGuest(window)),
      loadHost: module.add(loadingHost(window)),
    };
    module.add(keeping(window), "keep");
    for (const [name, emit] of Object.entries(assistants)) {
      module.add(emit(window, movers), name);
    }
    compiled = new WebAssembly.Module(module.finish(1, memoryPagesMax));
  }
  return compiled;
}

export function instantiateAssistants({ memory, state }: LogicalProcessor): AssistantFunctions {
  const host = { memory, window: state.base | 0 };
  const { exports } = new WebAssembly.Instance(assistantModule(), {
    host: host as unknown as Record<string, WebAssembly.ImportValue>,
  });
  const byName = exports as Record<string, Assistant>;
  return { keep: exports["keep"] as AssistantFunctions["keep"], byName };
}

/** Gives an LP's instructions their assistants, if it executes machine code. */
export function installAssistants({ core }: LogicalProcessor, functions: AssistantFunctions): void {
  for (const name of Object.keys(assistants)) {
    const code = present(codeNumber(name), `no instruction is called ${name}`);
    const assistant = present(functions.byName[name], `no assistant of ${name}`);
    core.assist?.(code, assistant);
  }
}
