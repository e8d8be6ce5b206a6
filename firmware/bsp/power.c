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
#define WATCHDOG_TICKS    10u /* 0.15 ms */

_Noreturn void power_reset(void)
{
    mmio_barrier();
    /* A halt request left in RSTS would make the GPU stop instead of booting again. */
    mmio_write32(&POWER->rsts, POWER_PASSWORD | (mmio_read32(&POWER->rsts) & ~RSTS_HALT));
    mmio_write32(&POWER->wdog, POWER_PASSWORD | WATCHDOG_TICKS);
    mmio_write32(&POWER->rstc,
                 POWER_PASSWORD | (mmio_read32(&POWER->rstc) & RSTC_CONFIG_CLEAR) | RSTC_FULL_RESET);
    mmio_sync();
    for (;;) {
    }
}

uint32_t power_reset_status(void)
{
    mmio_barrier();
    uint32_t status = mmio_read32(&POWER->rsts);
    mmio_barrier();
    return status;
}
