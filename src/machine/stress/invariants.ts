/**
 * What must hold while interrupts are posted. The numbers are stable and appear in findings; those of VMCSs are watched by the
 * processors' own checker.
 */
export const watchedInvariants = {
  1: "a VMCS is active on at most one LP",
  2: "an LP has one current VMCS, active there, when it enters a guest",
  3: "VMLAUNCH finds the VMCS clear, VMRESUME finds it launched",
  4: "VMREAD and VMWRITE are executed while a VMCS is current",
  5: "a VMCS is loaded on another LP only after VMCLEAR on the LP it was active on",
  7: "VMCLEAR is executed on the LP on which the VMCS is active",
  10: "ON set means that a notification is under way, or that the target looks before it enters its guest or sleeps",
  11: "requests in PIR with SN clear have ON set",
  12: "in the guest, with interrupts on, what the priority allows is delivered soon",
  13: "a vCPU that sleeps has nothing that could be delivered",
  14: "NV is the wake-up vector exactly while the vCPU is on the list of NDST's LP",
  15: "in the guest, NV is the active vector, NDST is this LP and SN is clear",
  16: "a vCPU that sleeps has SN clear",
  17: "NDST is an LP that there is",
  18: "no update of a descriptor drops ON",
  19: "RVI and SVI change only through their VMCS, and VIRR has the bit of RVI",
  20: "the EOI-exit bitmap and TMR have the trigger mode that is in force",
  21: "remote IRR is set only while an end of interrupt is owed",
  22: "no VM entry passes over a request",
  23: "who receives an IPI sees what its sender stored before",
  24: "no handler drops a notification for a vCPU that sleeps",
  28: "every IRTE that is used is one that was written",
  29: "an interrupt's old target is given up only after invalidation, wait, and the posts under way",
  30: "the status of a wait is written once, after all descriptors before it, while somebody waits for it",
  31: "the invalidation queue does not overflow, and every waiter comes to an end",
  32: "an IRTE leads to a descriptor that there is, and the unit blocks nothing that is meant to arrive",
  34: "faults are recorded and read in their order, and an overflow is told",
} as const;
