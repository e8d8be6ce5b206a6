/* flush.h: the host's own flush-to-zero, the nearest that it has to the board's FZ.
 * x86 decides after rounding whether a result is tiny, ARM before: they differ only for results whose exact
 * value is just below 2^-126 and rounds to it. The emulated ARM covers that corner. */
#ifndef FLUSH_H
#define FLUSH_H

#if defined(__x86_64__)
#include <xmmintrin.h>
static inline void flush_subnormals(void) { _mm_setcsr(_mm_getcsr() | 0x8040u); /* FTZ, DAZ */ }
#elif defined(__aarch64__)
static inline void flush_subnormals(void)
{
    unsigned long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr | 1ul << 24)); /* FZ */
}
#endif

#endif
