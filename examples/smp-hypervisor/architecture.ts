/** Numbers of the machine that the hypervisor uses, by the names the processor manuals give them. */

export const port = {
  picMasterMask: 0x21,
  picSlaveMask: 0xa1,
  debugExit: 0xf4,
  com1: 0x3f8,
  fwCfgSelector: 0x510,
  fwCfgData: 0x511,
  shutdown: 0x8900,
} as const;

/** The UART's registers, from its first port on. */
export const uart = {
  data: 0,
  interruptEnable: 1,
  fifoControl: 2,
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
} as const;

export const fwCfgKey = { signature: 0, processorCount: 5 } as const;

/** Memory-mapped registers of the local APIC in xAPIC mode. */
export const lapic = {
  base: 0xfee00000,
  id: 0x20,
  taskPriority: 0x80,
  endOfInterrupt: 0xb0,
  spuriousVector: 0xf0,
  commandLow: 0x300,
  commandHigh: 0x310,
  timer: 0x320,
  lint0: 0x350,
  lint1: 0x360,
  error: 0x370,
} as const;

/** Bits of the interrupt command register and of the local vector table. */
export const command = {
  init: 0x500,
  startUp: 0x600,
  deliveryPending: 1 << 12,
  assert: 1 << 14,
  allButSelf: 0xc0000,
} as const;
export const localVectorMasked = 1 << 16;
export const apicSoftwareEnable = 1 << 8;

export const cr0Bit = { protection: 1, numericError: 1 << 5, writeProtect: 1 << 16 } as const;
/** CR0.CD and CR0.NW together. */
export const cr0CachesOff = 0x60000000;
export const cr0Paging = 0x80000000;
export const cr4Bit = { pae: 1 << 5, vmxe: 1 << 13 } as const;
export const efer = { msr: 0xc0000080, longModeEnable: 1 << 8 } as const;

export const msr = {
  featureControl: 0x3a,
  vmxBasic: 0x480,
  vmxPinControls: 0x481,
  vmxPrimaryControls: 0x482,
  vmxExitControls: 0x483,
  vmxEntryControls: 0x484,
  vmxCr0Fixed0: 0x486,
  vmxCr0Fixed1: 0x487,
  vmxCr4Fixed0: 0x488,
  vmxCr4Fixed1: 0x489,
  vmxSecondaryControls: 0x48b,
  vmxEptVpidCapabilities: 0x48c,
} as const;
/** Each TRUE capability MSR lies this far above the one it refines. */
export const trueControlsDistance = 0x48d - 0x481;
/** In the upper half of IA32_VMX_BASIC. */
export const basicHasTrueControls = 1 << (55 - 32);

export const featureControl = { locked: 1, vmxOutsideSmx: 1 << 2 } as const;

export const pinControl = { externalInterruptExiting: 1 } as const;
export const primaryControl = {
  interruptWindowExiting: 1 << 2,
  hltExiting: 1 << 7,
  unconditionalIoExiting: 1 << 24,
  activateSecondaryControls: 0x80000000,
} as const;
export const secondaryControl = { enableEpt: 1 << 1, enableVpid: 1 << 5 } as const;
export const exitControl = { hostIs64Bit: 1 << 9, acknowledgeInterrupt: 1 << 15 } as const;
export const entryControl = { guestIsIa32e: 1 << 9 } as const;

/** Bits of IA32_VMX_EPT_VPID_CAP; those from 32 on are bits of its upper half. */
export const eptCapability = {
  fourLevels: 1 << 6,
  writeBack: 1 << 14,
  twoMegabytePages: 1 << 16,
  inveptSingleContext: 1 << 25,
} as const;
export const vpidCapabilityHigh = { invvpidSingleContext: 1 << (41 - 32) } as const;
export const singleContext = 1;

export const ept = {
  read: 1,
  write: 2,
  execute: 4,
  writeBack: 6 << 3,
  largePage: 1 << 7,
  /** EPTP: write-back structures, a walk of four levels. */
  pointerFlags: 6 | (3 << 3),
} as const;

export const exitReason = {
  externalInterrupt: 1,
  interruptWindow: 7,
  cpuid: 10,
  hlt: 12,
  vmcall: 18,
  io: 30,
  eptViolation: 48,
} as const;
/** A table by exit reason has so many entries. */
export const exitReasons = 64;

/** The interruption-information format: valid bit; type 0 is an external interrupt. */
export const interruptionValid = 0x80000000;
/** Interruptibility state: blocking by STI and by MOV SS. */
export const blockingByStiOrMovSs = 3;
export const rflagsInterruptEnable = 1 << 9;

/** Encodings of the VMCS fields in use. */
export const vmcs = {
  vpid: 0x0000,
  guestEsSelector: 0x0800,
  guestCsSelector: 0x0802,
  guestSsSelector: 0x0804,
  guestDsSelector: 0x0806,
  guestFsSelector: 0x0808,
  guestGsSelector: 0x080a,
  guestLdtrSelector: 0x080c,
  guestTrSelector: 0x080e,
  hostEsSelector: 0x0c00,
  hostCsSelector: 0x0c02,
  hostSsSelector: 0x0c04,
  hostDsSelector: 0x0c06,
  hostFsSelector: 0x0c08,
  hostGsSelector: 0x0c0a,
  hostTrSelector: 0x0c0c,
  eptPointer: 0x201a,
  guestPhysicalAddress: 0x2400,
  linkPointer: 0x2800,
  guestDebugctl: 0x2802,
  pinControls: 0x4000,
  primaryControls: 0x4002,
  exceptionBitmap: 0x4004,
  pageFaultMask: 0x4006,
  pageFaultMatch: 0x4008,
  cr3TargetCount: 0x400a,
  exitControls: 0x400c,
  exitMsrStoreCount: 0x400e,
  exitMsrLoadCount: 0x4010,
  entryControls: 0x4012,
  entryMsrLoadCount: 0x4014,
  entryInterruptionInfo: 0x4016,
  secondaryControls: 0x401e,
  instructionError: 0x4400,
  exitReason: 0x4402,
  exitInterruptionInfo: 0x4404,
  idtVectoringInfo: 0x4408,
  exitInstructionLength: 0x440c,
  guestEsLimit: 0x4800,
  guestCsLimit: 0x4802,
  guestSsLimit: 0x4804,
  guestDsLimit: 0x4806,
  guestFsLimit: 0x4808,
  guestGsLimit: 0x480a,
  guestLdtrLimit: 0x480c,
  guestTrLimit: 0x480e,
  guestGdtrLimit: 0x4810,
  guestIdtrLimit: 0x4812,
  guestEsAccess: 0x4814,
  guestCsAccess: 0x4816,
  guestSsAccess: 0x4818,
  guestDsAccess: 0x481a,
  guestFsAccess: 0x481c,
  guestGsAccess: 0x481e,
  guestLdtrAccess: 0x4820,
  guestTrAccess: 0x4822,
  guestInterruptibility: 0x4824,
  guestActivity: 0x4826,
  guestSysenterCs: 0x482a,
  hostSysenterCs: 0x4c00,
  cr0Mask: 0x6000,
  cr4Mask: 0x6002,
  cr0ReadShadow: 0x6004,
  cr4ReadShadow: 0x6006,
  exitQualification: 0x6400,
  guestCr0: 0x6800,
  guestCr3: 0x6802,
  guestCr4: 0x6804,
  guestEsBase: 0x6806,
  guestCsBase: 0x6808,
  guestSsBase: 0x680a,
  guestDsBase: 0x680c,
  guestFsBase: 0x680e,
  guestGsBase: 0x6810,
  guestLdtrBase: 0x6812,
  guestTrBase: 0x6814,
  guestGdtrBase: 0x6816,
  guestIdtrBase: 0x6818,
  guestDr7: 0x681a,
  guestRsp: 0x681c,
  guestRip: 0x681e,
  guestRflags: 0x6820,
  guestPendingDebug: 0x6822,
  guestSysenterEsp: 0x6824,
  guestSysenterEip: 0x6826,
  hostCr0: 0x6c00,
  hostCr3: 0x6c02,
  hostCr4: 0x6c04,
  hostFsBase: 0x6c06,
  hostGsBase: 0x6c08,
  hostTrBase: 0x6c0a,
  hostGdtrBase: 0x6c0c,
  hostIdtrBase: 0x6c0e,
  hostSysenterEsp: 0x6c10,
  hostSysenterEip: 0x6c12,
  hostRsp: 0x6c14,
  hostRip: 0x6c16,
} as const;
export type VmcsField = (typeof vmcs)[keyof typeof vmcs];
