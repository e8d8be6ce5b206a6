/* clocks.c: the clock manager (CPRMAN). It keeps what is written; every PLL is locked, a clock that is on is busy.
 *
 * The clocks do not follow it: the ARM's, the core's and the UART's are the boot plan's and the mailbox's. At reset
 * the registers tell of the same ones. Sources: BCM2835 ARM Peripherals ch. 6.3; Linux clk-bcm2835.c for the names. */
#include <string.h>

#include "internal.h"

enum {
    CM_VPUCTL = 0x008,
    CM_VPUDIV = 0x00C,
    CM_UARTCTL = 0x0F0,
    CM_UARTDIV = 0x0F4,
    CM_CLOCKS_END = 0x1C0,
    CM_PLLS = 0x104,
    CM_LOCK = 0x114,
    PLLD_CTRL = 0x1140,
    PLLD_FRAC = 0x1240,
    PLLD_PER = 0x1540,
    SOURCE_PLLD = 6,
    ENABLED = 1 << 4,
    BUSY = 1 << 7
};
#define PASSWORD 0x5A000000u
#define LOCKED   0x1F00u
/* PLLD: 19.2 MHz times 104.1667 are 2 GHz; a quarter of it, 500 MHz, feeds the clocks. */
#define PLLD_TIMES    (1u << 17 | 1u << 12 | 104u)
#define PLLD_FRACTION 174763u
#define PLLD_PER_HZ   500000000ull

static uint32_t divisor(uint32_t hz) { return (uint32_t)((PLLD_PER_HZ << 12) / (hz ? hz : 1u)); }

void clocks_reset(board_t *b)
{
    memset(b->clocks, 0, sizeof b->clocks);
    b->clocks[PLLD_CTRL / 4] = PLLD_TIMES;
    b->clocks[PLLD_FRAC / 4] = PLLD_FRACTION;
    b->clocks[PLLD_PER / 4] = 4;
    b->clocks[CM_VPUCTL / 4] = b->clocks[CM_UARTCTL / 4] = ENABLED | SOURCE_PLLD;
    b->clocks[CM_VPUDIV / 4] = divisor(b->core_hz);
    b->clocks[CM_UARTDIV / 4] = divisor(b->uart_hz);
}

uint32_t clocks_read(const board_t *b, uint32_t offset)
{
    uint32_t value = b->clocks[offset / 4];
    if (offset == CM_LOCK)
        return LOCKED;
    bool clock = offset < CM_CLOCKS_END && offset % 8 == 0 && (offset < CM_PLLS || offset > CM_LOCK);
    return clock && (value & ENABLED) ? value | BUSY : value;
}

void clocks_write(board_t *b, uint32_t offset, uint32_t value)
{
    if ((value & 0xFF000000u) == PASSWORD)
        b->clocks[offset / 4] = value & 0xFFFFFFu;
    else
        board_lint(b, SIM_LINT_PM_PASSWORD, PERIPHERALS + BLOCK_CLOCKS + offset, value);
}
