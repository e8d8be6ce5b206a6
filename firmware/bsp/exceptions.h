/* exceptions.h: what an image is told when the processor takes an exception. */
#ifndef EXCEPTIONS_H
#define EXCEPTIONS_H

#include <stdint.h>

enum exception_kind {
    EXCEPTION_UNDEFINED = 0,
    EXCEPTION_SOFTWARE_INTERRUPT = 1,
    EXCEPTION_PREFETCH_ABORT = 2,
    EXCEPTION_DATA_ABORT = 3,
    EXCEPTION_INTERRUPT = 4,
    EXCEPTION_ASSERTION = 5,
};

/* Pushed by start.S, in this order. */
struct exception_frame {
    uint32_t kind, cpsr, sp, lr;
    uint32_t registers[13];
    uint32_t pc;
};
_Static_assert(sizeof(struct exception_frame) == 72, "start.S pushes 18 words");

/* Provided by each image: says what happened through its own protocol. Called once, with interrupts
 * masked, on the exception stack; a second exception inside it resets the board at once. The board is
 * reset when it returns. */
void exception_report(const struct exception_frame *frame, uint32_t fault_status, uint32_t fault_address);

/* Reports a broken invariant as an exception of kind EXCEPTION_ASSERTION and resets the board. */
_Noreturn void exception_assertion(void);

/* Crashes on purpose, for tests of the crash report: kind 0, 2 or 3 of enum exception_kind. */
void exception_provoke(enum exception_kind kind);

#endif
