/** Guests of two LPs that share a VMCS, rightly and wrongly: 32-bit hypervisors with 4 MiB pages. */
import type { Assembler } from "../../src/isa/assembler.ts";
import {
  cr0,
  cr3,
  cr4,
  eax,
  ebp,
  ebx,
  ecx,
  edi,
  edx,
  type Label,
  mem32,
  mem64,
} from "../../src/isa/assembler-operands.ts";
import { type FieldName, vmcsFieldTable } from "../../src/vmx/vmcs-fields.ts";
import { emitAwaitGo, emitExit, emitStartOthers, go, guest } from "./guests.ts";

const place = {
  pageDirectory: 0x40_0000,
  /** One for each LP. */
  vmxonRegions: 0x41_0000,
  vmcs: 0x42_0000,
  pointers: 0x43_0000,
} as const;
const revision = 4;
const cr0Value = 0x8000_0031;
const cr4Value = 0x2010;

/** Paging, and VMXON with a region of its own. EBP: the LP's number. Clobbers EAX, ECX, EDX, EDI. */
function emitVmxon(asm: Assembler, name: string): void {
  asm.mov(edi, place.pageDirectory);
  asm.mov(eax, 0x83);
  asm.mov(ecx, 1024);
  const page = asm.here(`page ${name}`);
  asm.mov(mem32(edi), eax);
  asm.add(edi, 4);
  asm.add(eax, 0x40_0000);
  asm.loop(page);
  asm.mov(eax, place.pageDirectory);
  asm.mov(cr3, eax);
  asm.mov(eax, cr4Value);
  asm.mov(cr4, eax);
  asm.mov(eax, cr0Value);
  asm.mov(cr0, eax);
  asm.mov(ecx, 0x3a);
  asm.mov(eax, 5);
  asm.mov(edx, 0);
  asm.wrmsr();
  asm.mov(eax, ebp);
  asm.shl(eax, 12);
  asm.add(eax, place.vmxonRegions);
  asm.mov(mem32(eax), revision);
  asm.mov(ebx, ebp);
  asm.shl(ebx, 3);
  asm.add(ebx, place.pointers + 8);
  asm.mov(mem32(ebx), eax);
  asm.mov(mem32(ebx, { disp: 4 }), 0);
  asm.vmxon(mem64(ebx));
}

const emitPointer = (asm: Assembler): void => {
  asm.mov(mem32(place.pointers), place.vmcs);
};

/** VMWRITE of each pair of the table. Clobbers EAX, EBX, ECX, EDI. */
function emitFields(asm: Assembler, fields: readonly (readonly [number, number | Label])[]): void {
  const table = asm.label("fields");
  const over = asm.label("over fields");
  asm.jmp(over);
  asm.align(4);
  asm.here(table);
  for (const [encoding, value] of fields) {
    asm.u32(encoding);
    asm.u32(value);
  }
  asm.here(over);
  asm.mov(edi, table);
  asm.mov(ecx, fields.length);
  const next = asm.here("next field");
  asm.mov(eax, mem32(edi));
  asm.mov(ebx, mem32(edi, { disp: 4 }));
  asm.vmwrite(eax, ebx);
  asm.add(edi, 8);
  asm.loop(next);
}

/** A VMCS whose guest shares the host's memory; every control of the default1 class is 1. */
function fieldsOf(host: Label, guestCode: Label): readonly (readonly [number, number | Label])[] {
  const values: Partial<Record<FieldName, number | Label>> = {
    pinControls: 0x16,
    primaryControls: 0x0401_e172,
    exitControls: 0x3_6dff,
    entryControls: 0x11ff,
    hostCr0: cr0Value,
    hostCr3: place.pageDirectory,
    hostCr4: cr4Value,
    hostCsSelector: 0x08,
    hostSsSelector: 0x10,
    hostDsSelector: 0x10,
    hostEsSelector: 0x10,
    hostTrSelector: 0x18,
    hostRip: host,
    hostRsp: 0x30_f000,
    guestCr0: cr0Value,
    guestCr3: place.pageDirectory,
    guestCr4: cr4Value,
    guestDr7: 0x400,
    guestRflags: 2,
    guestRip: guestCode,
    guestCsSelector: 0x08,
    guestCsAccessRights: 0xc09b,
    guestTrSelector: 0x18,
    guestTrAccessRights: 0x8b,
    guestTrLimit: 0x67,
    guestFsAccessRights: 0x1_0000,
    guestGsAccessRights: 0x1_0000,
    guestLdtrAccessRights: 0x1_0000,
  };
  const data = (["Ss", "Ds", "Es"] as const).flatMap((name): [FieldName, number][] => [
    [`guest${name}Selector`, 0x10],
    [`guest${name}AccessRights`, 0xc093],
    [`guest${name}Limit`, 0xffff_ffff],
  ]);
  const named: [FieldName, number | Label][] = [
    ...(Object.entries(values) as [FieldName, number | Label][]),
    ...data,
    ["guestCsLimit", 0xffff_ffff],
  ];
  const link = vmcsFieldTable.vmcsLinkPointer[0];
  return [
    ...named.map(([name, value]) => [vmcsFieldTable[name][0], value] as const),
    [link, 0xffff_ffff],
    [link + 1, 0xffff_ffff],
  ];
}

/**
 * The first LP launches a guest and takes its VM exit; then the second loads the same VMCS and executes VMLAUNCH, whatever
 * comes of it. @param clears the first LP executes VMCLEAR in between, as it should
 */
export const migratesLaunched = (clears: boolean): Uint8Array =>
  guest((asm) => {
    const afterExit = asm.label("after exit");
    const exitedOnFirst = asm.label("exited on first");
    const end = asm.label("end");
    const finish = asm.label("finish");
    const guestCode = asm.label("guest code");
    const other = asm.label("other");
    emitStartOthers(asm, 1, () => {
      emitAwaitGo(asm);
      asm.jmp(other);
    });
    asm.mov(ebp, 0);
    emitVmxon(asm, "first");
    asm.mov(mem32(place.vmcs), revision);
    emitPointer(asm);
    asm.vmclear(mem64(place.pointers));
    asm.vmptrld(mem64(place.pointers));
    emitFields(asm, fieldsOf(afterExit, guestCode));
    asm.vmlaunch();
    asm.mov(eax, 9);
    asm.jmp(finish);

    asm.here(guestCode);
    asm.cpuid();

    // Either LP comes here with its first VM exit.
    asm.here(afterExit);
    asm.cmp(mem32(go), 1);
    asm.jne(exitedOnFirst);
    asm.jmp(end);
    asm.here(exitedOnFirst);
    if (clears) asm.vmclear(mem64(place.pointers));
    asm.mov(mem32(go), 1);
    const stay = asm.here("first stays");
    asm.hlt();
    asm.jmp(stay);

    asm.here(other);
    emitVmxon(asm, "other");
    asm.vmptrld(mem64(place.pointers));
    asm.vmlaunch();
    asm.here(end);
    asm.vmclear(mem64(place.pointers));
    asm.mov(eax, 1);
    asm.here(finish);
    emitExit(asm);
  });
