import { SimulatorBug } from "../base/assert.ts";
import { lpOffset, Segment, segmentOffset, segmentStride } from "../execution/lp-window.ts";
import { isCanonicalAddress } from "./canonical.ts";
import type { WideRegister } from "./lp-state.ts";
import { type CpuModel, supportedEfer } from "./models/cpu-model.ts";
import type { Msr, MsrOwner } from "./msr-register.ts";
import { cr0Bit, eferBit } from "./register-bits.ts";
import {
  readTimeStampCounter,
  writeTimeStampCounter,
  writeTscAdjust,
} from "./time-stamp-counter.ts";

/** Registers that have no place of their own in the window lie in the upper half of the cpu room's part of it. */
const slots = lpOffset.cpuPrivate + 0x400;
const slotsEnd = lpOffset.cpuPrivate + 0x800;

/** May this value be written? */
type Rule = (value: bigint, owner: MsrOwner) => boolean;

interface StoredOptions {
  readonly reset?: bigint;
  readonly legal?: Rule;
  /** Bits that are kept of what is written; all by default. */
  readonly keep?: bigint;
}

/** A register that is a 64-bit word of the window. */
class StoredMsr implements Msr {
  readonly address: number;
  readonly name: string;
  readonly #offset: number;
  readonly #options: StoredOptions;

  constructor(address: number, name: string, offset: number, options: StoredOptions) {
    this.address = address;
    this.name = name;
    this.#offset = offset;
    this.#options = options;
  }

  read({ state }: MsrOwner): bigint {
    return state.read64(this.#offset);
  }

  write(owner: MsrOwner, value: bigint): boolean {
    const { legal, keep } = this.#options;
    if (legal !== undefined && !legal(value, owner)) {
      return false;
    }
    owner.state.write64(this.#offset, keep === undefined ? value : value & keep);
    return true;
  }

  reset({ state }: MsrOwner): void {
    state.write64(this.#offset, this.#options.reset ?? 0n);
  }
}

const inRegister = (
  address: number,
  name: string,
  register: WideRegister,
  options: StoredOptions = {},
): Msr => new StoredMsr(address, name, lpOffset[register], options);

const readOnly = (address: number, name: string, read: (owner: MsrOwner) => bigint): Msr => ({
  address,
  name,
  read,
  write: () => false,
});

/** A base address that lies with its segment register, and is reset with it. */
function segmentBase(address: number, name: string, segment: number): Msr {
  const offset = lpOffset.segment + segment * segmentStride + segmentOffset.base;
  return {
    address,
    name,
    read: ({ state }) => state.read64(offset),
    write: (owner, value) => {
      if (!canonical(value, owner)) {
        return false;
      }
      owner.state.write64(offset, value);
      return true;
    },
  };
}

// ---- Rules -----------------------------------------------------------------------------------------------------------

const canonical: Rule = (value) => isCanonicalAddress(value);

const onlyBits =
  (mask: bigint): Rule =>
  (value) =>
    (value & ~mask) === 0n;

/** Every byte is a memory type. */
const memoryTypes =
  (types: readonly number[]): Rule =>
  (value) => {
    for (let shift = 0n; shift < 64n; shift += 8n) {
      if (!types.includes(Number((value >> shift) & 0xffn))) {
        return false;
      }
    }
    return true;
  };

const mtrrTypes = [0, 1, 4, 5, 6];
const patTypes = [...mtrrTypes, 7];

/** Every byte of IA32_PAT is a memory type; VM entry checks the same. */
export const isPatLegal = memoryTypes(patTypes) as (value: bigint) => boolean;

const isMtrrType = (value: bigint): boolean => mtrrTypes.includes(Number(value & 0xffn));

const physicalMask = ({ model }: MsrOwner): bigint =>
  (1n << BigInt(model.physicalAddressBits)) - 1n;

const mtrrBase: Rule = (value, owner) =>
  isMtrrType(value) && (value & ~0xffn & ~(physicalMask(owner) & ~0xfffn)) === 0n;

/** Bit 11: valid. */
const mtrrMask: Rule = (value, owner) =>
  (value & ~(0x800n | (physicalMask(owner) & ~0xfffn))) === 0n;

/** Bits 10 and 11: fixed ranges enabled, MTRRs enabled. */
const mtrrDefault: Rule = (value) => isMtrrType(value) && (value & ~0xcffn) === 0n;

const allOrNothing: Rule = (value) => value === 0n || value === 0xffff_ffff_ffff_ffffn;

// ---- Registers with behaviour ----------------------------------------------------------------------------------------

const timeStampCounter: Msr = {
  address: 0x10,
  name: "IA32_TIME_STAMP_COUNTER",
  read: readTimeStampCounter,
  write: (owner, value) => {
    writeTimeStampCounter(owner, value);
    return true;
  },
};

const tscAdjust: Msr = {
  address: 0x3b,
  name: "IA32_TSC_ADJUST",
  read: ({ state }) => state.get("tscAdjust"),
  write: (owner, value) => {
    writeTscAdjust(owner, value);
    return true;
  },
  reset: ({ state }) => {
    state.set("tscAdjust", 0n);
  },
};

const apicBase: Msr = {
  address: 0x1b,
  name: "IA32_APIC_BASE",
  read: ({ apic }) => apic.baseRegister,
  write: (owner, value) => {
    const done = owner.apic.writeBaseRegister(value);
    if (done) {
      owner.apicBaseChanged();
    }
    return done;
  },
};

const tscDeadline: Msr = {
  address: 0x6e0,
  name: "IA32_TSC_DEADLINE",
  read: ({ apic }) => apic.deadlineRegister,
  write: ({ apic }, value) => {
    apic.deadlineRegister = value;
    return true;
  },
};

export const featureControlBit = { lock: 1n << 0n, vmxOutsideSmx: 1n << 2n } as const;

/** Written once: from the write that sets the lock on, every write faults. The model has no SMX. */
const featureControl: Msr = inRegister(0x3a, "IA32_FEATURE_CONTROL", "featureControl", {
  legal: (value, { state }) =>
    (state.get("featureControl") & featureControlBit.lock) === 0n &&
    (value & ~(featureControlBit.lock | featureControlBit.vmxOutsideSmx)) === 0n,
});

/** Fast strings, thermal control, SpeedStep, MONITOR, limit of CPUID, xTPR off, execute-disable off. */
const miscEnableWritable = 0x4_00c5_0009n;
/** Performance monitoring, no BTS, no PEBS. */
const miscEnableReadOnly = 0x1880n;

const miscEnable: Msr = {
  address: 0x1a0,
  name: "IA32_MISC_ENABLE",
  read: ({ state }) => state.get("miscEnable"),
  write: ({ state }, value) => {
    if ((value & ~(miscEnableWritable | miscEnableReadOnly)) !== 0n) {
      return false;
    }
    state.set(
      "miscEnable",
      (value & miscEnableWritable) | (state.get("miscEnable") & miscEnableReadOnly),
    );
    return true;
  },
  reset: ({ state, model }) => {
    state.set("miscEnable", model.miscEnable);
  },
};

/**
 * "IA32_EFER": reserved bits fault; LME does not change while paging is on; LMA follows CR0.PG and LME alone.
 */
const efer: Msr = {
  address: 0xc000_0080,
  name: "IA32_EFER",
  read: ({ state }) => state.get("efer"),
  write: (owner, value) => {
    const { state } = owner;
    if ((value & ~BigInt(supportedEfer(owner.model))) !== 0n) {
      return false;
    }
    const old = state.low("efer");
    const next = (Number(value) & ~eferBit.LMA) | (old & eferBit.LMA);
    const changed = old ^ next;
    if ((changed & eferBit.LME) !== 0 && (state.low("cr0") & cr0Bit.PG) !== 0) {
      return false;
    }
    state.setLow("efer", next);
    if ((changed & eferBit.NXE) !== 0) {
      owner.addressSpace.changed();
    }
    return true;
  },
  reset: ({ state }) => {
    state.setLow("efer", 0);
  },
};

const pkrs: Msr = {
  address: 0x6e1,
  name: "IA32_PKRS",
  read: ({ state }) => state.get("pkrs"),
  write: (owner, value) => {
    if (value >> 32n !== 0n) {
      return false;
    }
    owner.addressSpace.loadKeys(lpOffset.pkrs, Number(value));
    return true;
  },
  reset: ({ state }) => {
    state.set("pkrs", 0n);
  },
};

export const platformInfoBit = { cpuidFaulting: 1n << 31n } as const;
/** IA32_MISC_FEATURES_ENABLES, bit 0: CPUID faults above privilege level 0. */
export const miscFeaturesEnables = 0x140;

/** Ratios of the bus clock of 100 MHz: base in 15:8, lowest in 47:40. */
function platformInfo({ clock }: MsrOwner): bigint {
  const ratio = BigInt(Math.min(255, Math.round(clock.frequencyHz / 100_000_000)));
  return (ratio << 8n) | (ratio << 40n) | platformInfoBit.cpuidFaulting;
}

/** The revision is reported whatever is written; updates are not loaded. */
const microcodeRevision: Msr = {
  address: 0x8b,
  name: "IA32_BIOS_SIGN_ID",
  read: ({ model }) => BigInt(model.microcodeRevision) << 32n,
  write: () => true,
};

const microcodeUpdate: Msr = {
  address: 0x79,
  name: "IA32_BIOS_UPDT_TRIG",
  read: () => undefined,
  write: () => true,
};

/** LBR and BTF. */
export const debugControlBits = 0x3n;

// ---- The table -------------------------------------------------------------------------------------------------------

const fixedMtrrs: readonly (readonly [number, string])[] = [
  [0x250, "IA32_MTRR_FIX64K_00000"],
  [0x258, "IA32_MTRR_FIX16K_80000"],
  [0x259, "IA32_MTRR_FIX16K_A0000"],
  [0x268, "IA32_MTRR_FIX4K_C0000"],
  [0x269, "IA32_MTRR_FIX4K_C8000"],
  [0x26a, "IA32_MTRR_FIX4K_D0000"],
  [0x26b, "IA32_MTRR_FIX4K_D8000"],
  [0x26c, "IA32_MTRR_FIX4K_E0000"],
  [0x26d, "IA32_MTRR_FIX4K_E8000"],
  [0x26e, "IA32_MTRR_FIX4K_F0000"],
  [0x26f, "IA32_MTRR_FIX4K_F8000"],
];

/** Every register the model has, those of the x2APIC and of VMX apart. */
export function msrTable(model: CpuModel): readonly Msr[] {
  let next = slots;
  const inSlot = (address: number, name: string, options: StoredOptions = {}): Msr => {
    const offset = next;
    next += 8;
    return new StoredMsr(address, name, offset, options);
  };
  const { features } = model;
  const table: Msr[] = [
    inSlot(0x0, "IA32_P5_MC_ADDR"),
    inSlot(0x1, "IA32_P5_MC_TYPE"),
    timeStampCounter,
    readOnly(0x17, "IA32_PLATFORM_ID", () => 0n),
    apicBase,
    microcodeUpdate,
    microcodeRevision,
    readOnly(0xce, "MSR_PLATFORM_INFO", platformInfo),
    inSlot(miscFeaturesEnables, "IA32_MISC_FEATURES_ENABLES", { legal: onlyBits(1n) }),
    inRegister(0x174, "IA32_SYSENTER_CS", "sysenterCs", { keep: 0xffff_ffffn }),
    inRegister(0x175, "IA32_SYSENTER_ESP", "sysenterEsp", { legal: canonical }),
    inRegister(0x176, "IA32_SYSENTER_EIP", "sysenterEip", { legal: canonical }),
    readOnly(0x179, "IA32_MCG_CAP", () => BigInt(model.machineCheckBanks)),
    inSlot(0x17a, "IA32_MCG_STATUS", { legal: onlyBits(0x7n) }),
    miscEnable,
    inRegister(0x1d9, "IA32_DEBUGCTL", "debugCtl", { legal: onlyBits(debugControlBits) }),
    inRegister(0x277, "IA32_PAT", "pat", { reset: 0x0007_0406_0007_0406n, legal: isPatLegal }),
    efer,
    inRegister(0xc000_0081, "IA32_STAR", "star"),
    inRegister(0xc000_0082, "IA32_LSTAR", "lstar", { legal: canonical }),
    inRegister(0xc000_0083, "IA32_CSTAR", "cstar", { legal: canonical }),
    inRegister(0xc000_0084, "IA32_FMASK", "fmask", { legal: onlyBits(0xffff_ffffn) }),
    segmentBase(0xc000_0100, "IA32_FS_BASE", Segment.FS),
    segmentBase(0xc000_0101, "IA32_GS_BASE", Segment.GS),
    inRegister(0xc000_0102, "IA32_KERNEL_GS_BASE", "kernelGsBase", { legal: canonical }),
    ...mtrrs(model, inSlot),
    ...machineCheckBanks(model, inSlot),
  ];
  if (features.has("vmx")) {
    table.push(featureControl);
  }
  if (features.has("tscAdjust")) {
    table.push(tscAdjust);
  }
  if (features.has("tscDeadline")) {
    table.push(tscDeadline);
  }
  if (features.has("rdtscp") || features.has("rdpid")) {
    table.push(
      inRegister(0xc000_0103, "IA32_TSC_AUX", "tscAux", { legal: onlyBits(0xffff_ffffn) }),
    );
  }
  if (features.has("pks")) {
    table.push(pkrs);
  }
  if (features.has("xsaves")) {
    // No supervisor state component is offered.
    table.push(inRegister(0xda0, "IA32_XSS", "xss", { legal: onlyBits(0n) }));
  }
  if (next > slotsEnd) {
    throw new SimulatorBug("more model-specific registers than the window has slots for");
  }
  return table;
}

type SlotMaker = (address: number, name: string, options?: StoredOptions) => Msr;

function mtrrs(model: CpuModel, inSlot: SlotMaker): readonly Msr[] {
  const fixedAndWriteCombining = 0x500;
  const table: Msr[] = [
    readOnly(0xfe, "IA32_MTRRCAP", () => BigInt(model.variableMtrrs | fixedAndWriteCombining)),
    inSlot(0x2ff, "IA32_MTRR_DEF_TYPE", { legal: mtrrDefault }),
  ];
  for (let n = 0; n < model.variableMtrrs; n++) {
    table.push(
      inSlot(0x200 + 2 * n, `IA32_MTRR_PHYSBASE${n}`, { legal: mtrrBase }),
      inSlot(0x201 + 2 * n, `IA32_MTRR_PHYSMASK${n}`, { legal: mtrrMask }),
    );
  }
  for (const [address, name] of fixedMtrrs) {
    table.push(inSlot(address, name, { legal: memoryTypes(mtrrTypes) }));
  }
  return table;
}

/** Banks that never report anything: status is cleared by writing zero, and takes nothing else. */
function machineCheckBanks(model: CpuModel, inSlot: SlotMaker): readonly Msr[] {
  const table: Msr[] = [];
  for (let n = 0; n < model.machineCheckBanks; n++) {
    const base = 0x400 + 4 * n;
    table.push(
      inSlot(base, `IA32_MC${n}_CTL`, { legal: allOrNothing }),
      inSlot(base + 1, `IA32_MC${n}_STATUS`, { legal: onlyBits(0n) }),
      inSlot(base + 2, `IA32_MC${n}_ADDR`),
      inSlot(base + 3, `IA32_MC${n}_MISC`),
    );
  }
  return table;
}
