import { rightsBit } from "../../cpu/register-bits.ts";
import { entryControl, secondary } from "../controls.ts";
import { exitReason } from "../exit-reasons.ts";
import { type FieldName, slot } from "../vmcs-fields.ts";
import { canonical } from "./conditions.ts";
import type { EntryContext } from "./entry-context.ts";
import {
  type Condition,
  type EntryRule,
  entryFailure,
  type RuleGroup,
  ruleMaker,
} from "./entry-rule.ts";

/** "Checks on Guest Segment Registers". */
const rule = ruleMaker(entryFailure(exitReason.invalidGuestState));

type SegmentName = "Cs" | "Ss" | "Ds" | "Es" | "Fs" | "Gs" | "Ldtr" | "Tr";

interface SegmentSlots {
  readonly name: string;
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
  readonly rights: number;
}

function segment(name: SegmentName): SegmentSlots {
  const of = (part: "Selector" | "Base" | "Limit" | "AccessRights") =>
    slot[`guest${name}${part}` satisfies FieldName];
  return {
    name: name.toUpperCase(),
    selector: of("Selector"),
    base: of("Base"),
    limit: of("Limit"),
    rights: of("AccessRights"),
  };
}

const cs = segment("Cs");
const ss = segment("Ss");
const ds = segment("Ds");
const es = segment("Es");
const fs = segment("Fs");
const gs = segment("Gs");
const ldtr = segment("Ldtr");
const tr = segment("Tr");

/** Access rights that no segment has: bits 11:8 and 31:17. */
const reservedRights = 0xfffe_0f00;

const typeOf = (e: EntryContext, s: SegmentSlots): number => e.low(s.rights) & 0xf;
const dplOf = (e: EntryContext, s: SegmentSlots): number => (e.low(s.rights) >>> 5) & 3;
const rplOf = (e: EntryContext, s: SegmentSlots): number => e.low(s.selector) & 3;
const has = (e: EntryContext, s: SegmentSlots, bit: number): boolean =>
  (e.low(s.rights) & bit) !== 0;
const isUsable = (e: EntryContext, s: SegmentSlots): boolean => !has(e, s, rightsBit.unusable);
const isVirtual8086 = (e: EntryContext): boolean => (e.low(slot.guestRflags) & (1 << 17)) !== 0;
const isUnrestricted = (e: EntryContext): boolean =>
  (e.secondary & secondary.unrestrictedGuest) !== 0;
const isLongGuest = (e: EntryContext): boolean => (e.entry & entryControl.ia32eModeGuest) !== 0;

const inV8086: Condition = { text: "RFLAGS.VM is 1", applies: isVirtual8086 };
const notV8086: Condition = { text: "RFLAGS.VM is 0", applies: (e) => !isVirtual8086(e) };
const notV8086Restricted: Condition = {
  text: "RFLAGS.VM is 0 and the guest is not unrestricted",
  applies: (e) => !isVirtual8086(e) && !isUnrestricted(e),
};
const usable = (s: SegmentSlots): Condition => ({
  text: `${s.name} is usable`,
  applies: (e) => isUsable(e, s),
});
const usableOutsideV8086 = (s: SegmentSlots): Condition => ({
  text: `RFLAGS.VM is 0 and ${s.name} is usable`,
  applies: (e) => !isVirtual8086(e) && isUsable(e, s),
});
/** CS is checked even when it is marked unusable. */
const outsideV8086 = (s: SegmentSlots): Condition => (s === cs ? notV8086 : usableOutsideV8086(s));

const id = (number: number): string => `GSG-${String(number).padStart(2, "0")}`;

/** One rule for several segments, with consecutive numbers. */
function forEach(
  first: number,
  segments: readonly SegmentSlots[],
  text: string,
  holds: (e: EntryContext, s: SegmentSlots) => boolean,
  condition: (s: SegmentSlots) => Condition,
): EntryRule[] {
  return segments.map((s, n) =>
    rule(id(first + n), `${s.name}: ${text}`, (e) => holds(e, s), condition(s)),
  );
}

/** Real-mode style segment of virtual-8086 mode: base, limit and rights are fixed. */
function v8086Rules(first: number, s: SegmentSlots): EntryRule[] {
  return [
    rule(
      id(first),
      `${s.name}: the base is 16 times the selector`,
      (e) => e.low(s.base) === e.low(s.selector) * 16 && e.high(s.base) === 0,
      inV8086,
    ),
    rule(id(first + 1), `${s.name}: the limit is FFFFH`, (e) => e.low(s.limit) === 0xffff, inV8086),
    rule(
      id(first + 2),
      `${s.name}: the access rights are F3H`,
      (e) => e.low(s.rights) === 0xf3,
      inV8086,
    ),
  ];
}

/** G must be 0 if the limit is not a whole number of pages, and 1 if it needs more than 20 bits. */
function hasFittingGranularity(e: EntryContext, s: SegmentSlots): boolean {
  const limit = e.low(s.limit);
  return has(e, s, rightsBit.granular) ? (limit & 0xfff) === 0xfff : limit >>> 20 === 0;
}

function isCodeType(e: EntryContext): boolean {
  const type = typeOf(e, cs);
  return (type & 9) === 9 || (type === 3 && isUnrestricted(e));
}

/** Data segments must be accessed; code in them readable. */
function isDataType(e: EntryContext, s: SegmentSlots): boolean {
  const type = typeOf(e, s);
  return (
    (type & rightsBit.accessed) !== 0 &&
    ((type & rightsBit.code) === 0 || (type & rightsBit.readable) !== 0)
  );
}

const csType = (text: string, matches: (type: number) => boolean): Condition => ({
  text: `RFLAGS.VM is 0 and CS is ${text}`,
  applies: (e) => !isVirtual8086(e) && matches(typeOf(e, cs)),
});

const isBusyTss = (e: EntryContext): boolean =>
  typeOf(e, tr) === 11 || (typeOf(e, tr) === 3 && !isLongGuest(e));

const dataSegments = [ds, es, fs, gs] as const;
const allSegments = [cs, ss, ...dataSegments] as const;

export const guestSegmentRules: RuleGroup = {
  name: "guest-segments",
  reads: [
    "primaryControls",
    "secondaryControls",
    "entryControls",
    "guestRflags",
    "guestCr0",
    ...(["Cs", "Ss", "Ds", "Es", "Fs", "Gs", "Ldtr", "Tr"] as const).flatMap(
      (name): FieldName[] => [
        `guest${name}Selector`,
        `guest${name}Base`,
        `guest${name}Limit`,
        `guest${name}AccessRights`,
      ],
    ),
  ],
  rules: [
    rule("GSG-01", "TR: the selector names the GDT", (e) => (e.low(tr.selector) & 4) === 0),
    rule(
      "GSG-02",
      "LDTR: the selector names the GDT",
      (e) => (e.low(ldtr.selector) & 4) === 0,
      usable(ldtr),
    ),
    rule(
      "GSG-03",
      "SS: the RPL is that of CS",
      (e) => rplOf(e, ss) === rplOf(e, cs),
      notV8086Restricted,
    ),
    ...v8086Rules(4, cs),
    ...v8086Rules(7, ss),
    ...v8086Rules(10, ds),
    ...v8086Rules(13, es),
    ...v8086Rules(16, fs),
    ...v8086Rules(19, gs),
    rule("GSG-22", "TR: the base is canonical", canonical(tr.base)),
    rule("GSG-23", "FS: the base is canonical", canonical(fs.base)),
    rule("GSG-24", "GS: the base is canonical", canonical(gs.base)),
    rule("GSG-25", "LDTR: the base is canonical", canonical(ldtr.base), usable(ldtr)),
    rule("GSG-26", "CS: bits 63:32 of the base are 0", (e) => e.high(cs.base) === 0),
    ...forEach(
      27,
      [ss, ds, es],
      "bits 63:32 of the base are 0",
      (e, s) => e.high(s.base) === 0,
      usable,
    ),
    rule(
      "GSG-30",
      "CS: the type is accessed code, or 3 for an unrestricted guest",
      isCodeType,
      notV8086,
    ),
    rule(
      "GSG-31",
      "SS: the type is accessed writable data",
      (e) => (typeOf(e, ss) & ~rightsBit.expandDown) === 3,
      usableOutsideV8086(ss),
    ),
    ...forEach(
      32,
      dataSegments,
      "the type is accessed, and readable if it is code",
      isDataType,
      usableOutsideV8086,
    ),
    ...forEach(36, allSegments, "S is 1", (e, s) => has(e, s, rightsBit.nonSystem), outsideV8086),
    rule(
      "GSG-42",
      "CS: the DPL is 0",
      (e) => dplOf(e, cs) === 0,
      csType("data", (type) => type === 3),
    ),
    rule(
      "GSG-43",
      "CS: the DPL is that of SS",
      (e) => dplOf(e, cs) === dplOf(e, ss),
      csType("non-conforming code", (type) => type === 9 || type === 11),
    ),
    rule(
      "GSG-44",
      "CS: the DPL is not above that of SS",
      (e) => dplOf(e, cs) <= dplOf(e, ss),
      csType("conforming code", (type) => type === 13 || type === 15),
    ),
    rule(
      "GSG-45",
      "SS: the DPL is the RPL",
      (e) => dplOf(e, ss) === rplOf(e, ss),
      notV8086Restricted,
    ),
    rule("GSG-46", "SS: the DPL is 0", (e) => dplOf(e, ss) === 0, {
      text: "RFLAGS.VM is 0, and CS is data or CR0.PE is 0",
      applies: (e) =>
        !isVirtual8086(e) && (typeOf(e, cs) === 3 || (e.low(slot.guestCr0) & 1) === 0),
    }),
    ...forEach(
      47,
      dataSegments,
      "the DPL is not below the RPL",
      (e, s) => dplOf(e, s) >= rplOf(e, s),
      (s) => ({
        text: `RFLAGS.VM is 0, the guest is not unrestricted, ${s.name} is usable and not conforming code`,
        applies: (e) =>
          !isVirtual8086(e) && !isUnrestricted(e) && isUsable(e, s) && typeOf(e, s) <= 11,
      }),
    ),
    ...forEach(51, allSegments, "P is 1", (e, s) => has(e, s, rightsBit.present), outsideV8086),
    ...forEach(
      57,
      allSegments,
      "the reserved access rights are 0",
      (e, s) => !has(e, s, reservedRights),
      outsideV8086,
    ),
    rule("GSG-63", "CS: D/B is 0", (e) => !has(e, cs, rightsBit.big), {
      text: "RFLAGS.VM is 0, the guest is in IA-32e mode and CS.L is 1",
      applies: (e) => !isVirtual8086(e) && isLongGuest(e) && has(e, cs, rightsBit.long),
    }),
    ...forEach(64, allSegments, "G fits the limit", hasFittingGranularity, outsideV8086),
    rule("GSG-70", "TR: the type is a busy TSS, of 32 or 64 bits in IA-32e mode", isBusyTss),
    rule("GSG-71", "TR: S is 0", (e) => !has(e, tr, rightsBit.nonSystem)),
    rule("GSG-72", "TR: P is 1", (e) => has(e, tr, rightsBit.present)),
    rule("GSG-73", "TR: the reserved access rights are 0", (e) => !has(e, tr, reservedRights)),
    rule("GSG-74", "TR: G fits the limit", (e) => hasFittingGranularity(e, tr)),
    rule("GSG-75", "TR is usable", (e) => isUsable(e, tr)),
    rule("GSG-76", "LDTR: the type is LDT", (e) => typeOf(e, ldtr) === 2, usable(ldtr)),
    rule("GSG-77", "LDTR: S is 0", (e) => !has(e, ldtr, rightsBit.nonSystem), usable(ldtr)),
    rule("GSG-78", "LDTR: P is 1", (e) => has(e, ldtr, rightsBit.present), usable(ldtr)),
    rule(
      "GSG-79",
      "LDTR: the reserved access rights are 0",
      (e) => !has(e, ldtr, reservedRights),
      usable(ldtr),
    ),
    rule("GSG-80", "LDTR: G fits the limit", (e) => hasFittingGranularity(e, ldtr), usable(ldtr)),
  ],
};
