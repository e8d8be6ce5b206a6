/* runtime64.S: 64-bit unsigned division with the register convention that C cannot express:
 * quotient in r0:r1, remainder in r2:r3. Source: ARM RTABI (IHI 0043) 4.3.1. */
    .syntax unified
    .arm
    .text
    .global __aeabi_uldivmod
    .type __aeabi_uldivmod, %function
__aeabi_uldivmod:
    push {r4, lr}
    sub sp, sp, #16
    add r4, sp, #8
    str r4, [sp]
    bl runtime_divide64
    ldr r2, [sp, #8]
    ldr r3, [sp, #12]
    add sp, sp, #16
    pop {r4, pc}
