/* timer.h: the free-running 1 MHz system timer.
 * Source: BCM2835 ARM Peripherals ch. 12.
 * Compare register 1 serves the one deadline below, 3 the watchdog's beat; 0 and 2 belong to the GPU. */
#ifndef TIMER_H
#define TIMER_H

#include <stdint.h>

/* Microseconds, wrapping every 71.6 minutes. Compare by unsigned difference only. */
uint32_t timer_now_us(void);

/* Microseconds since power-on, 64 bits. */
uint64_t timer_now64_us(void);

/* Starts the one deadline of the program, `us` microseconds from now (at least 2). Waiting for a match bit instead of
 * comparing the counter costs one read of a register that stands still, here and in an emulator. */
void timer_deadline_set(uint32_t us);

/* Whether the deadline that was set last has passed. */
int timer_deadline_passed(void);

/* The same once more, with compare register 3: the beat at which the watchdog is fed. */
void timer_beat_set(uint32_t us);
int timer_beat_passed(void);

#endif
