import { present } from "../../base/assert.ts";
import type { LogicalProcessor } from "../../cpu/logical-processor.ts";
import type { Assistant } from "../../execution/core.ts";
import { codeNumber } from "../../isa/instruction-names.ts";
import type { I32 } from "../../wasm/expression.ts";
import type { FunctionBuilder } from "../../wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../../wasm/module-builder.ts";
import { vmreadAssistant, vmwriteAssistant } from "./field-access.ts";

/** VMX instructions that have an assistant, by iced's name of the encoding (see `Assistance`). */
const assistants: Readonly<Record<string, (window: I32) => FunctionBuilder>> = {
  Vmread_rm64_r64: vmreadAssistant,
  Vmwrite_r64_rm64: vmwriteAssistant,
};

const memoryPagesMax = 65536;
let compiled: WebAssembly.Module | undefined;

function assistantModule(): WebAssembly.Module {
  if (compiled === undefined) {
    const module = new ModuleBuilder();
    const window = globalValue("i32", module.importGlobal("window", "i32"));
    for (const [name, emit] of Object.entries(assistants)) {
      module.add(emit(window), name);
    }
    compiled = new WebAssembly.Module(module.finish(1, memoryPagesMax));
  }
  return compiled;
}

/** Gives an LP's VMX instructions their assistants, if it executes machine code. */
export function installAssistants({ core, memory, state }: LogicalProcessor): void {
  if (core.assist === undefined) {
    return;
  }
  const host = { memory, window: state.base | 0 };
  const { exports } = new WebAssembly.Instance(assistantModule(), {
    host: host as unknown as Record<string, WebAssembly.ImportValue>,
  });
  for (const name of Object.keys(assistants)) {
    const code = present(codeNumber(name), `no instruction is called ${name}`);
    core.assist(code, exports[name] as Assistant);
  }
}
