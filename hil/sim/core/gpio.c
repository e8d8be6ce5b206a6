/* gpio.c: the registers behind the pads: functions, latches, pulls. The nets between pads: nets.c.
 *
 * Source: BCM2835 ARM Peripherals ch. 6. */
#include <string.h>

#include "internal.h"

enum {
    FUNCTION_OUTPUT = 1,
    FUNCTION_ALT0 = 4,
    FUNCTION_ALT5 = 2
};
enum {
    GPFSEL0 = 0x00,
    GPFSEL5 = 0x14,
    GPSET0 = 0x1C,
    GPSET1 = 0x20,
    GPCLR0 = 0x28,
    GPCLR1 = 0x2C,
    GPLEV0 = 0x34,
    GPLEV1 = 0x38,
    GPEDS0 = 0x40,
    GPREN0 = 0x4C,
    GPFEN0 = 0x58,
    GPHEN0 = 0x64,
    GPLEN0 = 0x70,
    GPAREN0 = 0x7C,
    GPAFEN0 = 0x88,
    GPAFEN1 = 0x8C,
    GPPUD = 0x94,
    GPPUDCLK0 = 0x98,
    GPPUDCLK1 = 0x9C
};
#define PIN_UART_TX 14u
#define PIN_UART_RX 15u
#define PINS_MASK   ((1ull << SIM_PINS) - 1u)
/* Signal hold of the pull control: 150 core clock cycles. */
#define PULL_CYCLES 150ull

/* ---- registers ---------------------------------------------------------------------------------------- */

void gpio_reset(board_t *b)
{
    /* Reset makes every pin an input. Pulls: power-on defaults, GPIO 0-8 up and the rest down, also after a
     * reset here; the manual gives them as reset values, though they have been seen to survive a warm one. */
    memset(b->fsel, 0, sizeof b->fsel);
    b->out_mask = b->latch = 0;
    b->pull_up = 0x1FFull;
    b->pull_down = PINS_MASK & ~0x1FFull;
    b->gppud = b->pud_latched = 0;
    b->events = b->detect_rise = b->detect_fall = b->detect_high = b->detect_low = 0;
    b->detect_rise_async = b->detect_fall_async = 0;
    memset(b->gppudclk, 0, sizeof b->gppudclk);
    for (int i = 0; i < 3; i++)
        b->pads[i] = 0x1Bu; /* slew, hysteresis, 8 mA */
}

void gpio_apply_boot_pulls(board_t *b)
{
    const sim_boot_plan_t *plan = &b->plan;
    uint64_t any = plan->pull_up_mask | plan->pull_down_mask | plan->pull_none_mask;
    b->pull_up = (b->pull_up & ~any) | plan->pull_up_mask;
    b->pull_down = (b->pull_down & ~any) | plan->pull_down_mask;
}

static void fsel_write(board_t *b, uint32_t index, uint32_t value, uint64_t now_ps)
{
    uint32_t tx = gpio_function(b, PIN_UART_TX), rx = gpio_function(b, PIN_UART_RX);
    b->fsel[index] = value & 0x3FFFFFFFu;
    uint64_t outputs = b->out_mask;
    for (uint32_t i = 0; i < 10 && index * 10 + i < SIM_PINS; i++) {
        uint64_t bit = 1ull << (index * 10 + i);
        uint32_t function = (value >> (i * 3)) & 7u;
        outputs = function == FUNCTION_OUTPUT ? outputs | bit : outputs & ~bit;
    }
    if (index == 1 && uart_enabled(b) &&
        (tx != gpio_function(b, PIN_UART_TX) || rx != gpio_function(b, PIN_UART_RX))) {
        board_lint(b, SIM_LINT_FSEL_UART, 0x20200004u, value);
    }
    uint64_t changed = outputs ^ b->out_mask;
    b->out_mask = outputs;
    pins_update(b, changed, now_ps);
}

static void latch_write(board_t *b, uint64_t set, uint64_t clear, uint64_t now_ps)
{
    uint64_t latch = (b->latch | (set & PINS_MASK)) & ~clear;
    uint64_t changed = (latch ^ b->latch) & b->out_mask;
    b->latch = latch;
    pins_update(b, changed, now_ps);
}

static bool held_long_enough(const board_t *b, uint64_t since_ps, uint64_t now_ps)
{
    return now_ps - since_ps >= PULL_CYCLES * (1000000000000ull / b->core_hz);
}

static void pull_release(board_t *b, uint64_t now_ps)
{
    uint64_t mask = ((uint64_t)b->gppudclk[1] << 32 | b->gppudclk[0]) & PINS_MASK;
    if (mask == 0)
        return;
    b->gppudclk[0] = b->gppudclk[1] = 0;
    if (!held_long_enough(b, b->gppudclk_ps, now_ps)) {
        board_lint(b, SIM_LINT_PULL_HOLD, 0x20200098u, (uint32_t)mask);
        return;
    }
    b->pull_up &= ~mask;
    b->pull_down &= ~mask;
    if (b->pud_latched == 1)
        b->pull_down |= mask;
    else if (b->pud_latched == 2)
        b->pull_up |= mask;
    pins_update(b, mask, now_ps);
}

static void pull_clock(board_t *b, uint32_t bank, uint32_t value, uint64_t now_ps)
{
    pull_release(b, now_ps);
    if (value == 0)
        return;
    if (!held_long_enough(b, b->gppud_ps, now_ps)) {
        board_lint(b, SIM_LINT_PULL_SETUP, 0x20200098u + 4u * bank, value);
        return;
    }
    b->gppudclk[bank] = value;
    b->gppudclk_ps = now_ps;
    b->pud_latched = b->gppud;
}

/* ---- events ------------------------------------------------------------------------------------------- */

uint64_t gpio_events(const board_t *b)
{
    return b->events | (b->level & b->detect_high) | (~b->level & b->detect_low & PINS_MASK);
}

/* The pair of registers at an offset, which end in the bank's number; NULL: none. */
static uint64_t *detector(board_t *b, uint32_t offset)
{
    switch (offset) {
    case GPREN0:
    case GPREN0 + 4:
        return &b->detect_rise;
    case GPFEN0:
    case GPFEN0 + 4:
        return &b->detect_fall;
    case GPHEN0:
    case GPHEN0 + 4:
        return &b->detect_high;
    case GPLEN0:
    case GPLEN0 + 4:
        return &b->detect_low;
    case GPAREN0:
    case GPAREN0 + 4:
        return &b->detect_rise_async;
    case GPAFEN0:
    case GPAFEN0 + 4:
        return &b->detect_fall_async;
    default:
        return NULL;
    }
}

static uint32_t event_read(board_t *b, uint32_t offset)
{
    uint32_t shift = (offset - GPEDS0) % 12 == 0 ? 0u : 32u;
    uint64_t *set = detector(b, offset);
    return (uint32_t)((set != NULL ? *set : gpio_events(b)) >> shift);
}

static void event_write(board_t *b, uint32_t offset, uint32_t value)
{
    uint32_t shift = (offset - GPEDS0) % 12 == 0 ? 0u : 32u;
    uint64_t *set = detector(b, offset), bits = (uint64_t)value << shift & PINS_MASK;
    if (set == NULL)
        b->events &= ~bits; /* a level that is still there is found again */
    else
        *set = (*set & ~(0xFFFFFFFFull << shift)) | bits;
}

uint32_t gpio_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    bool noisy;
    switch (offset) {
    case GPLEV0:
        return pins_levels(b, 0, now_ps, &noisy);
    case GPLEV1:
        return pins_levels(b, 1, now_ps, &noisy);
    case GPSET0:
    case GPSET1:
    case GPCLR0:
    case GPCLR1:
        return 0;
    case GPPUD:
        return b->gppud;
    case GPPUDCLK0:
    case GPPUDCLK1:
        return b->gppudclk[(offset - GPPUDCLK0) / 4];
    default:
        break;
    }
    if (offset <= GPFSEL5)
        return b->fsel[offset / 4];
    if (offset >= GPEDS0 && offset <= GPAFEN1 && (offset - GPEDS0) % 12 != 8)
        return event_read(b, offset);
    board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, 0x20200000u + offset, 0);
    return 0;
}

void gpio_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    switch (offset) {
    case GPSET0:
        latch_write(b, value, 0, now_ps);
        return;
    case GPSET1:
        latch_write(b, (uint64_t)value << 32, 0, now_ps);
        return;
    case GPCLR0:
        latch_write(b, 0, value, now_ps);
        return;
    case GPCLR1:
        latch_write(b, 0, (uint64_t)value << 32, now_ps);
        return;
    case GPPUD:
        pull_release(b, now_ps);
        b->gppud = value & 3u;
        b->gppud_ps = now_ps;
        return;
    case GPPUDCLK0:
    case GPPUDCLK1:
        pull_clock(b, (offset - GPPUDCLK0) / 4, value, now_ps);
        return;
    default:
        break;
    }
    if (offset <= GPFSEL5)
        fsel_write(b, offset / 4, value, now_ps);
    else if (offset >= GPEDS0 && offset <= GPAFEN1 && (offset - GPEDS0) % 12 != 8)
        event_write(b, offset, value);
    else
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20200000u + offset, value);
}
