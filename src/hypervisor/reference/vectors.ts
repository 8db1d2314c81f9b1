/** Interrupt vectors of the hypervisor itself, on every LP. */
export const hostVector = {
  /** Look at what has been asked of you: a decision, a VMCS to be cleared, an interrupt to be injected. */
  call: 0xf1,
  /** Notification vector of vCPUs that run: processed in non-root operation, never seen by the hypervisor. */
  posted: 0xf2,
  /** Notification vector of vCPUs that are blocked. */
  wakeUp: 0xf3,
  /** The local APIC's timer. */
  timer: 0xef,
  /** A device that is emulated has something. */
  device: 0xe1,
} as const;

/** Interrupt vectors of guests. */
export const guestVector = {
  /** The virtual APIC's timer. */
  timer: 0xec,
  /** A device of the VM. */
  device: 0x60,
  /** An IPI that asks for nothing but to be noticed. */
  notify: 0xfb,
  /** Flush your TLB. */
  shootdown: 0xfd,
} as const;

/** Hypercalls: RAX is the number, RBX the argument. */
export const hypercall = {
  /** Let another run; the argument is the index of the sibling waited for, plus one, or 0. */
  yield: 1n,
  /** Wake the sibling whose index is the argument: its next HLT, or the one it is in, ends. */
  kick: 2n,
} as const;

/** Ports of the emulated device. */
export const devicePort = {
  /** What has come (read). */
  status: 0xc000,
  /** A byte of an answer (write): several make one. */
  data: 0xc004,
  /** The answer is complete, or, for a device with rings, there are answers (write). */
  notify: 0xc008,
} as const;
