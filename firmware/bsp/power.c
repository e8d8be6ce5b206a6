/* power.c: reset through the watchdog. Contract: power.h. Owns the PM block.
 * Every write carries the password; the watchdog counts 20 bits of 1/65536 s. */
#include "power.h"

#include "mmio.h"

struct power_registers {
    uint32_t reserved[7], rstc, rsts, wdog;
};
_Static_assert(offsetof(struct power_registers, rstc) == 0x1C, "PM_RSTC");
_Static_assert(offsetof(struct power_registers, wdog) == 0x24, "PM_WDOG");

#define POWER             ((volatile struct power_registers *)(PERIPHERAL_BASE + 0x100000u))
#define POWER_PASSWORD    0x5A000000u
#define RSTC_CONFIG_CLEAR 0xFFFFFFCFu
#define RSTC_FULL_RESET   0x00000020u
#define RSTS_HALT         0x00000555u
#define RESET_TICKS       10u /* 0.15 ms */

static uint32_t watchdog_ticks; /* 0: not armed */

/* Linux starts and feeds it alike: time, then configuration. */
static void start_watchdog(uint32_t ticks)
{
    mmio_write32(&POWER->wdog, POWER_PASSWORD | ticks);
    mmio_write32(&POWER->rstc,
                 POWER_PASSWORD | (mmio_read32(&POWER->rstc) & RSTC_CONFIG_CLEAR) | RSTC_FULL_RESET);
}

_Noreturn void power_reset(void)
{
    mmio_barrier();
    /* A halt request left in RSTS would make the GPU stop instead of booting again. */
    mmio_write32(&POWER->rsts, POWER_PASSWORD | (mmio_read32(&POWER->rsts) & ~RSTS_HALT));
    start_watchdog(RESET_TICKS);
    mmio_sync();
    for (;;) {
    }
}

void power_watchdog_arm(uint32_t limit_ms)
{
    watchdog_ticks = (limit_ms < WATCHDOG_MS_MAX ? limit_ms : WATCHDOG_MS_MAX) * 8192u / 125u;
    if (watchdog_ticks) {
        power_watchdog_feed();
        return;
    }
    mmio_barrier();
    mmio_write32(&POWER->rstc, POWER_PASSWORD | (mmio_read32(&POWER->rstc) & RSTC_CONFIG_CLEAR));
    mmio_barrier();
}

void power_watchdog_feed(void)
{
    mmio_barrier();
    if (watchdog_ticks)
        start_watchdog(watchdog_ticks);
    mmio_barrier();
}

uint32_t power_reset_status(void)
{
    mmio_barrier();
    uint32_t status = mmio_read32(&POWER->rsts);
    mmio_barrier();
    return status;
}
