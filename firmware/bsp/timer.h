/* timer.h: the free-running 1 MHz system timer.
 * Source: BCM2835 ARM Peripherals ch. 12. Reads only: the compare registers belong to nobody here. */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

/* Microseconds, wrapping every 71.6 minutes. Compare by unsigned difference only. */
uint32_t timer_now_us(void);

/* Microseconds since power-on, 64 bits. */
uint64_t timer_now64_us(void);

/* Busy-waits at least `us` microseconds. */
void timer_wait_us(uint32_t us);

#endif
