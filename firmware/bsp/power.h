/* power.h: reset through the watchdog. Source: BCM2835 watchdog driver of Linux. Owns the PM block. */
#ifndef POWER_H
#define POWER_H

#include <stdint.h>

/* Resets the chip within a millisecond; the GPU boots the card again. Does not return. */
_Noreturn void power_reset(void);

/* PM_RSTS: why the chip started. */
uint32_t power_reset_status(void);

#endif
