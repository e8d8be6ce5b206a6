/* exceptions.c: from the vectors to the image's report and the reset. Contract: exceptions.h.
 * Fault registers: ARM DDI 0301H 3.2.18 to 3.2.21. */
#include "exceptions.h"

#include "power.h"
#include "uart.h"

#define UNMAPPED_ADDRESS 0x30000000u /* neither RAM nor peripheral: mmu.c leaves it without a section */

static uint32_t crashing;

_Noreturn void exception_enter(const struct exception_frame *frame);

_Noreturn void exception_enter(const struct exception_frame *frame)
{
    uint32_t status = 0;
    uint32_t address = 0;
    if (crashing++)
        power_reset();
    if (frame->kind == EXCEPTION_DATA_ABORT) {
        __asm__ volatile("mrc p15, 0, %0, c5, c0, 0" : "=r"(status));
        __asm__ volatile("mrc p15, 0, %0, c6, c0, 0" : "=r"(address));
    } else if (frame->kind == EXCEPTION_PREFETCH_ABORT) {
        __asm__ volatile("mrc p15, 0, %0, c5, c0, 1" : "=r"(status));
        __asm__ volatile("mrc p15, 0, %0, c6, c0, 2" : "=r"(address));
    }
    exception_report(frame, status, address);
    uart_flush();
    power_reset();
}

_Noreturn __attribute__((noinline)) void exception_assertion(void)
{
    struct exception_frame frame = {.kind = EXCEPTION_ASSERTION};
    frame.pc = (uint32_t)(uintptr_t)__builtin_return_address(0);
    frame.lr = frame.pc;
    frame.sp = (uint32_t)(uintptr_t)__builtin_frame_address(0);
    exception_enter(&frame);
}

void exception_provoke(enum exception_code kind)
{
    volatile uint32_t *unmapped = (volatile uint32_t *)UNMAPPED_ADDRESS;
    if (kind == EXCEPTION_UNDEFINED)
        __asm__ volatile(".word 0xE7F000F0"); /* permanently undefined */
    else if (kind == EXCEPTION_PREFETCH_ABORT)
        ((void (*)(void))UNMAPPED_ADDRESS)();
    else
        (void)*unmapped;
}
