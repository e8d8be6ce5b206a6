/* timer.c: the small blocks that hang on a clock: system timer, ARM timer, watchdog; and the pads' drive strength.
 *
 * Sources: BCM2835 ARM Peripherals ch. 7, 12, 14; Linux bcm2835_wdt.c for the watchdog; the pad control note. */
#include <string.h>

#include "internal.h"

enum {
    TIMER_C0 = 0x300C,
    TIMER_C3 = 0x3018
};
enum {
    ARM_LOAD = 0xB400,
    ARM_VALUE = 0xB404,
    ARM_CTL = 0xB408,
    ARM_CLEAR = 0xB40C,
    ARM_RAW = 0xB410,
    ARM_MASKED = 0xB414,
    ARM_RELOAD = 0xB418,
    ARM_PREDIV = 0xB41C,
    ARM_COUNT = 0xB420
};
enum {
    PM_RSTC = 0x10001C,
    PM_RSTS = 0x100020,
    PM_WDOG = 0x100024,
    PADS0 = 0x10002C,
    PADS2 = 0x100034
};
#define PM_PASSWORD 0x5A000000u
#define DOMAIN_ON   0x1u  /* POWUP */
#define DOMAIN_OK   0x1Au /* POWOK, MRDONE, and MEMREP as asked */
#define BRIDGE_ID   0x20u
#define BRIDGE_NAME 0x62726467u
#define TIMER_START 0xFFFFF000ull /* so that the 32-bit wrap comes 4.096 ms after the first instruction */

/* ---- clocks ------------------------------------------------------------------------------------------- */

uint64_t board_timer_us(const board_t *b, uint64_t now_ps)
{
    double elapsed = (double)(now_ps - b->start_ps) * (1.0 + b->setup.drift_ppm * 1e-6) / (double)PS_PER_US;
    return TIMER_START + (uint64_t)elapsed;
}

/* When the system timer will show a value. */
uint64_t board_timer_ps(const board_t *b, uint64_t timer_us)
{
    double elapsed = (double)(timer_us - TIMER_START) * (double)PS_PER_US / (1.0 + b->setup.drift_ppm * 1e-6);
    return b->start_ps + (uint64_t)elapsed + 1u;
}

static uint32_t timer_status(board_t *b, uint64_t now_ps)
{
    uint64_t now = board_timer_us(b, now_ps);
    for (int i = 0; i < 4; i++) {
        uint64_t passed = now - b->timer_checked_us;
        uint32_t until = b->timer_compare[i] - (uint32_t)b->timer_checked_us;
        if (until != 0 && until <= passed)
            b->timer_matched |= 1u << i;
    }
    b->timer_checked_us = now;
    return b->timer_matched;
}

uint32_t board_timer_lines(board_t *b, uint64_t now_ps) { return timer_status(b, now_ps); }

/* When CS changes next by itself: the first compare register that the counter reaches. */
uint64_t board_timer_match_ps(board_t *b, uint64_t now_ps)
{
    uint64_t next = NEVER;
    timer_status(b, now_ps);
    for (int i = 0; i < 4; i++) {
        uint32_t until = b->timer_compare[i] - (uint32_t)b->timer_checked_us;
        if (until != 0 && !(b->timer_matched & 1u << i)) {
            uint64_t match = board_timer_ps(b, b->timer_checked_us + until);
            next = match < next ? match : next;
        }
    }
    return next;
}

/* ARM timer's free-running counter: core clock / (CTL[23:16] + 1). */
static uint32_t arm_counter(const board_t *b, uint64_t now_ps)
{
    if (!(b->armtimer_ctl & 1u << 9))
        return 0;
    uint64_t hz = b->core_hz / ((b->armtimer_ctl >> 16 & 0xFFu) + 1u);
    return (uint32_t)((now_ps - b->start_ps) / 1000u * (hz / 1000u) / 1000000u);
}

static uint64_t arm_hz(const board_t *b)
{
    static const uint32_t prescale[4] = {1, 16, 256, 1};
    uint64_t hz = b->core_hz / (b->armtimer_prediv + 1u) / prescale[b->armtimer_ctl >> 2 & 3u];
    return hz ? hz : 1u;
}

static uint64_t arm_steps(const board_t *b, uint64_t now_ps)
{
    return (uint64_t)((unsigned __int128)(now_ps - b->armtimer_set_ps) * arm_hz(b) / 1000000000000ull);
}

static uint32_t arm_value(const board_t *b, uint64_t now_ps)
{
    if (!(b->armtimer_ctl & 1u << 7))
        return b->armtimer_load;
    return (uint32_t)(b->armtimer_load - arm_steps(b, now_ps) % ((uint64_t)b->armtimer_load + 1u));
}

/* How often it has come to 0 since it was set. */
static uint64_t arm_ends(const board_t *b, uint64_t now_ps)
{
    if (!(b->armtimer_ctl & 1u << 7))
        return b->armtimer_cleared;
    return (arm_steps(b, now_ps) + 1u) / ((uint64_t)b->armtimer_load + 1u);
}

static bool arm_raw(const board_t *b, uint64_t now_ps) { return arm_ends(b, now_ps) > b->armtimer_cleared; }

bool board_armtimer_line(const board_t *b, uint64_t now_ps)
{
    return (b->armtimer_ctl & 1u << 5) && arm_raw(b, now_ps);
}

/* When it comes to 0 next. */
uint64_t board_armtimer_ps(const board_t *b, uint64_t now_ps)
{
    if (!(b->armtimer_ctl & 1u << 7) || !(b->armtimer_ctl & 1u << 5))
        return NEVER;
    uint64_t steps = (arm_ends(b, now_ps) + 1u) * ((uint64_t)b->armtimer_load + 1u) - 1u, hz = arm_hz(b);
    return b->armtimer_set_ps + (uint64_t)(((unsigned __int128)steps * 1000000000000ull + hz - 1u) / hz);
}

/* ---- watchdog ----------------------------------------------------------------------------------------- */

void system_reset(board_t *b, uint32_t cause)
{
    memset(b->timer_compare, 0, sizeof b->timer_compare);
    b->timer_matched = 0;
    b->timer_checked_us = TIMER_START;
    b->pm_rstc = 0x102;
    b->pm_rsts = cause;
    b->pm_wdog = 0;
    b->watchdog_ps = NEVER;
    b->armtimer_load = 0;
    b->armtimer_ctl = 0x3E0020;
    b->armtimer_prediv = 0x7D;
    b->armtimer_cleared = 0;
    b->mail_head = b->mail_count = b->mail_config = 0;
    memset(b->gpu_blocks, 0, sizeof b->gpu_blocks);
    v3d_reset(b);
}

static void pm_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    if ((value & 0xFF000000u) != PM_PASSWORD) {
        board_lint(b, SIM_LINT_PM_PASSWORD, PERIPHERALS + offset, value);
        return;
    }
    value &= 0xFFFFFFu;
    if (offset >= PADS0 && offset <= PADS2) {
        b->pads[(offset - PADS0) / 4] = value & 0x1Fu;
    } else if (offset == PM_RSTS) {
        b->pm_rsts = value;
    } else if (offset == PM_WDOG || offset == PM_RSTC) {
        *(offset == PM_WDOG ? &b->pm_wdog : &b->pm_rstc) = value & 0xFFFFFu;
        bool on = (b->pm_rstc & 0x30u) == 0x20u && b->pm_wdog != 0;
        /* Ticks of 1/65536 s. */
        b->watchdog_ps = on ? now_ps + (uint64_t)b->pm_wdog * 1000000000000ull / 65536u : NEVER;
        sched_watchdog(b);
    } else {
        b->domains[(offset & 0xFFFu) / 4] = value;
    }
}

static uint32_t pm_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    switch (offset) {
    case PM_RSTC:
        return b->pm_rstc;
    case PM_RSTS:
        return b->pm_rsts;
    case PM_WDOG:
        return b->watchdog_ps == NEVER || b->watchdog_ps < now_ps
                   ? b->pm_wdog
                   : (uint32_t)((b->watchdog_ps - now_ps) / 1000000u * 65536u / 1000000u);
    case PADS0:
    case PADS0 + 4:
    case PADS2:
        return b->pads[(offset - PADS0) / 4];
    default: { /* power domains: what is switched on is on at once, and its memory repaired */
        uint32_t value = b->domains[(offset & 0xFFFu) / 4];
        return value & DOMAIN_ON ? value | DOMAIN_OK : value;
    }
    }
}

/* ---- small blocks ------------------------------------------------------------------------------------- */

uint32_t system_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    switch (offset) {
    case BLOCK_BRIDGE + BRIDGE_ID:
        return BRIDGE_NAME;
    case TIMER_CS:
        return timer_status(b, now_ps);
    case TIMER_CLO:
        return (uint32_t)board_timer_us(b, now_ps);
    case TIMER_CHI:
        return (uint32_t)(board_timer_us(b, now_ps) >> 32);
    case ARM_LOAD:
    case ARM_RELOAD:
        return b->armtimer_load;
    case ARM_RAW:
        return arm_raw(b, now_ps);
    case ARM_MASKED:
        return board_armtimer_line(b, now_ps);
    case ARM_VALUE:
        return arm_value(b, now_ps);
    case ARM_CTL:
        return b->armtimer_ctl;
    case ARM_PREDIV:
        return b->armtimer_prediv;
    case ARM_COUNT:
        return arm_counter(b, now_ps);
    default:
        break;
    }
    if (offset >= TIMER_C0 && offset <= TIMER_C3 && offset % 4 == 0)
        return b->timer_compare[(offset - TIMER_C0) / 4];
    if ((offset & 0xFFF000u) == BLOCK_PM)
        return pm_read(b, offset, now_ps);
    board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, PERIPHERALS + offset, 0);
    return 0;
}

void system_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    switch (offset) {
    case TIMER_CS:
        timer_status(b, now_ps);
        b->timer_matched &= ~value;
        return;
    case ARM_LOAD:
    case ARM_RELOAD: /* which the counter would take at its next end: a difference that is not modelled */
        b->armtimer_load = value;
        b->armtimer_set_ps = now_ps;
        b->armtimer_cleared = 0;
        return;
    case ARM_CTL:
        if (value & ~b->armtimer_ctl & 1u << 7) {
            b->armtimer_set_ps = now_ps;
            b->armtimer_cleared = 0;
        }
        b->armtimer_ctl = value;
        return;
    case ARM_PREDIV:
        b->armtimer_prediv = value & 0x3FFu;
        return;
    case ARM_CLEAR:
        b->armtimer_cleared = arm_ends(b, now_ps);
        return;
    default:
        break;
    }
    if (offset >= TIMER_C0 && offset <= TIMER_C3 && offset % 4 == 0) {
        timer_status(b, now_ps);
        b->timer_compare[(offset - TIMER_C0) / 4] = value;
        return;
    }
    if ((offset & 0xFFF000u) == BLOCK_PM) {
        pm_write(b, offset, value, now_ps);
        return;
    }
    board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, PERIPHERALS + offset, value);
}
