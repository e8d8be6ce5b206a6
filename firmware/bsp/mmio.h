/* mmio.h: access to peripheral registers, and the barriers between peripherals.
 * Source: BCM2835 ARM Peripherals 1.3 (accesses to one peripheral stay in order, those to two may not);
 * ARM DDI 0301H 3.2.22 (barriers of the ARM1176 are CP15 writes).
 * Every driver calls mmio_barrier() when it starts and when it has finished with its peripheral. */
#ifndef MMIO_H
#define MMIO_H

#include <stddef.h>
#include <stdint.h>

#define PERIPHERAL_BASE 0x20000000u
#define PERIPHERAL_END  0x21000000u

static inline uint32_t mmio_read32(const volatile uint32_t *address) { return *address; }

static inline void mmio_write32(volatile uint32_t *address, uint32_t value) { *address = value; }

/* Data memory barrier: accesses before it are seen before those after it. */
static inline void mmio_barrier(void) { __asm__ volatile("mcr p15, 0, %0, c7, c10, 5" ::"r"(0) : "memory"); }

/* Data synchronisation barrier: accesses before it have completed. */
static inline void mmio_sync(void) { __asm__ volatile("mcr p15, 0, %0, c7, c10, 4" ::"r"(0) : "memory"); }

#endif
