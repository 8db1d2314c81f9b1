; VM-exit round trips on every CPU at once, each with a guest of its own. Multiboot 1, 64-bit.
; Phases (ITER_V round trips per CPU, printed like bench.asm):
;   vmcall      the first CPU alone
;   smp-vmcall  all CPUs
; Memory: as stub.inc and smp.inc, plus 64 KiB per CPU at 0x400000+64K*n, addressed by r15: VMXON region, VMCS, hot words.
%include "loops.inc.defs"
%ifndef ITER_V
 %define ITER_V 3000000
%endif
%defstr SITV ITER_V
%include "stub.inc"
%include "smp.inc"
%include "vmx.inc"

; shared words, each on its own line, off the code pages
go      equ 0x340040
done    equ 0x340080
; offsets in a CPU's 64 KiB
vmcs    equ 0x1000
iters   equ 0x2000
hsp     equ 0x2008
p_vmxon equ 0x2010
p_vmcs  equ 0x2018
main:
        mov     edi, 0x340000
        xor     eax, eax
        mov     ecx, 0x1000/4
        rep     stosd
        mov     eax, 1
        cpuid
        test    ecx, 1<<5
        jz      novmx
        xor     edi, edi
        call    enter_vmx

        BEGIN   "vmcall"
        call    round_trips
        END_    "vmcall", SITV

        START_APS .none
        BEGIN   "smp-vmcall"
        mov     dword [go], 1
        call    round_trips
        mov     eax, [naps]
.w:     cmp     [done], eax
        pause
        jne     .w
        END_    "smp-vmcall", SITV
.none:  ret

AP_ENTRY
        mov     edi, esp                ; stacks are 64 KiB apart: n = (esp - 0x310000) / 64K
        sub     edi, 0x310000
        shr     edi, 16
        call    enter_vmx
.w:     pause
        cmp     dword [go], 0
        je      .w
        call    round_trips
        lock inc dword [done]
.h:     cli
        hlt
        jmp     .h

; edi = number of this CPU: VMX operation, and a current VMCS in r15's 64 KiB
enter_vmx:
        mov     r15d, edi
        shl     r15, 16
        add     r15, 0x400000
        mov     rdi, r15
        xor     eax, eax
        mov     ecx, 0x3000/8
        rep     stosq
        mov     ecx, 0x3a
        rdmsr
        test    al, 1
        jnz     .locked
        or      eax, 5
        wrmsr
.locked:
        mov     rax, cr4
        or      eax, 0x2000
        mov     cr4, rax
        mov     ecx, 0x486              ; fixed CR0 bits
        rdmsr
        mov     rbx, cr0
        or      rbx, rax
        mov     cr0, rbx
        mov     ecx, 0x480
        rdmsr
        mov     [basic], eax
        mov     [basic+4], edx
        and     eax, 0x7fffffff
        mov     [r15], eax
        mov     [r15+vmcs], eax
        mov     [r15+p_vmxon], r15
        lea     rax, [r15+vmcs]
        mov     [r15+p_vmcs], rax
        vmxon   [r15+p_vmxon]
        jbe     vmfail
        vmclear [r15+p_vmcs]
        jbe     vmfail
        vmptrld [r15+p_vmcs]
        jbe     vmfail
        call    setup_vmcs
        VMWI    0x681e, guest
        VMWI    0x6c16, exit
        lea     rax, [r15+0xf000]
        VMW     0x681c, rax             ; guest rsp
        ret

; ITER_V round trips; clears the VMCS afterwards, so that the next call launches again
round_trips:
        mov     qword [r15+iters], ITER_V
        mov     [r15+hsp], rsp
        mov     rax, rsp
        VMW     0x6c14, rax
        vmlaunch
        jmp     vmfail

align 16
exit:
        sub     qword [r15+iters], 1
        jz      .done
        mov     ecx, 0x681e
        vmread  rax, rcx
        add     rax, 3
        vmwrite rcx, rax
        vmresume
        jmp     vmfail
.done:  mov     ecx, 0x4402
        vmread  rbp, rcx                ; "extra" = last exit reason
        VMWI    0x681e, guest
        vmclear [r15+p_vmcs]
        vmptrld [r15+p_vmcs]
        ret                             ; host rsp = caller's

align 16
guest:  vmcall
        jmp     guest

SETUP_VMCS

VMX_FAILURES
align 16
basic:  dq 0
procctl: dd 0
usetrue: db 0
align 16
tss:    times 104 db 0
%define WITH_TSS
%include "data.inc"
