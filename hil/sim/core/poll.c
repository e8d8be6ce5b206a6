/* poll.c: puts a board to sleep while it only reads registers that do not change.
 *
 * A loop is a pure poll when two rounds in a row come back to the same block, make the same reads, take the
 * same ticks, get the same values and leave the same registers behind. Skipping whole rounds of such a loop
 * changes nothing that the program could see, so the board sleeps until something that it reads can change. The system timer is
 * the exception: its value moves, so the skip ends at its next microsecond, or, in a wait of more than 64 us,
 * after 1/64 of the time waited so far. Time-outs that firmware measures itself can be that much late. */
#include <string.h>

#include "internal.h"

enum {
    INSTRUCTIONS_PER_READ_MAX = 64,
    READS_PER_ROUND_MAX = 512,
    GROWTH_SHIFT = 6
};

void poll_break(board_t *b)
{
    b->poll.seen_mask = 0;
    b->poll.reads = 0;
    b->poll.period_reads = 0;
    b->poll.patience = 2;
    b->poll.have_registers = false;
}

static void registers_get(board_t *b, uint32_t out[15])
{
    static int ids[15] = {UC_ARM_REG_R0,  UC_ARM_REG_R1,  UC_ARM_REG_R2,  UC_ARM_REG_R3, UC_ARM_REG_R4,
                          UC_ARM_REG_R5,  UC_ARM_REG_R6,  UC_ARM_REG_R7,  UC_ARM_REG_R8, UC_ARM_REG_R9,
                          UC_ARM_REG_R10, UC_ARM_REG_R11, UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR};
    void *values[15];
    for (int i = 0; i < 15; i++)
        values[i] = &out[i];
    uc_reg_read_batch(b->uc, ids, values, 15);
}

/* Whether the registers stand where they stood a round ago; those that follow the timer may have moved with it. */
static bool registers_steady(board_t *b, uint32_t timer_step)
{
    uint32_t now[15];
    registers_get(b, now);
    bool steady = b->poll.have_registers;
    for (int i = 0; i < 15 && steady; i++) {
        uint32_t step = now[i] - b->poll.registers[i];
        steady = step == 0 || step == timer_step || step == 0u - timer_step;
    }
    memcpy(b->poll.registers, now, sizeof now);
    b->poll.have_registers = true;
    return steady;
}

static uint64_t wake_time(board_t *b, uint64_t now_ps)
{
    poll_t *p = &b->poll;
    uint64_t wake = NEVER;
    if (now_ps <= b->level_ps) /* woken by a change that lies just ahead of this read */
        wake = b->level_ps;
    if (p->seen_mask & (1u << POLL_FR | 1u << POLL_LSR | 1u << POLL_STAT)) {
        uint64_t uart = uart_next_ps(b, now_ps);
        wake = uart < wake ? uart : wake;
    }
    if (p->seen_mask & 1u << POLL_MAIL) {
        uint64_t mail = mailbox_next_ps(b);
        wake = mail < wake ? mail : wake;
    }
    if (p->seen_mask & (1u << POLL_SRQCS | 1u << POLL_DBQITC)) {
        uint64_t change = v3d_next_ps(b);
        wake = change < wake ? change : wake;
    }
    if (p->seen_mask & 1u << POLL_CS) {
        uint64_t match = board_timer_match_ps(b, now_ps);
        if (b->timer_matched != p->value[POLL_CS]) /* it came since CS was read in this round */
            match = now_ps;
        wake = match < wake ? match : wake;
    }
    if (p->seen_mask & (1u << POLL_CLO | 1u << POLL_CHI)) {
        uint64_t tick = board_timer_ps(b, board_timer_us(b, now_ps) + 1u);
        uint64_t step = (now_ps - p->start_ps) >> GROWTH_SHIFT;
        uint64_t timer = step < PS_PER_US ? tick : now_ps + step;
        wake = timer < wake ? timer : wake;
    }
    uint64_t interrupt = irq_next_ps(b, now_ps);
    if (irq_state(b, now_ps)) /* its handler is about to run, or the line is masked */
        interrupt = now_ps;
    return interrupt < wake ? interrupt : wake;
}

static bool poll_sleep(board_t *b, uint64_t now_ps)
{
    poll_t *p = &b->poll;
    uint64_t wake = wake_time(b, now_ps);
    if (b->sim->refused)
        return false;
    uint64_t period_ps = (uint64_t)(((unsigned __int128)p->period_ticks * b->ps_per_tick_q32) >> 32);
    if (wake <= now_ps || wake - now_ps < period_ps)
        return false;
    uint64_t ticks = b->ticks;
    sched_sleep(b, wake, p->period_ticks, p->period_charged);
    /* The rounds that were skipped count as read: the next anchor read comes one period after this one. */
    p->anchor_ticks += b->ticks - ticks;
    p->anchor_charged += (b->ticks - ticks) / p->period_ticks * p->period_charged;
    return true;
}

static bool anchor_read(board_t *b, uint32_t value, uint64_t now_ps)
{
    poll_t *p = &b->poll;
    uint32_t reads = p->reads - p->anchor_reads;
    uint64_t ticks = b->ticks - p->anchor_ticks;
    uint64_t charged = b->charged_ticks - p->anchor_charged;
    uint32_t step = p->step; /* registers at this read hold what the last one returned */
    bool short_enough = ticks - charged <= (uint64_t)reads * INSTRUCTIONS_PER_READ_MAX * 4u;
    /* Reads in a straight line look alike too: a loop comes back to its block by way of another block's start. */
    bool looped = b->block_pc == p->anchor_block && ticks > charged;
    bool same =
        looped && reads == p->period_reads && ticks == p->period_ticks && charged == p->period_charged;
    p->anchor_block = b->block_pc;
    p->anchor_reads = p->reads;
    p->anchor_ticks = b->ticks;
    p->anchor_charged = b->charged_ticks;
    p->step = p->anchor == POLL_CLO ? value - p->anchor_value : 0;
    p->anchor_value = value;
    p->period_reads = reads;
    p->period_ticks = ticks;
    p->period_charged = charged;
    if (!short_enough || !looped) {
        p->have_registers = false;
        return false;
    }
    bool steady = registers_steady(b, step);
    bool news = p->step != 0 && (now_ps - p->start_ps) >> GROWTH_SHIFT < PS_PER_US; /* a value not yet seen */
    return same && steady && !news && b->sim->allow_sleep && poll_sleep(b, now_ps);
}

bool poll_note(board_t *b, uint32_t kind, uint32_t value, uint64_t now_ps)
{
    poll_t *p = &b->poll;
    uint32_t bit = 1u << kind;
    if ((p->seen_mask & bit) && kind != POLL_CLO && p->value[kind] != value)
        poll_break(b);
    if (p->reads == 0)
        p->start_ps = now_ps;
    /* The anchor is one read of the loop, told from others of its kind by its block. A read before the loop that
     * became the anchor does not come again: then another takes its place, after twice as many reads each time. */
    bool lost = p->reads - p->anchor_reads >= p->patience;
    if (lost && p->patience < READS_PER_ROUND_MAX)
        p->patience *= 2;
    bool take_anchor =
        p->seen_mask == 0 || (kind == POLL_CLO && p->anchor != POLL_CLO) || (kind == p->anchor && lost);
    p->value[kind] = value;
    p->seen_mask |= bit;
    p->reads++;
    if (take_anchor) {
        p->anchor = kind;
        p->anchor_reads = p->reads;
        p->anchor_ticks = b->ticks;
        p->anchor_charged = b->charged_ticks;
        p->anchor_value = value;
        p->anchor_block = b->block_pc;
        p->step = 0;
        p->period_reads = 0;
        p->have_registers = false;
        return false;
    }
    return kind == p->anchor && b->block_pc == p->anchor_block && anchor_read(b, value, now_ps);
}

void poll_resampled(board_t *b, uint32_t kind, uint32_t value)
{
    poll_t *p = &b->poll;
    if (kind == POLL_CLO) {
        p->step += value - p->anchor_value;
        p->anchor_value = value;
    } else if (value != p->value[kind]) {
        poll_break(b);
    }
}
