/**
 * An index of the image: every routine and variable that one part places and others use, with what it does and takes.
 * The keys become the symbol table.
 *
 * Host routines follow one convention: arguments in RDI and RSI, result in RAX; RBX, RBP and R12 to R15 survive a call,
 * the others do not. R15 is this processor's record (`processor` in memory.ts), R14 the vCPU it runs.
 */
export const labels = {
  // boot.ts
  multiboot_header: "how the boot loader recognises and places the image",
  image_end: "end of what the loader copies",
  boot_entry: "the loader jumps here, in 32-bit protected mode",
  bsp_long_mode: "the bootstrap processor arrives in 64-bit code",
  ap_long_mode: "an application processor (AP) arrives in 64-bit code",
  trampoline: "start-up code of the APs, copied below 1 MiB",
  trampoline_end: "end of the trampoline",
  gdt: "the host's global descriptor table",
  gdt_pointer: "operand of LGDT",

  // descriptors.ts
  load_descriptor_tables: "GDT, task register and IDT of this processor",
  build_interrupt_table: "fills the IDT that all processors share",
  interrupt_table_pointer: "operand of LIDT",

  // console.ts
  console_init: "programs COM1",
  console_character: "AL: character, written to COM1",
  console_text: "RDI: zero-terminated text, written to COM1",
  console_number: "RDI: number, written to COM1 in decimal",
  console_hex: "RDI: number, written to COM1 in hexadecimal",
  console_lock_take: "spins until the console is ours",
  console_lock_release: "gives the console back",
  log_character: "AL: character, appended to this processor's log; keeps all other registers",
  log_text: "RDI: zero-terminated text, appended to this processor's log",
  log_number: "RDI: number, appended in decimal",
  log_processor: "begins a line: LP n",
  guest_character: "AL: character a guest has written; begins its lines with LP n and vCPU m",
  print_logs: "writes the logs of all processors to COM1, in LP order, and empties them",
  fatal:
    "RDI: text, RSI: number; prints both (the number in hexadecimal) and ends the machine with exit value 1",
  power_off: "EDI: exit value; does not return",

  // apic.ts
  apic_init: "enables the local APIC with every local interrupt masked",
  end_of_interrupt: "tells the local APIC that the interrupt is handled",
  send_ipi: "EDI: APIC ID, ESI: low half of the interrupt command",
  pause_a_while: "spends some ten thousand PAUSEs",

  // processors.ts
  wake_aps: "INIT, SIPI, SIPI to all others; counts who answers",
  firmware_count: "EAX: number of processors by the firmware-configuration device, 0 without it",
  ap_check_in: "EBX: ticket; gives the AP its number and record",
  processor_init: "EDI: LP number, ESI: APIC ID; fills this processor's record and prepares it",
  barrier: "returns when every processor has come here",
  wait_for: "RDI: address, RSI: value; returns when the variable there has reached the value",

  // vmx.ts
  vmx_on: "enters VMX operation",
  vmx_off: "leaves VMX operation",
  vmx_failed: "a VMX instruction has failed: ends the machine",
  adjust_control:
    "ECX: capability MSR, EDI: wanted bits; EAX: control word that the processor accepts",

  // ept.ts
  build_guest_memory: "the EPT tables, the guest's page tables and what each vCPU is told",
  map_on_demand: "RDI: guest-physical address; gives it a page of zeros",

  // vmcs.ts
  create_vcpu: "makes the vCPU at R14 and leaves its VMCS current",
  set_host_state: "writes this processor's host state into the current VMCS",

  // execution.ts
  run_vcpu: "runs the vCPU at R14 until a handler says stop; EAX: why (stopReason)",
  enter_guest: "RDI: vCPU; VM entry, returns after the next VM exit",
  vm_exit: "the processor comes here on a VM exit",

  unexpected_exit: "EAX: exit reason that has no handler; ends the machine",

  // exits.ts
  exit_handlers: "table of routines by exit reason; EAX: 0 to go on, else why to stop",
  skip_instruction: "moves the guest past the instruction that caused the exit",

  // injection.ts
  inject_pending:
    "hands the guest a waiting interrupt at the next VM entry, or asks to be told when it can take one",
  set_interrupt_window: "EDI: 1 or 0, whether to exit when the guest can take interrupts",

  // hypercalls.ts
  handle_hypercall: "exit handler of VMCALL",

  // migration.ts
  release_if_requested:
    "gives the vCPU at R14 away if another processor wants it; EAX: stopReason, 0 if not",
  adopt_vcpu: "takes vCPU 0 over from LP 0; R14: the vCPU",
  forget_translations: "drops what this TLB may know about the current vCPU",

  // guest.ts
  guest_program: "first byte of the guest's program in host memory",
  guest_entry: "where a vCPU starts, as a guest address",
  guest_program_end: "end of the guest's program in host memory",

  // story.ts
  bsp_story: "the bootstrap processor's program",
  ap_story: "the other processors' program",

  // variables
  boot_magic: "EAX as the loader left it",
  boot_information: "EBX as the loader left it: address of the multiboot information",
  ap_tickets: "APs that have come alive so far",
  aps_online: "APs that have written down their APIC ID",
  aps_counted: "APs that take part",
  ap_apic_ids: "APIC IDs by ticket",
  processor_count: "LPs that take part",
  processors_released: "set when APs may go on",
  barrier_arrivals: "arrivals at all barriers so far",
  console_lock: "0 when the console is free",
  primes_total: "sum of what the vCPUs have reported",
  pages_used: "guest pages given out so far",
  migration_step: "how far the hand-over is (migrationStep)",

  // tables and buffers
  page_tables: "the host's page tables",
  interrupt_table: "the host's IDT",
  processors: "records of the LPs",
  virtual_processors: "records of the vCPUs",
  task_states: "a TSS per LP",
  stacks: "a stack per LP",
  logs: "a log per LP",
  vmxon_regions: "a VMXON region per LP",
  vmcs_regions: "a VMCS per vCPU",
  ept_tables: "the EPT paging structures",
  guest_ram: "the guest's 2 MiB of memory",
  guest_pages: "pages for the guest's memory on demand",
  memory_end: "end of all memory in use",
} as const;

export type LabelName = keyof typeof labels;
