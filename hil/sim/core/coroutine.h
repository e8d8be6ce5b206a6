/* coroutine.h: stackful coroutines with a guard page; only the running one is on the processor. */
#ifndef SIM_COROUTINE_H
#define SIM_COROUTINE_H

#include <stddef.h>
#include <stdint.h>

typedef struct coroutine {
    void *stack_pointer; /* valid while it is not running */
    void *mapping;       /* NULL for the caller's own context */
    size_t mapping_bytes;
    int in_generated_code; /* Apple silicon: whether the thread may execute, not write, JIT pages */
} coroutine_t;

/* Allocates a stack; entry(argument) runs at the first switch and must never return. 0 or -1. */
int coroutine_create(coroutine_t *co, void (*entry)(void *), void *argument);
void coroutine_destroy(coroutine_t *co);
void coroutine_switch(coroutine_t *from, coroutine_t *to);

#endif
