/* cache.h: ARM1176 cache, TLB and branch predictor maintenance. Source: ARM DDI 0301H 3.2.22. */
#ifndef CACHE_H
#define CACHE_H

#include <stdint.h>

enum {
    CACHE_LINE_BYTES = 32
};

/* Cleans and invalidates the data cache lines that hold [address, address + size). */
static inline void cache_clean_invalidate(uintptr_t address, uint32_t size_bytes)
{
    for (uintptr_t line = address & ~(uintptr_t)(CACHE_LINE_BYTES - 1); line < address + size_bytes;
         line += CACHE_LINE_BYTES)
        __asm__ volatile("mcr p15, 0, %0, c7, c14, 1" ::"r"(line) : "memory");
    __asm__ volatile("mcr p15, 0, %0, c7, c10, 4" ::"r"(0) : "memory");
}

/* Makes freshly written code executable: clean data cache, DSB, invalidate instruction cache (four times,
 * erratum 411920) and branch targets, prefetch flush. Assembly: start.S. */
void cache_publish_code(void);

#endif
