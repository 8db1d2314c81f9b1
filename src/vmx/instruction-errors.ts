/**
 * VM-instruction error numbers ("VM-Instruction Error Numbers"), stored in the current VMCS by VMfailValid. 14, 21 and 27
 * are not used.
 */
export const instructionErrorTable = {
  vmcallInRoot: [1, "VMCALL in VMX root operation"],
  vmclearAddress: [2, "VMCLEAR of an invalid physical address"],
  vmclearVmxonPointer: [3, "VMCLEAR of the VMXON region"],
  vmlaunchNotClear: [4, "VMLAUNCH of a VMCS that is not clear"],
  vmresumeNotLaunched: [5, "VMRESUME of a VMCS that is not launched"],
  vmresumeAfterVmxoff: [6, "VMRESUME after VMXOFF"],
  entryControls: [7, "VM entry with invalid control fields"],
  entryHostState: [8, "VM entry with invalid host-state fields"],
  vmptrldAddress: [9, "VMPTRLD of an invalid physical address"],
  vmptrldVmxonPointer: [10, "VMPTRLD of the VMXON region"],
  vmptrldRevision: [11, "VMPTRLD of a VMCS with another revision identifier"],
  unsupportedComponent: [12, "VMREAD or VMWRITE of an unsupported field"],
  readOnlyComponent: [13, "VMWRITE to a read-only field"],
  vmxonInRoot: [15, "VMXON in VMX root operation"],
  executiveVmcsPointer: [16, "VM entry with an invalid executive-VMCS pointer"],
  executiveVmcsNotLaunched: [17, "VM entry with an executive VMCS that is not launched"],
  executiveVmcsNotVmxon: [
    18,
    "VM entry with an executive-VMCS pointer that is not the VMXON pointer",
  ],
  vmcallNotClear: [19, "VMCALL with a VMCS that is not clear"],
  vmcallExitControls: [20, "VMCALL with invalid VM-exit control fields"],
  vmcallMsegRevision: [22, "VMCALL with another MSEG revision identifier"],
  vmxoffDualMonitor: [23, "VMXOFF under the dual-monitor treatment of SMM"],
  vmcallSmmMonitor: [24, "VMCALL with invalid SMM-monitor features"],
  entryExecutiveControls: [25, "VM entry with invalid execution controls in the executive VMCS"],
  entryMovSs: [26, "VM entry while MOV SS blocks events"],
  invalidInvalidation: [28, "Invalid operand of INVEPT or INVVPID"],
} as const satisfies Record<string, readonly [number: number, text: string]>;

export type InstructionErrorName = keyof typeof instructionErrorTable;

/** Numbers by name. */
export const instructionError = Object.fromEntries(
  Object.entries(instructionErrorTable).map(([name, [number]]) => [name, number]),
) as { readonly [K in InstructionErrorName]: (typeof instructionErrorTable)[K][0] };
