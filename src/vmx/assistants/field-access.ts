import { codeMode } from "../../execution/code-mode.ts";
import { Assistance } from "../../execution/core-host.ts";
import { prefixBit, recordOffset } from "../../execution/instruction-record.ts";
import { lpOffset } from "../../execution/lp-window.ts";
import { type I32, type I64, i32, i64 } from "../../wasm/expression.ts";
import { FunctionBuilder } from "../../wasm/function-builder.ts";
import { assistantOffset, lineOffset } from "./assistant-window.ts";
import { any } from "./emit.ts";
import { encodingBits, fieldBit } from "./field-table.ts";

/**
 * VMREAD and VMWRITE between registers and the current VMCS, by 64-bit software in root operation at privilege level 0. Anything
 * else (a memory operand, a high half, a field that does not exist) is left to `vmread` and `vmwrite`, which are the authority.
 */
export function vmreadAssistant(window: I32): FunctionBuilder {
  return accessing(window, recordOffset.source, (f, record, vmcs, field) => {
    const at = i32.add(vmcs, i32.and(field, i32.const(fieldBit.offsetMask)));
    f.store(8, i32.load(record, recordOffset.destination), i64.load(at));
    succeed(f, window);
    f.return(i32.const(Assistance.Done));
  });
}

export function vmwriteAssistant(window: I32): FunctionBuilder {
  return accessing(window, recordOffset.destination, (f, record, vmcs, field, entry) => {
    const isPlain = i32.and(field, i32.const(fieldBit.writes));
    f.if(i32.eqz(isPlain), () => f.return(i32.const(Assistance.None)));
    const at = f.let(i32.add(vmcs, i32.and(field, i32.const(fieldBit.offsetMask))));
    const unused = i64.extendU(i32.shrU(field, i32.const(fieldBit.unusedShift)));
    const source = i64.load(i32.load(record, recordOffset.source));
    const value = f.let(i64.and(source, i64.shrU(i64.const(-1), unused)));
    f.if(i64.ne(value, i64.load(at)), () => {
      f.store(8, at, value);
      const line = f.let(i32.load(window, assistantOffset.line));
      f.store32(line, i32.const(1), lineOffset.modified);
      const groups = i32.load(entry, 4);
      f.store32(line, i32.or(i32.load(line, lineOffset.dirty), groups), lineOffset.dirty);
    });
    succeed(f, window);
    f.return(i32.const(Assistance.Done));
  });
}

type Access = (f: FunctionBuilder, record: I32, vmcs: I32, field: I32, entry: I32) => void;

/**
 * The guards of both, and the field that an operand names.
 * @param encodingOperand field of the record with the address of the register that holds the encoding
 */
function accessing(window: I32, encodingOperand: number, access: Access): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const record = f.parameter(0, "i32");
  f.scope(() => {
    const vmcs = f.let(i32.load(window, assistantOffset.vmcs));
    const mode = i32.and(i32.load(window, lpOffset.codeMode), i32.const(codeMode.sizeMask));
    const memory = i32.and(i32.load8u(record, recordOffset.prefixes), i32.const(prefixBit.memory));
    const encoding = f.let(i64.load(i32.load(record, encodingOperand)));
    const isForeign = any(
      i32.eqz(vmcs),
      i32.ne(mode, i32.const(codeMode.bits64)),
      i32.load(window, lpOffset.cpl),
      memory,
      i64.ne(i64.and(encoding, i64.const(~BigInt(encodingBits))), i64.const(0)),
    );
    f.if(isForeign, () => f.return(i32.const(Assistance.None)));
    const entry = f.let(i32.add(window, entryOffset(encoding)));
    const field = f.let(i32.load(entry, assistantOffset.fields));
    f.if(i32.eqz(field), () => f.return(i32.const(Assistance.None)));
    access(f, record, vmcs, field, i32.add(entry, i32.const(assistantOffset.fields)));
  });
  f.unreachable();
  return f;
}

/** As `fieldEntryOffset`. */
function entryOffset(encoding: I64): I32 {
  const low = i32.wrap(encoding);
  return any(
    i32.and(i32.shrU(low, i32.const(2)), i32.const(0x1800)),
    i32.and(i32.shrU(low, i32.const(1)), i32.const(0x600)),
    i32.and(i32.shl(low, i32.const(2)), i32.const(0x1f8)),
  );
}

/** VMsucceed: the status flags are clear. */
function succeed(f: FunctionBuilder, window: I32): void {
  f.store(8, window, i64.const(1), lpOffset.flagResult);
  f.store(8, window, i64.const(0), lpOffset.flagCarries);
}
