import { createAssembler } from "../../src/isa/assembler.ts";
import type { Assembly } from "../../src/isa/assembler-layout.ts";
import { emitApic } from "./apic.ts";
import { emitBoot, emitMultibootHeader } from "./boot.ts";
import { emitConsole } from "./console.ts";
import { emitDescriptors } from "./descriptors.ts";
import { emitEpt } from "./ept.ts";
import { emitExecution } from "./execution.ts";
import { emitExits } from "./exits.ts";
import { emitGuest } from "./guest.ts";
import { emitHypercalls } from "./hypercalls.ts";
import { emitInjection } from "./injection.ts";
import { emitMemory, loadAddress } from "./memory.ts";
import { emitMigration } from "./migration.ts";
import { emitProcessors } from "./processors.ts";
import { createProgram } from "./program.ts";
import { emitStory } from "./story.ts";
import { emitVmcs } from "./vmcs.ts";
import { emitVmx } from "./vmx.ts";

/** The whole image, in the order of its addresses. Read the parts in the order of the README. */
export function assembleImage(): Assembly {
  const program = createProgram(createAssembler({ origin: loadAddress, bits: 32 }));
  const { asm, at } = program;

  emitMultibootHeader(program);
  emitBoot(program);
  emitStory(program);
  emitConsole(program);
  emitDescriptors(program);
  emitApic(program);
  emitProcessors(program);
  emitVmx(program);
  emitEpt(program);
  emitVmcs(program);
  emitExecution(program);
  emitExits(program);
  emitInjection(program);
  emitHypercalls(program);
  emitMigration(program);
  program.emitDeferred();
  emitGuest(program);
  asm.here(at.image_end);
  emitMemory(program);
  return asm.assemble();
}
