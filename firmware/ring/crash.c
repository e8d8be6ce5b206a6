/* crash.c: contract in crash.h. */
#include "crash.h"

#include "console.h"
#include "exceptions.h"
#include "gpio.h"
#include "runtime.h"

static uint32_t memory_end; /* 0 until crash_init: then a report has no stack */

void crash_init(uint32_t arm_memory_bytes) { memory_end = arm_memory_bytes; }

static void copy_stack(struct msg_crashed *crashed, uint32_t sp)
{
    for (uint32_t i = 0; i < sizeof crashed->stack / sizeof crashed->stack[0]; i++) {
        uint32_t address = sp + i * 4;
        int readable = sp % 4 == 0 && address >= 0x8000u && address < memory_end;
        crashed->stack[i] = readable ? *(const uint32_t *)(uintptr_t)address : 0;
    }
}

void exception_report(const struct exception_frame *frame, uint32_t fault_status, uint32_t fault_address)
{
    static const uint8_t build_id[16] = {BUILD_ID_BYTES};
    struct msg_crashed crashed = {
        .kind = (uint8_t)frame->kind,
        .pc = frame->pc,
        .lr = frame->lr,
        .sp = frame->sp,
        .cpsr = frame->cpsr,
        .fault_status = fault_status,
        .fault_address = fault_address,
    };
    gpio_function(RING_PINS, GPIO_INPUT); /* first: no line stays driven */
    memcpy(crashed.registers, frame->registers, sizeof crashed.registers);
    memcpy(crashed.build_id, build_id, sizeof crashed.build_id);
    copy_stack(&crashed, frame->sp);
    console_event(EVENT_CRASHED, &crashed, sizeof crashed);
    console_flush();
}
