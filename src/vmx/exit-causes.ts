import type { ControlName } from "./controls.ts";
import type { ExitReasonName } from "./exit-reasons.ts";

/**
 * What has to be so that an exit can occur at all: one of `controls` is 1 (none: no control is needed), and the processor
 * has the part `lacking` names, which this simulator leaves out.
 */
export interface ExitCause {
  readonly controls: readonly ControlName[];
  readonly lacking?: string;
}

const always: ExitCause = { controls: [] };
const by = (...controls: readonly ControlName[]): ExitCause => ({ controls });
const without = (lacking: string, ...controls: readonly ControlName[]): ExitCause => ({
  controls,
  lacking,
});

const smm = "system-management mode under the dual-monitor treatment";
const tdx = "trust domains";

export const exitCauses: Readonly<Record<ExitReasonName, ExitCause>> = {
  exceptionOrNmi: always,
  externalInterrupt: by("pin.externalInterruptExiting"),
  tripleFault: always,
  init: always,
  sipi: always,
  ioSmi: without(smm),
  otherSmi: without(smm),
  interruptWindow: by("primary.interruptWindowExiting"),
  nmiWindow: by("primary.nmiWindowExiting"),
  taskSwitch: always,
  cpuid: always,
  getsec: without("safer mode extensions"),
  hlt: by("primary.hltExiting"),
  invd: always,
  invlpg: by("primary.invlpgExiting"),
  rdpmc: by("primary.rdpmcExiting"),
  rdtsc: by("primary.rdtscExiting"),
  rsm: without(smm),
  vmcall: always,
  vmclear: always,
  vmlaunch: always,
  vmptrld: always,
  vmptrst: always,
  vmread: always,
  vmresume: always,
  vmwrite: always,
  vmxoff: always,
  vmxon: always,
  controlRegisterAccess: always,
  movDr: by("primary.movDrExiting"),
  ioInstruction: by("primary.unconditionalIoExiting", "primary.useIoBitmaps"),
  rdmsr: always,
  wrmsr: always,
  invalidGuestState: always,
  msrLoading: always,
  mwait: by("primary.mwaitExiting"),
  monitorTrapFlag: always,
  monitor: by("primary.monitorExiting"),
  pause: by("primary.pauseExiting", "secondary.pauseLoopExiting"),
  entryMachineCheck: without("machine checks"),
  tprBelowThreshold: by("primary.useTprShadow"),
  apicAccess: by("secondary.virtualizeApicAccesses"),
  virtualizedEoi: by("secondary.virtualInterruptDelivery"),
  gdtrOrIdtrAccess: by("secondary.descriptorTableExiting"),
  ldtrOrTrAccess: by("secondary.descriptorTableExiting"),
  eptViolation: by("secondary.enableEpt"),
  eptMisconfiguration: by("secondary.enableEpt"),
  invept: by("secondary.enableEpt"),
  rdtscp: by("primary.rdtscExiting"),
  preemptionTimer: by("pin.activateVmxPreemptionTimer"),
  invvpid: by("secondary.enableVpid"),
  wbinvd: by("secondary.wbinvdExiting"),
  xsetbv: always,
  apicWrite: by("secondary.apicRegisterVirtualization", "secondary.virtualInterruptDelivery"),
  rdrand: by("secondary.rdrandExiting"),
  invpcid: by("secondary.enableInvpcid"),
  vmfunc: by("secondary.enableVmFunctions"),
  encls: without("enclaves", "secondary.enableEnclsExiting"),
  rdseed: by("secondary.rdseedExiting"),
  pageModificationLogFull: by("secondary.enablePml"),
  xsaves: by("secondary.enableXsavesXrstors"),
  xrstors: by("secondary.enableXsavesXrstors"),
  pconfig: without("PCONFIG", "secondary.enablePconfig"),
  subPagePermission: by("secondary.subPageWritePermissions"),
  umwait: by("secondary.enableUserWaitAndPause"),
  tpause: by("secondary.enableUserWaitAndPause"),
  loadiwkey: without("Key Locker", "tertiary.loadiwkeyExiting"),
  enclv: without("enclaves", "secondary.enableEnclvExiting"),
  enqcmdTranslation: without("ENQCMD", "secondary.pasidTranslation"),
  enqcmdsTranslation: without("ENQCMD", "secondary.pasidTranslation"),
  busLock: by("secondary.vmmBusLockDetection"),
  instructionTimeout: by("secondary.instructionTimeout"),
  seamcall: without(tdx),
  tdcall: without(tdx),
  rdmsrlist: without("RDMSRLIST", "tertiary.enableMsrListInstructions"),
  wrmsrlist: without("WRMSRLIST", "tertiary.enableMsrListInstructions"),
};

/** Whether a guest can meet the exit on a processor that offers these controls. */
export function canExit(name: ExitReasonName, offered: ReadonlySet<ControlName>): boolean {
  const { controls, lacking } = exitCauses[name];
  const isPossible = controls.length === 0 || controls.some((control) => offered.has(control));
  return lacking === undefined && isPossible;
}
