/** Bugs that can be planted in the hypervisor, each once found in a real one. By name, with what is left out or turned round. */
export const postingBugs = {
  "sn-clear-drops-on":
    "loading a vCPU clears SN and does not look whether PIR has filled meanwhile",
  "self-ipi-on-block": "going to sleep does not look whether ON was set before NV changed",
  "softirq-suppressed": "a kick is not sent while an earlier one has not been seen by the host",
  "assign-while-asleep": "a device is assigned to a sleeping vCPU without waking it",
  "two-lps-active": "a vCPU that moves is loaded without VMCLEAR on the LP it comes from",
  "posted-msi-affinity":
    "an interrupt's old target is given up without waiting for posts under way",
  "torn-irte": "an IRTE is written in two halves",
  "nested-pi-order": "a sender looks whether the target is in its guest before it sets the request",
  "stale-eoi-bitmap":
    "a line gets another target or trigger mode, and the EOI-exit bitmaps stay as they were",
  "icr-overtakes-store": "a guest sends an IPI before what it tells of is in memory",
  "queue-wrap": "the tail of the invalidation queue is not taken round the end",
  "fault-order": "faults are read from the first record on, not from the oldest",
} as const;
export type PostingBug = keyof typeof postingBugs;

export const isPostingBug = (name: string): name is PostingBug => Object.hasOwn(postingBugs, name);
