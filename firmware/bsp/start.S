/* start.S: from the first instruction to main(), the exception vectors, and code publication.
 * Source: ARM DDI 0301H 2.12 (exceptions), 3.2 (CP15); hardware state at entry: SVC mode, everything off, or
 * whatever a bootloader left on. r0..r2 are ignored: r2 (ATAGs) is 0 under emulators.
 * Owns the exception vectors (moved with VBAR, so that the ATAGs at 0x100 stay) and all stacks. */

    .syntax unified
    .arm

    .section .text.start, "ax", %progbits
    .global _start
_start:
    cpsid if, #0x13
    mov r0, #0
    mcr p15, 0, r0, c7, c14, 0      /* clean and invalidate the data cache: a bootloader may have used it */
    mcr p15, 0, r0, c7, c10, 4      /* DSB */
    mrc p15, 0, r1, c1, c0, 0
    bic r1, r1, #0x3800             /* V (vectors at VBAR), I, Z */
    bic r1, r1, #0x0007             /* C, A, M */
    mcr p15, 0, r1, c1, c0, 0
    bl invalidate_code

    /* Move to the linked address if loaded elsewhere (the bootloader is loaded at 0x8000). */
    adr r4, _start
    ldr r5, =__image_start
    ldr r6, =__image_end
    cmp r4, r5
    beq 2f
1:  ldr r7, [r4], #4
    str r7, [r5], #4
    cmp r5, r6
    blo 1b
    mcr p15, 0, r0, c7, c10, 4      /* DSB; caches are off */
    bl invalidate_code
2:  ldr pc, =start_linked

start_linked:
    ldr r1, =vectors
    mcr p15, 0, r1, c12, c0, 0      /* VBAR */
    ldr r2, =__exception_stack_top
    cps #0x1B                       /* undefined */
    mov sp, r2
    cps #0x17                       /* abort */
    mov sp, r2
    cps #0x12                       /* IRQ */
    mov sp, r2
    cps #0x11                       /* FIQ */
    mov sp, r2
    cps #0x13                       /* supervisor, where everything runs */
    ldr sp, =__stack_top

    ldr r1, =__bss_start
    ldr r2, =__bss_end
    mov r0, #0
3:  cmp r1, r2
    strlo r0, [r1], #4
    blo 3b

    /* VFP in RunFast mode: flush to zero and default NaN, so that no operation asks for support code. */
    mrc p15, 0, r1, c1, c0, 2
    orr r1, r1, #0x00F00000         /* CPACR: full access to CP10 and CP11 */
    mcr p15, 0, r1, c1, c0, 2
    mcr p15, 0, r0, c7, c5, 4       /* prefetch flush */
    mov r1, #0x40000000
    vmsr fpexc, r1
    mov r1, #0x03000000
    vmsr fpscr, r1

    bl main
park:
    mov r0, #0
    mcr p15, 0, r0, c7, c0, 4       /* wait for interrupt; none is enabled */
    b park
    .ltorg

/* Invalidates instruction cache, branch targets and TLBs; keeps r0 = 0, uses r3. */
invalidate_code:
    mov r3, #4                      /* erratum 411920: once is not always enough */
4:  mcr p15, 0, r0, c7, c5, 0
    subs r3, r3, #1
    bne 4b
    mcr p15, 0, r0, c7, c5, 6       /* BTAC */
    mcr p15, 0, r0, c8, c7, 0       /* TLBs */
    mcr p15, 0, r0, c7, c10, 4      /* DSB */
    mcr p15, 0, r0, c7, c5, 4       /* prefetch flush */
    bx lr

    .section .text.cache_publish_code, "ax", %progbits
    .global cache_publish_code
    .type cache_publish_code, %function
cache_publish_code:
    mov r0, #0
    mcr p15, 0, r0, c7, c14, 0      /* clean and invalidate the data cache */
    mcr p15, 0, r0, c7, c10, 4      /* DSB */
    b invalidate_code

    .section .text.vectors, "ax", %progbits
    .balign 32
vectors:
    b _start
    b undefined
    b software_interrupt
    b prefetch_abort
    b data_abort
    b unexpected_irq                /* the reserved vector */
    b unexpected_irq
    b unexpected_irq

/* Each: make lr the address of the instruction that failed, save r0-r12 and it, name the kind
 * (the numbers of the CRASHED event). */
undefined:
    sub lr, lr, #4
    push {r0-r12, lr}
    mov r1, #0
    b report
software_interrupt:
    sub lr, lr, #4
    ldr sp, =__exception_stack_top  /* entered on the interrupted stack: do not trust it */
    push {r0-r12, lr}
    mov r1, #1
    b report
prefetch_abort:
    sub lr, lr, #4
    push {r0-r12, lr}
    mov r1, #2
    b report
data_abort:
    sub lr, lr, #8
    push {r0-r12, lr}
    mov r1, #3
    b report
unexpected_irq:
    sub lr, lr, #4
    push {r0-r12, lr}
    mov r1, #4

/* Adds kind, CPSR, sp and lr of the interrupted mode below the saved registers: struct exception_frame. */
report:
    mrs r2, spsr
    mrs r3, cpsr
    orr r4, r2, #0xC0               /* the interrupted mode, interrupts masked */
    bic r4, r4, #0x20               /* and ARM state */
    msr cpsr_c, r4
    mov r5, sp
    mov r6, lr
    msr cpsr_c, r3
    push {r1, r2, r5, r6}
    mov r0, sp
    bl exception_enter
    b park
    .ltorg
