/* mmio.c: every peripheral access of a board: what it costs in time, and which block answers it. */
#include "internal.h"

#define MAILBOX_FIRST 0xB880u
#define MAILBOX_LAST  0xB8BCu
#define IRQ_FIRST     0xB200u
#define IRQ_LAST      0xB224u

static int poll_kind(uint32_t offset)
{
    switch (offset) {
    case BLOCK_GPIO + 0x34:
        return POLL_LEV0;
    case BLOCK_GPIO + 0x38:
        return POLL_LEV1;
    case BLOCK_PL011 + 0x18:
        return POLL_FR;
    case BLOCK_AUX + 0x54:
        return POLL_LSR;
    case BLOCK_AUX + 0x64:
        return POLL_STAT;
    case TIMER_CS:
        return POLL_CS;
    case TIMER_CLO:
        return POLL_CLO;
    case TIMER_CHI:
        return POLL_CHI;
    case 0xB898:
    case 0xB8B8:
        return POLL_MAIL;
    case BLOCK_V3D + 0x43C:
        return POLL_SRQCS;
    case BLOCK_V3D + 0xE30:
        return POLL_DBQITC;
    default:
        return -1;
    }
}

static uint32_t read_register(board_t *b, uint32_t offset, uint64_t now_ps)
{
    switch (offset & 0xFFF000u) {
    case BLOCK_GPIO:
        return gpio_read(b, offset - BLOCK_GPIO, now_ps);
    case BLOCK_PL011:
        return uart_pl011_read(b, offset - BLOCK_PL011, now_ps);
    case BLOCK_AUX:
        return uart_aux_read(b, offset - BLOCK_AUX, now_ps);
    case BLOCK_V3D:
        return v3d_read(b, offset - BLOCK_V3D, now_ps);
    case BLOCK_CLOCKS:
    case BLOCK_CLOCKS + 0x1000:
        return clocks_read(b, offset - BLOCK_CLOCKS);
    case BLOCK_ARM:
        if (offset >= MAILBOX_FIRST && offset <= MAILBOX_LAST)
            return mailbox_read(b, offset, now_ps);
        if (offset >= IRQ_FIRST && offset <= IRQ_LAST)
            return irq_read(b, offset, now_ps);
        return system_read(b, offset, now_ps);
    default:
        return system_read(b, offset, now_ps);
    }
}

static void write_register(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    switch (offset & 0xFFF000u) {
    case BLOCK_GPIO:
        gpio_write(b, offset - BLOCK_GPIO, value, now_ps);
        break;
    case BLOCK_PL011:
        uart_pl011_write(b, offset - BLOCK_PL011, value, now_ps);
        break;
    case BLOCK_AUX:
        uart_aux_write(b, offset - BLOCK_AUX, value, now_ps);
        break;
    case BLOCK_V3D:
        v3d_write(b, offset - BLOCK_V3D, value, now_ps);
        break;
    case BLOCK_CLOCKS:
    case BLOCK_CLOCKS + 0x1000:
        clocks_write(b, offset - BLOCK_CLOCKS, value);
        break;
    case BLOCK_ARM:
        if (offset >= MAILBOX_FIRST && offset <= MAILBOX_LAST)
            mailbox_write(b, offset, value, now_ps);
        else if (offset >= IRQ_FIRST && offset <= IRQ_LAST)
            irq_write(b, offset, value);
        else
            system_write(b, offset, value, now_ps);
        break;
    default:
        system_write(b, offset, value, now_ps);
        break;
    }
}

/* Charges the bus and returns the board's time, at which it may act now. */
static uint64_t access_begin(board_t *b, uint64_t ticks, bool shared, bool reading)
{
    b->ticks += ticks;
    b->charged_ticks += ticks;
    if (b->ticks >= b->window_ticks)
        sched_window(b);
    v3d_follow(b, board_now(b));
    return shared ? sched_sync(b, reading) : board_now(b);
}

static uint32_t polled(board_t *b, uint32_t kind, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    if (kind <= POLL_LEV1) {
        uint32_t shift = kind == POLL_LEV1 ? 32u : 0u;
        if ((uint32_t)((b->unknown | b->unknown_before) >> shift) != 0) { /* every read can differ */
            poll_break(b);
            return value;
        }
    }
    if (!poll_note(b, kind, value, now_ps) || b->kill)
        return value;
    uint64_t now = sched_sync(b, true);
    if (b->kill)
        return 0;
    v3d_follow(b, now);
    value = read_register(b, offset, now);
    poll_resampled(b, kind, value);
    return value;
}

uint64_t mmio_read(uc_engine *uc, uint64_t offset64, unsigned size, void *user)
{
    (void)uc;
    board_t *b = user;
    if (b->kill)
        return 0;
    uint32_t offset = (uint32_t)offset64 & 0xFFFFFCu;
    bool shared = (offset & 0xFFF000u) == BLOCK_GPIO;
    uint64_t now = access_begin(b, b->read_ticks, shared, true);
    if (b->kill)
        return 0;
    if (size != 4 || (offset64 & 3u))
        board_lint(b, SIM_LINT_ACCESS_SIZE, PERIPHERALS + (uint32_t)offset64, size);
    *(shared ? &b->counters.gpio_reads : &b->counters.other_mmio) += 1;
    uint32_t value = read_register(b, offset, now);
    int kind = poll_kind(offset);
    if (kind < 0)
        poll_break(b);
    else
        value = polled(b, (uint32_t)kind, offset, value, now);
    irq_touched(b);
    return value >> ((offset64 & 3u) * 8u);
}

void mmio_write(uc_engine *uc, uint64_t offset64, unsigned size, uint64_t value64, void *user)
{
    (void)uc;
    board_t *b = user;
    if (b->kill)
        return;
    uint32_t offset = (uint32_t)offset64 & 0xFFFFFCu;
    uint32_t value = (uint32_t)value64;
    bool shared = (offset & 0xFFF000u) == BLOCK_GPIO;
    uint64_t now = access_begin(b, b->write_ticks, shared, false);
    if (b->kill)
        return;
    if (size != 4 || (offset64 & 3u))
        board_lint(b, SIM_LINT_ACCESS_SIZE, PERIPHERALS + (uint32_t)offset64, size);
    *(shared ? &b->counters.gpio_writes : &b->counters.other_mmio) += 1;
    poll_break(b);
    write_register(b, offset, value, now);
    irq_touched(b);
}
