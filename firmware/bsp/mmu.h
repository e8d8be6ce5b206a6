/* mmu.h: identity map with caches on. Source: ARM DDI 0301H ch. 6 (XP = 1 section format). */
#ifndef MMU_H
#define MMU_H

#include <stdint.h>

/* Maps [0, ram_bytes) as normal write-back memory and the peripherals as shared device; everything else
 * faults. Turns MMU, caches and branch prediction on. ram_bytes is rounded down to 1 MiB. */
void mmu_init(uint32_t ram_bytes);

#endif
