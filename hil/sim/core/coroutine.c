/* coroutine.c: the context switch for x86-64 (System V) and aarch64 (AAPCS64), and stacks.
 *
 * Only callee-saved registers are kept, because a switch is a function call to the compiler. The
 * floating-point control words are the same in every coroutine and are left alone. */
#include "coroutine.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__APPLE__) && defined(__aarch64__)
#include <pthread.h>
#endif

#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* Unicorn's translator keeps large arrays on the stack; 1 MiB leaves ample room. */
enum {
    STACK_BYTES = 1 << 20
};

#define TEXT2(x)     #x
#define TEXT(x)      TEXT2(x)
#define SYMBOL(name) TEXT(__USER_LABEL_PREFIX__) #name

void sim_context_switch(void **save, void *load);
void sim_context_entry(void);

#if defined(__x86_64__)

enum {
    FRAME_WORDS = 7
}; /* r15 r14 r13 r12 rbx rbp, return address */

__asm__(".text\n"
        ".globl " SYMBOL(sim_context_switch) "\n" SYMBOL(
            sim_context_switch) ":\n"
                                "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq "
                                "%r14\n    pushq %r15\n"
                                "    movq %rsp, (%rdi)\n"
                                "    movq %rsi, %rsp\n"
                                "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n "
                                "   popq %rbp\n"
                                "    ret\n"
                                ".globl " SYMBOL(sim_context_entry) "\n" SYMBOL(
                                    sim_context_entry) ":\n"
                                                       "    movq %r12, %rdi\n"
                                                       "    callq *%r13\n"
                                                       "    ud2\n");

static void *first_frame(uintptr_t top, void (*entry)(void *), void *argument)
{
    /* The entry stub is reached by `ret`, so the stack is 16-aligned there, as `callq` wants it. */
    void **frame = (void **)top - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    frame[2] = (void *)entry;
    frame[3] = argument;
    frame[6] = (void *)sim_context_entry;
    return frame;
}

#elif defined(__aarch64__)

enum {
    FRAME_WORDS = 20
}; /* x19..x30, d8..d15 */

__asm__(".text\n"
        ".p2align 2\n"
        ".globl " SYMBOL(sim_context_switch) "\n" SYMBOL(
            sim_context_switch) ":\n"
                                "    sub sp, sp, #160\n"
                                "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n    stp x23, x24, "
                                "[sp, #32]\n"
                                "    stp x25, x26, [sp, #48]\n    stp x27, x28, [sp, #64]\n    stp x29, x30, "
                                "[sp, #80]\n"
                                "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
                                "    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
                                "    mov x2, sp\n"
                                "    str x2, [x0]\n"
                                "    mov sp, x1\n"
                                "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n    ldp x23, x24, "
                                "[sp, #32]\n"
                                "    ldp x25, x26, [sp, #48]\n    ldp x27, x28, [sp, #64]\n    ldp x29, x30, "
                                "[sp, #80]\n"
                                "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n"
                                "    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
                                "    add sp, sp, #160\n"
                                "    ret\n"
                                ".globl " SYMBOL(sim_context_entry) "\n" SYMBOL(
                                    sim_context_entry) ":\n"
                                                       "    mov x0, x19\n"
                                                       "    blr x20\n"
                                                       "    brk #1\n");

static void *first_frame(uintptr_t top, void (*entry)(void *), void *argument)
{
    void **frame = (void **)top - FRAME_WORDS;
    memset(frame, 0, FRAME_WORDS * sizeof *frame);
    frame[0] = argument;
    frame[1] = (void *)entry;
    frame[11] = (void *)sim_context_entry;
    return frame;
}

#else
#error "the context switch exists for x86-64 and aarch64 only; add one for this processor in coroutine.c"
#endif

int coroutine_create(coroutine_t *co, void (*entry)(void *), void *argument)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = STACK_BYTES + page;
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED)
        return -1;
    if (mprotect(mapping, page, PROT_NONE) != 0) {
        munmap(mapping, bytes);
        return -1;
    }
    co->mapping = mapping;
    co->mapping_bytes = bytes;
    co->in_generated_code = 0;
    co->stack_pointer = first_frame((uintptr_t)mapping + bytes, entry, argument);
    return 0;
}

void coroutine_destroy(coroutine_t *co)
{
    if (co->mapping != NULL) {
        /* A stack that is left in mid-call keeps its red zones, where the next mapping would meet them. */
        ASAN_UNPOISON_MEMORY_REGION(co->mapping, co->mapping_bytes);
        munmap(co->mapping, co->mapping_bytes);
    }
    memset(co, 0, sizeof *co);
}

void coroutine_switch(coroutine_t *from, coroutine_t *to)
{
#if defined(__APPLE__) && defined(__aarch64__)
    /* The right to write or to execute JIT pages belongs to the thread, but Unicorn keeps it per engine. */
    if (from->in_generated_code != to->in_generated_code)
        pthread_jit_write_protect_np(to->in_generated_code);
#endif
    sim_context_switch(&from->stack_pointer, to->stack_pointer);
}
