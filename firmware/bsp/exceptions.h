/* exceptions.h: what an image is told when the processor takes an exception. */
#ifndef EXCEPTIONS_H
#define EXCEPTIONS_H

#include <stdint.h>

#include "messages.h"

/* Pushed by start.S, in this order. */
struct exception_frame {
    uint32_t kind; /* enum exception_code */
    uint32_t cpsr, sp, lr;
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

/* Crashes on purpose, for tests of the crash report: EXCEPTION_UNDEFINED, _PREFETCH_ABORT or _DATA_ABORT. */
void exception_provoke(enum exception_code kind);

#endif
