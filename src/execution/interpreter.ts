/**
 * Generates the interpreter: one Wasm module made from the instruction semantics at start-up.
 *
 * `run` is one function whose arms are the hot forms; a `br_table` on the record's `op` picks the arm. Other forms are small
 * functions called through the table. Blocks of records are found by RIP and physical address, and linked to each other
 * within a page.
 */
import {
  atomicCompareExchange,
  callValue,
  choose,
  type Expression,
  type I32,
  type I64,
  i32,
  i64,
} from "../wasm/expression.ts";
import { FunctionBuilder, type Label, type Local } from "../wasm/function-builder.ts";
import { globalValue, ModuleBuilder } from "../wasm/module-builder.ts";
import { AccessKind, Assistance, Outcome, RunExit } from "./core-host.ts";
import { forms, type PlacedForm, specialArm } from "./forms.ts";
import { recordBytes, recordOffset } from "./instruction-record.ts";
import {
  blockEntryOffset,
  Iteration,
  lpOffset,
  Segment,
  segmentOffset,
  segmentStride,
  tlbEntryOffset,
} from "./lp-window.ts";
import { pageWalk, tryWalk, walkFetch } from "./page-walk.ts";
import { InstructionEmitter, type Surroundings } from "./semantics/instruction-emitter.ts";

/** What a cold function returns. */
const coldStatus = { next: 0, jump: 1, again: 2, handOver: 3 } as const;

/** Function indexes that emitted code calls. */
interface Helpers {
  readonly system: number;
  readonly fetch: number;
  readonly miss: number;
  readonly commit: number;
  readonly walk: number;
  readonly slowAccess: number;
  readonly slowStore: number;
  readonly raise: number;
  readonly lockBus: number;
  readonly unlockBus: number;
  readonly segment: number;
  readonly general: number;
}

const pageMask = i64.const(-4096);
/** RFLAGS.RF */
const resumeFlag = 1 << 16;

/** Compiles to the same bytes every time: the module can be shared by all LPs of a machine. */
export function buildInterpreter(): Uint8Array {
  const module = new ModuleBuilder();
  const window: I32 = globalValue("i32", module.importGlobal("window", "i32"));
  const busLock: I32 = globalValue("i32", module.importGlobal("busLock", "i32"));
  const imports = {
    system: module.importFunction("system", ["i32"], ["i32"]),
    fetch: module.importFunction("fetch", [], ["i32"]),
    miss: module.importFunction("miss", ["i32"], ["i32"]),
    access: module.importFunction("access", ["i32", "i32"], ["i32"]),
    commit: module.importFunction("commit", [], []),
    store: module.importFunction("store", ["i32"], []),
    raise: module.importFunction("raise", ["i32"], []),
  };
  const walk = module.add(pageWalk(window));
  const segment = module.add(segmentAddress(window, imports.raise));
  const helpers: Helpers = {
    system: imports.system,
    fetch: imports.fetch,
    miss: imports.miss,
    commit: imports.commit,
    walk,
    slowAccess: module.add(slowAccess(window, walk, imports.access)),
    slowStore: module.add(slowStore(window, walk, imports.store)),
    raise: module.add(raise(window, imports.raise)),
    lockBus: module.add(lockBus(window, busLock)),
    unlockBus: module.add(unlockBus(busLock)),
    segment,
    general: module.add(generalAddress(segment)),
  };
  const coldType = module.signature(["i32"], ["i32"]);
  const hot: PlacedForm[] = [];
  for (const form of forms.values()) {
    if (form.cold === undefined) {
      hot.push(form);
    } else {
      module.addToTable(module.add(coldFunction(form, window, helpers)));
    }
  }
  module.add(runFunction(hot, window, helpers, coldType), "run");
  module.exportTable("functions");
  return module.finish(1, 65536);
}

// ——— helper functions of the module

/** Leaves what TypeScript must see before a call that may unwind. */
function spill(
  f: FunctionBuilder,
  window: I32,
  record: I32,
  result: I64,
  carries: I64,
  remaining: I32,
): void {
  f.store32(window, record, lpOffset.current);
  f.store(8, window, result, lpOffset.flagResult);
  f.store(8, window, carries, lpOffset.flagCarries);
  f.store32(window, remaining, lpOffset.remaining);
}

const spillParameters = ["i32", "i64", "i64", "i32"] as const;
function spillFromParameters(f: FunctionBuilder, window: I32): void {
  spill(
    f,
    window,
    f.parameter(0, "i32"),
    f.parameter(1, "i64"),
    f.parameter(2, "i64"),
    f.parameter(3, "i32"),
  );
}

/** (spill…, linear, size | kind << 8) → host address */
function slowAccess(window: I32, walk: number, access: number): FunctionBuilder {
  const f = new FunctionBuilder([...spillParameters, "i64", "i32"], ["i32"]);
  const linear = f.parameter(4, "i64");
  const what = f.parameter(5, "i32");
  const size = i32.and(what, i32.const(0xff));
  const kind = i32.shrU(what, i32.const(8));
  f.scope(() => {
    const host = f.let(tryWalk(walk, linear, size, kind));
    f.if(i32.ne(host, i32.const(-1)), () => f.return(host));
    spillFromParameters(f, window);
    f.store(8, window, linear, lpOffset.argument0);
    f.result(callValue("i32", access, size, kind));
  });
  return f;
}

/** (spill…, linear, value, size) */
function slowStore(window: I32, walk: number, store: number): FunctionBuilder {
  const f = new FunctionBuilder([...spillParameters, "i64", "i64", "i32"], []);
  const linear = f.parameter(4, "i64");
  const value = f.parameter(5, "i64");
  const size = f.parameter(6, "i32");
  f.scope(() => {
    f.block((done) => {
      const host = f.let(tryWalk(walk, linear, size, i32.const(AccessKind.Write)));
      f.if(i32.ne(host, i32.const(-1)), () => {
        for (const bytes of [1, 2, 4, 8] as const) {
          f.if(i32.eq(size, i32.const(bytes)), () => f.store(bytes, host, value));
        }
        f.branch(done);
      });
      spillFromParameters(f, window);
      f.store(8, window, linear, lpOffset.argument0);
      f.store(8, window, value, lpOffset.argument1);
      f.call(store, size);
    });
  });
  return f;
}

/** (spill…, exception) */
function raise(window: I32, raiseImport: number): FunctionBuilder {
  const f = new FunctionBuilder([...spillParameters, "i32"], []);
  spillFromParameters(f, window);
  f.call(raiseImport, f.parameter(4, "i32"));
  f.unreachable();
  return f;
}

/** Waits until the bus is free and puts this LP's window there as its owner. */
function lockBus(window: I32, busLock: I32): FunctionBuilder {
  const f = new FunctionBuilder([], []);
  f.scope(() => {
    f.loop((again) => {
      const owner = atomicCompareExchange(4, busLock, i64.const(0), i64.extendU(window));
      f.branchIf(again, i64.ne(owner, i64.const(0)));
    });
  });
  return f;
}
function unlockBus(busLock: I32): FunctionBuilder {
  const f = new FunctionBuilder([], []);
  f.atomicStore32(busLock, i32.const(0));
  return f;
}

/**
 * (record, segment, offset, size | write << 8) → linear address. In 64-bit mode only FS and GS have a base and nothing is
 * checked here; elsewhere the offset must lie in the segment's range and the segment must allow the access.
 */
function segmentAddress(window: I32, raiseImport: number): FunctionBuilder {
  const f = new FunctionBuilder(["i32", "i32", "i64", "i32"], ["i64"]);
  const record = f.parameter(0, "i32");
  const number = f.parameter(1, "i32");
  const offset = f.parameter(2, "i64");
  const what = f.parameter(3, "i32");
  f.scope(() => {
    const register = f.let(i32.add(window, i32.mul(number, i32.const(segmentStride))));
    const base = i64.load(register, lpOffset.segment + segmentOffset.base);
    const is64 = i32.eq(i32.and(i32.load(window, lpOffset.codeMode), i32.const(3)), i32.const(2));
    f.if(is64, () => {
      f.return(choose(i32.geU(number, i32.const(Segment.FS)), i64.add(offset, base), offset));
    });
    const last = f.let(
      i64.add(offset, i64.extendU(i32.sub(i32.and(what, i32.const(0xff)), i32.const(1)))),
    );
    const need = f.let(i32.add(i32.shrU(what, i32.const(8)), i32.const(1)));
    const lowest = i64.load32u(register, lpOffset.segment + segmentOffset.lowest);
    const highest = i64.load32u(register, lpOffset.segment + segmentOffset.highest);
    const allowed = i32.and(i32.load(register, lpOffset.segment + segmentOffset.access), need);
    const bad = i32.or(
      i32.or(i64.ltU(offset, lowest), i64.gtU(last, highest)),
      i32.ne(allowed, need),
    );
    f.if(bad, () => {
      f.store32(window, record, lpOffset.current);
      const vector = choose(
        i32.eq(number, i32.const(Segment.SS)),
        i32.const(12 | 0x100),
        i32.const(13 | 0x100),
      );
      f.call(raiseImport, vector);
    });
    f.result(i64.and(i64.add(offset, base), i64.const(0xffff_ffffn)));
  });
  return f;
}

/** (record, size | write << 8) → linear address of the record's memory operand, any segment and address size. */
function generalAddress(segment: number): FunctionBuilder {
  const f = new FunctionBuilder(["i32", "i32"], ["i64"]);
  const record = f.parameter(0, "i32");
  const register = (field: number): I64 => i64.load(i32.load(record, field));
  const scaled = i64.shl(register(recordOffset.index), i64.load8u(record, recordOffset.scale));
  const sum = i64.add(
    i64.add(register(recordOffset.base), scaled),
    i64.load32s(record, recordOffset.displacement),
  );
  const bits = i32.shl(i32.load8u(record, recordOffset.addressSize), i32.const(3));
  const mask = i64.shrU(i64.const(-1), i64.extendU(i32.sub(i32.const(64), bits)));
  f.result(
    callValue(
      "i64",
      segment,
      record,
      i32.load8u(record, recordOffset.segment),
      i64.and(sum, mask),
      f.parameter(1, "i32"),
    ),
  );
  return f;
}

// ——— what arms and cold functions share

function sharedSurroundings(
  f: FunctionBuilder,
  helpers: Helpers,
  record: Local<"i32">,
  result: Local<"i64">,
  carries: Local<"i64">,
  window: I32,
  remaining: I32,
): Omit<Surroundings, "tlbContext" | "jumpDirect" | "jumpNext" | "jumpTo" | "again" | "handOver"> {
  const spilled = [record, result, carries, remaining];
  return {
    f,
    record,
    result,
    carries,
    window,
    slowAccess: (linear, size, kind) =>
      callValue("i32", helpers.slowAccess, ...spilled, linear, i32.const(size | (kind << 8))),
    slowStore: (linear, value, size) =>
      f.call(helpers.slowStore, ...spilled, linear, value, i32.const(size)),
    commit: () => f.call(helpers.commit),
    lockBus: () => f.call(helpers.lockBus),
    unlockBus: () => f.call(helpers.unlockBus),
    generalAddress: (size, write) =>
      callValue("i64", helpers.general, record, i32.const(size | (write ? 0x100 : 0))),
    segmentAddress: (segment, offset, size, write) =>
      callValue(
        "i64",
        helpers.segment,
        record,
        segment,
        offset,
        i32.const(size | (write ? 0x100 : 0)),
      ),
    raise: (exception) => f.call(helpers.raise, ...spilled, i32.const(exception)),
  };
}

// ——— cold forms

function coldFunction(placed: PlacedForm, window: I32, helpers: Helpers): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const record = f.parameter(0, "i32");
  const result = f.local("i64");
  const carries = f.local("i64");
  const leave = (status: number): void => {
    f.store(8, window, result, lpOffset.flagResult);
    f.store(8, window, carries, lpOffset.flagCarries);
    f.return(i32.const(status));
  };
  const jumpTo = (rip: I64): void => {
    f.store(8, window, rip, lpOffset.rip);
    leave(coldStatus.jump);
  };
  f.scope(() => {
    f.set(result, i64.load(window, lpOffset.flagResult));
    f.set(carries, i64.load(window, lpOffset.flagCarries));
    const around: Surroundings = {
      ...sharedSurroundings(
        f,
        helpers,
        record,
        result,
        carries,
        window,
        i32.load(window, lpOffset.remaining),
      ),
      tlbContext: i64.load(window, lpOffset.tlbContext),
      jumpDirect: () => jumpTo(i64.load(record, recordOffset.immediate)),
      jumpNext: () => leave(coldStatus.next),
      jumpTo,
      again: () => leave(coldStatus.again),
      handOver: () => leave(coldStatus.handOver),
    };
    placed.semantics(new InstructionEmitter(placed.form, around));
    leave(coldStatus.next);
  });
  f.unreachable();
  return f;
}

// ——— the interpreter proper

function runFunction(
  hot: readonly PlacedForm[],
  windowGlobal: I32,
  helpers: Helpers,
  coldType: number,
): FunctionBuilder {
  const f = new FunctionBuilder(["i32"], ["i32"]);
  const remaining = f.parameter(0, "i32");
  const window = f.local("i32");
  const record = f.local("i32");
  /** First record of the block to enter. */
  const block = f.local("i32");
  /** Where to write the address of the block found next; 0 = nowhere. */
  const link = f.local("i32");
  const rip = f.local("i64");
  const result = f.local("i64");
  const carries = f.local("i64");
  const context = f.local("i64");
  const fetchTag = f.local("i64");
  const fetchPage = f.local("i32");
  const codeBase = f.local("i64");
  const linearMask = f.local("i64");
  const mode = f.local("i32");
  const linear = f.local("i64");
  const physical = f.local("i32");
  const entry = f.local("i32");
  const status = f.local("i32");
  const reason = f.local("i32");

  const loadFlags = (): void => {
    f.set(result, i64.load(window, lpOffset.flagResult));
    f.set(carries, i64.load(window, lpOffset.flagCarries));
  };
  const loadContext = (): void => {
    f.set(context, i64.load(window, lpOffset.tlbContext));
    f.set(fetchTag, i64.load(window, lpOffset.fetchTag));
    f.set(fetchPage, i32.load(window, lpOffset.fetchPage));
    f.set(codeBase, i64.load(window, lpOffset.codeBase));
    f.set(linearMask, i64.load(window, lpOffset.linearMask));
    f.set(mode, i32.load(window, lpOffset.codeMode));
  };
  const spillAt = (at: I32): void => spill(f, window, at, result, carries, remaining);
  const next = (): I64 => i64.load(record, recordOffset.next);
  const start = (of: I32): I64 =>
    i64.sub(i64.load(of, recordOffset.next), i64.load8u(of, recordOffset.length));
  const left = (of: I32): I32 => i32.load16u(of, recordOffset.left);

  f.set(window, windowGlobal);
  f.set(rip, i64.load(window, lpOffset.rip));
  loadFlags();
  loadContext();

  f.block((exit) => {
    const leave = (why: number): void => {
      f.set(reason, i32.const(why));
      f.branch(exit);
    };
    f.loop((look) => {
      // With nothing left to run, nothing is fetched either: a fetch could fault.
      f.if(i32.eqz(remaining), () => leave(RunExit.Budget));
      // Look up the block at `rip`.
      f.set(linear, i64.and(i64.add(rip, codeBase), linearMask));
      f.if(i64.ne(i64.or(i64.and(linear, pageMask), context), fetchTag), () => {
        f.set(link, i32.const(0));
        translateFetch();
      });
      f.set(physical, i32.or(fetchPage, i32.and(i32.wrap(linear), i32.const(0xfff))));
      // The decode mode is part of the hash: code that is stepped through now and then keeps its blocks.
      const hash = i32.xor(
        i32.xor(i32.wrap(rip), i32.shrU(i32.wrap(rip), i32.const(14))),
        i32.shl(mode, i32.const(8)),
      );
      f.set(entry, i32.add(i32.shl(i32.and(hash, i32.const(16383)), i32.const(5)), window));
      const key = i64.or(i64.extendU(physical), i64.shl(i64.extendU(mode), i64.const(32)));
      const found = i32.and(
        i64.eq(i64.load(entry, lpOffset.blocks + blockEntryOffset.rip), rip),
        i64.eq(i64.load(entry, lpOffset.blocks + blockEntryOffset.key), key),
      );
      f.if(
        found,
        () => {
          f.set(block, i32.load(entry, lpOffset.blocks + blockEntryOffset.record));
          f.if(link, () => f.store32(link, block));
        },
        () => {
          f.store(8, window, rip, lpOffset.rip);
          spillAt(i32.const(0));
          f.set(block, callValue("i32", helpers.miss, physical));
        },
      );
      f.loop((enter) => {
        f.if(i32.atomicLoad(window, lpOffset.pending), () => attend(look, leave));
        f.set(remaining, i32.sub(remaining, left(block)));
        f.if(i32.ltS(remaining, i32.const(0)), () => {
          f.set(remaining, i32.add(remaining, left(block)));
          f.set(rip, start(block));
          leave(RunExit.Budget);
        });
        f.set(record, block);
        f.loop((execute) => arms(look, enter, execute, leave));
      });
    });
  });
  f.store(8, window, rip, lpOffset.rip);
  spillAt(i32.const(0));
  f.result(reason);
  return f;

  /** Something is pending before a block. Goes on with the block when it has been attended to. */
  function attend(look: Label, leave: (why: number) => void): void {
    const isHeedless = i32.load(window, lpOffset.heedless);
    f.if(
      isHeedless,
      () => f.store32(window, i32.const(0), lpOffset.heedless),
      () => {
        f.set(rip, start(block));
        f.set(entry, i32.load(window, lpOffset.attendant));
        f.if(i32.eqz(entry), () => leave(RunExit.Pending));
        f.store(8, window, rip, lpOffset.rip);
        spillAt(i32.const(0));
        f.callIndirect(coldType, entry, [block], status);
        f.if(i32.eq(status, i32.const(Assistance.Jump)), () => {
          f.set(rip, i64.load(window, lpOffset.rip));
          f.set(link, i32.const(0));
          f.branch(look);
        });
        f.if(i32.eq(status, i32.const(Assistance.None)), () => leave(RunExit.Pending));
      },
    );
  }

  function translateFetch(): void {
    f.set(
      entry,
      i32.add(i32.and(i32.shrU(i32.wrap(linear), i32.const(7)), i32.const(4095 << 5)), window),
    );
    const tag = i64.or(i64.and(linear, pageMask), context);
    f.if(
      i64.eq(i64.load(entry, lpOffset.tlb + tlbEntryOffset.execute), tag),
      () => {
        f.set(fetchTag, tag);
        const page = i32.add(
          i32.wrap(linear),
          i32.load(entry, lpOffset.tlb + tlbEntryOffset.addend),
        );
        f.set(fetchPage, i32.and(page, i32.const(-4096)));
        f.store(8, window, fetchTag, lpOffset.fetchTag);
        f.store32(window, fetchPage, lpOffset.fetchPage);
      },
      () => {
        f.set(physical, callValue("i32", helpers.walk, linear, walkFetch));
        f.if(
          i32.ne(physical, i32.const(-1)),
          () => enterPage(tag),
          () => {
            f.store(8, window, rip, lpOffset.rip);
            spillAt(i32.const(0));
            f.drop(callValue("i32", helpers.fetch));
            loadContext();
          },
        );
      },
    );
  }

  function enterPage(tag: I64): void {
    f.set(fetchTag, tag);
    f.set(fetchPage, i32.and(physical, i32.const(-4096)));
    f.store(8, window, fetchTag, lpOffset.fetchTag);
    f.store32(window, fetchPage, lpOffset.fetchPage);
  }

  function arms(look: Label, enter: Label, execute: Label, leave: (why: number) => void): void {
    const lookAt = (target: I64): void => {
      f.set(rip, target);
      f.set(link, i32.const(0));
      f.branch(look);
    };
    /** Follows the link at a record field, or looks the target up and fills it. */
    const follow = (field: number, target: I64): void => {
      f.set(block, i32.load(record, field));
      f.branchIf(enter, block);
      f.set(link, i32.add(record, i32.const(field)));
      f.set(rip, target);
      f.branch(look);
    };
    const advance = (): void => {
      f.set(record, i32.add(record, i32.const(recordBytes)));
      f.branch(execute);
    };
    const around: Surroundings = {
      ...sharedSurroundings(f, helpers, record, result, carries, window, remaining),
      tlbContext: context,
      jumpDirect: () => follow(recordOffset.linkTaken, i64.load(record, recordOffset.immediate)),
      jumpNext: () => follow(recordOffset.linkNext, next()),
      jumpTo: lookAt,
      again: () => {
        throw new Error("repeated instructions are cold");
      },
      handOver: () => {
        throw new Error("instructions that may be handed over are cold");
      },
    };
    const special: (() => void)[] = [];
    special[specialArm.end] = () => around.jumpNext();
    special[specialArm.relook] = () => {
      f.set(remaining, i32.add(remaining, left(record)));
      lookAt(start(record));
    };
    special[specialArm.cold] = () => coldArm(lookAt, advance, leave);
    special[specialArm.system] = () => systemArm(lookAt, leave);
    special[specialArm.assisted] = () => assistedArm(around.jumpNext, lookAt, leave);
    const emitters = [
      ...special,
      ...hot.map((placed) => () => {
        placed.semantics(new InstructionEmitter(placed.form, around));
        advance();
      }),
    ];
    dispatch(emitters);
  }

  /** Nested blocks, one per arm: the table branches to the end of the arm's block, where its code follows. */
  function dispatch(emitters: readonly (() => void)[]): void {
    const labels: Label[] = [];
    const open = (n: number): void => {
      if (n < 0) {
        f.branchTable(
          i32.load16u(record, recordOffset.op),
          labels,
          labels[specialArm.relook] as Label,
        );
        return;
      }
      f.block((end) => {
        labels[n] = end;
        open(n - 1);
      });
      f.scope(() => emitters[n]?.());
    };
    open(emitters.length - 1);
    f.unreachable();
  }

  function coldArm(
    lookAt: (rip: I64) => void,
    advance: () => void,
    leave: (why: number) => void,
  ): void {
    spillAt(record);
    f.callIndirect(coldType, i32.load16u(record, recordOffset.form), [record], status);
    loadFlags();
    f.if(i32.eqz(status), advance);
    f.if(i32.eq(status, i32.const(coldStatus.jump)), () => lookAt(i64.load(window, lpOffset.rip)));
    f.if(i32.eq(status, i32.const(coldStatus.handOver)), () => systemArm(lookAt, leave));
    // An iteration of a repeated instruction, not the last one: events that come here find RFLAGS.RF set.
    f.set(remaining, i32.add(remaining, left(record)));
    const isWatched = f.let(i32.load(window, lpOffset.iteration));
    f.if(i32.or(isWatched, i32.atomicLoad(window, lpOffset.pending)), () => {
      const flags = i32.load(window, lpOffset.systemFlags);
      f.store32(window, i32.or(flags, i32.const(resumeFlag)), lpOffset.systemFlags);
    });
    f.if(isWatched, () => {
      f.store32(window, i32.const(Iteration.Stopped), lpOffset.iteration);
      f.set(rip, start(record));
      leave(RunExit.Left);
    });
    lookAt(start(record));
  }

  function assistedArm(
    advance: () => void,
    lookAt: (rip: I64) => void,
    leave: (why: number) => void,
  ): void {
    f.store(8, window, start(record), lpOffset.rip);
    spillAt(record);
    f.callIndirect(coldType, i32.load16u(record, recordOffset.form), [record], status);
    f.if(i32.eq(status, i32.const(Assistance.Done)), () => {
      loadFlags();
      advance();
    });
    f.if(i32.eq(status, i32.const(Assistance.Jump)), () => {
      loadFlags();
      loadContext();
      lookAt(i64.load(window, lpOffset.rip));
    });
    askSystem(lookAt, leave);
  }

  function systemArm(lookAt: (rip: I64) => void, leave: (why: number) => void): void {
    f.store(8, window, start(record), lpOffset.rip);
    spillAt(record);
    askSystem(lookAt, leave);
  }

  function askSystem(lookAt: (rip: I64) => void, leave: (why: number) => void): void {
    f.set(status, callValue("i32", helpers.system, record));
    // One that was handed over has others of its block behind it, which are not executed now.
    f.set(remaining, i32.sub(i32.add(remaining, left(record)), i32.const(1)));
    loadFlags();
    loadContext();
    const is = (outcome: number): Expression<"i32"> => i32.eq(status, i32.const(outcome));
    f.if(is(Outcome.Next), () => lookAt(next()));
    f.if(is(Outcome.Jump), () => lookAt(i64.load(window, lpOffset.rip)));
    f.set(rip, choose(is(Outcome.NextAndLeave), next(), i64.load(window, lpOffset.rip)));
    f.if(is(Outcome.Again), () => f.set(remaining, i32.add(remaining, i32.const(1))));
    leave(RunExit.Left);
  }
}
