    .syntax unified
    .arm
    .section .text.start, "ax"
    .global _start
_start:
    ldr sp, =0x7ff0
    mrc p15, 0, r0, c1, c0, 2
    orr r0, r0, #0xf << 20
    mcr p15, 0, r0, c1, c0, 2
    mov r0, #0
    mcr p15, 0, r0, c7, c5, 4
    mov r0, #0x40000000
    fmxr fpexc, r0
    mov r0, #0x03000000
    fmxr fpscr, r0
    bl main
