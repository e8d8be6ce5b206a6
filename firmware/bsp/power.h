/* power.h: reset through the watchdog. Source: BCM2835 watchdog driver of Linux. Owns the PM block. */
#ifndef POWER_H
#define POWER_H

#include <stdint.h>

enum {
    WATCHDOG_MS_MAX = 15999 /* 20 bits of 1/65536 s */
};

/* Resets the chip within a millisecond; the GPU boots the card again. Does not return. */
_Noreturn void power_reset(void);

/* Arms the watchdog: the chip resets when power_watchdog_feed is not called for limit_ms (1 to
 * WATCHDOG_MS_MAX). 0 disarms it. QEMU's raspi0 resets at once when it is armed. */
void power_watchdog_arm(uint32_t limit_ms);

/* Starts the armed watchdog's time anew. */
void power_watchdog_feed(void);

/* PM_RSTS: why the chip started. */
uint32_t power_reset_status(void);

#endif
