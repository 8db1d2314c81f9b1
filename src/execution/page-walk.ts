/**
 * The quick page walk, in Wasm: 4-level paging, no second stage, every accessed flag (and for stores the dirty flag) already
 * set, nothing refused. It reads the tables and fills the TLB; whatever is out of the ordinary it leaves to the complete
 * walker in TypeScript, which sets flags and raises faults.
 */
import { callValue, type I32, type I64, i32, i64, select } from "../wasm/expression.ts";
import { FunctionBuilder } from "../wasm/function-builder.ts";
import { largePageRegions, lpOffset, tlbEntryOffset, walkFlag } from "./lp-window.ts";

/** Result of a walk that is left to TypeScript. No RAM address has this value. */
const left = i32.const(-1);
const present = 1n;
const writable = 2n;
const user = 4n;
const accessed = 0x20n;
const dirty = 0x40n;
const large = 0x80n;
const frameMask = 0x000f_ffff_ffff_f000n;
const pageInformationShift = 4;

/** What the accesses of `AccessKind`, and fetches, need: numbers of the function's second parameter. */
const WalkAccess = { Read: 0, Write: 1, ReadWrite: 2, Fetch: 3 } as const;

/** (linear, access) → host address, or all ones. A negative access crosses pages. */
export const walkFetch = i32.const(WalkAccess.Fetch);

export function pageWalk(window: I32): FunctionBuilder {
  const f = new FunctionBuilder(["i64", "i32"], ["i32"]);
  const linear = f.parameter(0, "i64");
  const access = f.parameter(1, "i32");
  const flag = (bit: number): I32 => i32.and(i32.load(window, lpOffset.walkFlags), i32.const(bit));
  const giveUpIf = (condition: I32): void => f.if(condition, () => f.return(left));
  f.scope(() => {
    giveUpIf(i32.eqz(flag(walkFlag.enabled)));
    giveUpIf(i32.ltS(access, i32.const(0)));
    const canonical = i64.shrS(i64.shl(linear, i64.const(16)), i64.const(16));
    giveUpIf(i64.ne(canonical, linear));
    const reserved = f.let(i64.load(window, lpOffset.walkReserved));
    const ram = f.let(i64.load32u(window, lpOffset.ramBytes));
    const entry = f.let(i64.load(window, lpOffset.cr3));
    /** Permissions common to all levels; NX collected inverted by or. */
    const rights = f.let(i64.const(-1));
    const noExecute = f.let(i64.const(0));
    const shift = f.let(i64.const(39));
    f.block((leaf) => {
      f.loop((descend) => {
        const index = i64.and(i64.shrU(linear, shift), i64.const(511));
        const at = f.let(
          i64.or(i64.and(entry, i64.const(frameMask)), i64.shl(index, i64.const(3))),
        );
        giveUpIf(i64.geU(at, ram));
        f.set(entry, i64.load(i32.wrap(at)));
        f.set(rights, i64.and(rights, entry));
        f.set(noExecute, i64.or(noExecute, entry));
        giveUpIf(
          i64.ne(i64.and(entry, i64.const(present | accessed)), i64.const(present | accessed)),
        );
        giveUpIf(i64.ne(i64.and(entry, reserved), i64.const(0)));
        f.branchIf(leaf, i64.eq(shift, i64.const(12)));
        f.if(i64.ne(i64.and(entry, i64.const(large)), i64.const(0)), () => {
          // A large page in the PML4 is reserved; a 1 GiB page, and one not met before, is for the complete walker.
          giveUpIf(i64.ne(shift, i64.const(21)));
          giveUpIf(i32.eqz(i32.load8u(largeRegion(window, linear), lpOffset.largePages)));
          giveUpIf(i64.ne(i64.and(entry, i64.const(0x1f_e000)), i64.const(0)));
          f.branch(leaf);
        });
        f.set(shift, i64.sub(shift, i64.const(9)));
        f.branch(descend);
      });
    });
    const isUserPage = f.let(i64.ne(i64.and(rights, i64.const(user)), i64.const(0)));
    giveUpIf(i32.and(i32.ne(flag(walkFlag.user), i32.const(0)), i32.eqz(isUserPage)));
    const fetch = i32.eq(access, i32.const(WalkAccess.Fetch));
    const refused = select(fetch, flag(walkFlag.fetchRefusesUser), flag(walkFlag.dataRefusesUser));
    giveUpIf(i32.and(isUserPage, i32.ne(refused, i32.const(0))));
    giveUpIf(i32.and(fetch, i64.ltS(noExecute, i64.const(0))));
    const offsetMask = f.let(i64.sub(i64.shl(i64.const(1), shift), i64.const(1)));
    const frame = i64.and(entry, i64.xor(offsetMask, i64.const(frameMask | 0xfffn)));
    const physical = f.let(
      i64.and(i64.or(frame, i64.and(linear, offsetMask)), i64.const(0x000f_ffff_ffff_ffffn)),
    );
    giveUpIf(i64.geU(physical, ram));
    giveUpIf(i64.eq(i64.shrU(physical, i64.const(12)), i64.load32u(window, lpOffset.apicFrame)));
    const host = f.let(i32.wrap(physical));
    const canWrite = f.let(
      i32.and(
        i64.eq(i64.and(rights, i64.const(writable)), i64.const(writable)),
        i64.eq(i64.and(entry, i64.const(dirty)), i64.const(dirty)),
      ),
    );
    f.set(canWrite, i32.and(canWrite, holdsNoCode(window, host)));
    const writes = i32.and(
      i32.ne(access, i32.const(WalkAccess.Read)),
      i32.ne(access, i32.const(WalkAccess.Fetch)),
    );
    giveUpIf(i32.and(writes, i32.eqz(canWrite)));
    const writeTag = fill(f, window, linear, host, access, canWrite);
    f.if(canWrite, () => recheck(f, window, host, writeTag, writes));
    f.result(host);
  });
  return f;
}

/** Window offset (before `largePages`) of the byte for the 2 MiB region of a linear address. */
function largeRegion(window: I32, linear: I64): I32 {
  const region = i32.and(
    i32.wrap(i64.shrU(linear, i64.const(21))),
    i32.const(largePageRegions - 1),
  );
  return i32.add(window, region);
}

/** The page's mask of decoded lines is empty. */
function holdsNoCode(window: I32, host: I32): I32 {
  const at = i32.add(
    i32.load(window, lpOffset.pageInformation),
    i32.shl(i32.shrU(host, i32.const(12)), i32.const(pageInformationShift)),
  );
  return i64.eqz(i64.atomicLoad(at, 8));
}

/**
 * Write permission has been entered: it is taken back when another LP has claimed the page for decoding meanwhile. The atomic
 * store is the barrier between the two (see `CodePages`).
 */
function recheck(f: FunctionBuilder, window: I32, host: I32, tagAt: I32, writes: I32): void {
  f.atomicStore32(tagAt, i32.load(tagAt));
  f.if(i32.eqz(holdsNoCode(window, host)), () => {
    f.store(8, tagAt, i64.const(1));
    f.if(writes, () => f.return(left));
  });
}

/** @returns address of the entry's tag for writing */
function fill(
  f: FunctionBuilder,
  window: I32,
  linear: I64,
  host: I32,
  access: I32,
  canWrite: I32,
): I32 {
  const entry = f.let(
    i32.add(i32.and(i32.shrU(i32.wrap(linear), i32.const(7)), i32.const(4095 << 5)), window),
  );
  const tag = f.let(
    i64.or(i64.and(linear, i64.const(-4096)), i64.load(window, lpOffset.tlbContext)),
  );
  const addend = f.let(i32.sub(host, i32.wrap(linear)));
  const at = (offset: number): number => lpOffset.tlb + offset;
  const same = i32.eq(i32.load(entry, at(tlbEntryOffset.addend)), addend);
  const keep = (offset: number): I32 => i32.and(i64.eq(i64.load(entry, at(offset)), tag), same);
  const invalid = i64.const(1);
  const fetch = f.let(i32.eq(access, i32.const(WalkAccess.Fetch)));
  const set = (offset: number, condition: I32): void => {
    const value = f.let(select(i32.or(condition, keep(offset)), tag, invalid));
    f.store(8, entry, value, at(offset));
  };
  set(tlbEntryOffset.read, i32.eqz(fetch));
  set(tlbEntryOffset.write, i32.and(i32.eqz(fetch), canWrite));
  set(tlbEntryOffset.execute, fetch);
  f.store32(entry, addend, at(tlbEntryOffset.addend));
  f.store32(window, i32.add(i32.load(window, lpOffset.walks), i32.const(1)), lpOffset.walks);
  return f.let(i32.add(entry, i32.const(at(tlbEntryOffset.write))));
}

/** Walks for an access of `size` bytes; one that crosses pages (told by the sign of `access`) is left. */
export function tryWalk(walk: number, linear: I64, size: I32, access: I32): I32 {
  const last = i32.add(i32.and(i32.wrap(linear), i32.const(0xfff)), size);
  return callValue(
    "i32",
    walk,
    linear,
    i32.or(access, i32.shl(i32.gtU(last, i32.const(4096)), i32.const(31))),
  );
}
