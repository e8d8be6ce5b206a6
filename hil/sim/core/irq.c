/* irq.c: the interrupt controller: which lines are up, which of them the ARM sees, and when the next may rise.
 *
 * Source: BCM2835 ARM Peripherals ch. 7. Levels only: a line stays up until its cause is removed. The
 * processor looks at the ends of blocks (cpu.c), and only when a line can have changed. */
#include "internal.h"

enum {
    PENDING_BASIC = 0xB200,
    PENDING_1 = 0xB204,
    PENDING_2 = 0xB208,
    FIQ_CONTROL = 0xB20C,
    ENABLE_1 = 0xB210,
    ENABLE_BASIC = 0xB218,
    DISABLE_1 = 0xB21C,
    DISABLE_BASIC = 0xB224
};
enum {
    LINE_AUX = 29,
    LINE_GPIO0 = 49,
    LINE_UART = 57
};
enum {
    BASIC_ARM_TIMER = 1 << 0,
    BASIC_MAILBOX = 1 << 1,
    FIQ_ON = 1 << 7,
    FIQ_BASIC = 64
};

void irq_reset(board_t *b)
{
    b->irq_enabled[0] = b->irq_enabled[1] = b->irq_enabled[2] = b->fiq_control = 0;
    b->irq_ticks = NEVER;
}

static bool armed(const board_t *b)
{
    return (b->irq_enabled[0] | b->irq_enabled[1] | b->irq_enabled[2] | (b->fiq_control & FIQ_ON)) != 0;
}

/* Lines 0..63 of the GPU's side. */
static uint64_t gpu_lines(board_t *b, uint64_t now_ps)
{
    static const uint64_t banks[3] = {0x0FFFFFFFull, 0x3FFFF0000000ull, 0x3FC00000000000ull};
    uint64_t lines = board_timer_lines(b, now_ps);
    uint64_t pins = gpio_events(b);
    for (uint32_t i = 0; i < 3; i++)
        lines |= (uint64_t)((pins & banks[i]) != 0) << (LINE_GPIO0 + i);
    lines |= (uint64_t)(pins != 0) << (LINE_GPIO0 + 3);
    lines |= (uint64_t)uart_pl011_line(b, now_ps) << LINE_UART;
    lines |= (uint64_t)uart_mini_line(b, now_ps) << LINE_AUX;
    return lines;
}

static uint32_t basic_lines(board_t *b, uint64_t now_ps)
{
    return (board_armtimer_line(b, now_ps) ? BASIC_ARM_TIMER : 0u) |
           (mailbox_line(b, now_ps) ? BASIC_MAILBOX : 0u);
}

uint32_t irq_state(board_t *b, uint64_t now_ps)
{
    uint64_t lines = gpu_lines(b, now_ps);
    uint64_t enabled = (uint64_t)b->irq_enabled[1] << 32 | b->irq_enabled[0];
    uint32_t basic = basic_lines(b, now_ps), source = b->fiq_control & 0x7Fu;
    bool fast = source < FIQ_BASIC ? lines >> source & 1u : basic >> (source - FIQ_BASIC) & 1u;
    return ((lines & enabled) != 0 || (basic & b->irq_enabled[2]) != 0 ? IRQ_LINE : 0u) |
           ((b->fiq_control & FIQ_ON) && fast ? FIQ_LINE : 0u);
}

/* When a line may rise next by itself, as things stand. */
uint64_t irq_next_ps(board_t *b, uint64_t now_ps)
{
    if (!armed(b))
        return NEVER;
    const uint64_t times[] = {board_timer_match_ps(b, now_ps), board_armtimer_ps(b, now_ps),
                              uart_irq_ps(b, now_ps), mailbox_line(b, now_ps) ? NEVER : mailbox_next_ps(b)};
    uint64_t next = NEVER;
    for (uint32_t i = 0; i < sizeof times / sizeof *times; i++)
        next = times[i] > now_ps && times[i] < next ? times[i] : next;
    return next;
}

void irq_schedule(board_t *b, uint64_t now_ps)
{
    b->irq_ticks = irq_state(b, now_ps) ? 0 : sched_ticks(b, irq_next_ps(b, now_ps));
}

void irq_touched(board_t *b)
{
    if (armed(b))
        b->irq_ticks = 0;
}

/* Of the lines with a place in the basic register: bit 10 onwards. Bits 8 and 9 speak for all others. */
static uint32_t pending_basic(uint64_t pending, uint32_t basic)
{
    static const uint8_t shortcuts[] = {7, 9, 10, 18, 19, 53, 54, 55, 56, 57, 62};
    uint32_t word = basic;
    for (uint32_t i = 0; i < sizeof shortcuts; i++) {
        word |= (uint32_t)(pending >> shortcuts[i] & 1u) << (10u + i);
        pending &= ~(1ull << shortcuts[i]);
    }
    return word | ((uint32_t)pending != 0 ? 1u << 8 : 0u) | (pending >> 32 != 0 ? 1u << 9 : 0u);
}

uint32_t irq_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    uint64_t pending = gpu_lines(b, now_ps) & ((uint64_t)b->irq_enabled[1] << 32 | b->irq_enabled[0]);
    switch (offset) {
    case PENDING_BASIC:
        return pending_basic(pending, basic_lines(b, now_ps) & b->irq_enabled[2]);
    case PENDING_1:
        return (uint32_t)pending;
    case PENDING_2:
        return (uint32_t)(pending >> 32);
    case FIQ_CONTROL:
        return b->fiq_control;
    default:
        return b->irq_enabled[(offset - ENABLE_1) / 4 % 3]; /* the disable registers show the same */
    }
}

void irq_write(board_t *b, uint32_t offset, uint32_t value)
{
    if (offset == FIQ_CONTROL)
        b->fiq_control = value & 0xFFu;
    else if (offset >= ENABLE_1 && offset <= ENABLE_BASIC)
        b->irq_enabled[(offset - ENABLE_1) / 4] |= value;
    else if (offset >= DISABLE_1 && offset <= DISABLE_BASIC)
        b->irq_enabled[(offset - DISABLE_1) / 4] &= ~value;
    else
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, PERIPHERALS + offset, value);
}
