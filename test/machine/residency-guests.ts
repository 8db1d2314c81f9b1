/** Guests of two LPs that pass VMCSs to each other, rightly and wrongly: 32-bit code without paging. */
import type { Assembler } from "../../src/isa/assembler.ts";
