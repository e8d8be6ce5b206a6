/* sched.c: which board runs next, and until when.
 *
 * Conservative discrete events: shared state (pads) changes in order of (time, board index). The board with
 * the smallest key runs; it may go on until somebody else could change a pad. A board that is about to read
 * cannot do so before its read and the bus time of a write are over, and its pads remember the levels
 * before the last change, so that little may be overtaken. A sleeper's key is the time of the event that it
 * waits for, so it holds nobody back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

void board_set_clock(board_t *b, uint32_t arm_hz)
{
    b->base_ps = board_now(b);
    b->base_ticks = b->ticks;
    b->arm_hz = arm_hz;
    double ps_per_tick = 1e12 / (4.0 * (double)arm_hz * (1.0 + b->setup.drift_ppm * 1e-6));
    b->ps_per_tick_q32 = (uint64_t)(ps_per_tick * 4294967296.0 + 0.5);
    b->read_ticks = (uint64_t)MMIO_READ_NS * 4u * (arm_hz / 1000000u) / 1000u;
    b->write_ticks = (uint64_t)MMIO_WRITE_NS * 4u * (arm_hz / 1000000u) / 1000u;
    b->write_ps = (uint64_t)(((unsigned __int128)b->write_ticks * b->ps_per_tick_q32) >> 32);
    b->window_ps = 0;
}

/* Ticks that the board will have counted at a time; rounded down by up to two. */
static uint64_t ticks_at(const board_t *b, uint64_t time_ps)
{
    if (time_ps <= b->base_ps)
        return b->base_ticks;
    double span = (double)(time_ps - b->base_ps) / ((double)b->ps_per_tick_q32 / 4294967296.0);
    if (span > 1e17)
        return NEVER / 2;
    return b->base_ticks + (uint64_t)span - (span >= 2.0 ? 1u : 0u);
}

static void window_set(board_t *b, uint64_t window_ps)
{
    if (b->watchdog_ps < window_ps)
        window_ps = b->watchdog_ps;
    if (window_ps != b->window_ps) {
        b->window_ps = window_ps;
        /* Block hooks compare ticks; being a tick or two late is within the block's own granularity. */
        b->window_ticks = ticks_at(b, window_ps) + 4u;
    }
}

/* The board with the smallest (key, index); *limit: what its time must stay below; *others: the smallest other key. */
static board_t *pick(sim_t *sim, uint64_t *limit_out, uint64_t *others_out)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < sim->board_count; i++)
        best = sim->key[i] < sim->key[best] ? i : best;
    uint64_t events = sim->due_min < sim->until_ps ? sim->due_min : sim->until_ps;
    uint64_t limit = events, others = events;
    for (uint32_t i = 0; i < sim->board_count; i++) {
        if (i != best) {
            uint64_t key = sim->key[i];
            others = key < others ? key : others;
            /* Equal times go to the smaller index. */
            key += sim->slack[i] ? sim->slack[i] : i > best;
            limit = key < limit ? key : limit;
        }
    }
    *limit_out = limit;
    *others_out = others;
    return &sim->boards[best];
}

/* Whether main has something to do before the board may run. */
static bool main_first(const sim_t *sim, const board_t *b)
{
    uint64_t key = sim->key[b->index];
    return key >= sim->until_ps || key >= sim->due_min || key == NEVER || b->state == SIM_BOOTING ||
           b->watchdog_ps <= key;
}

static void sleeper_resume(board_t *b, uint64_t event_ps)
{
    uint64_t target = ticks_at(b, event_ps);
    if (b->sleep_period_ticks == 0) { /* WFI: nothing happens in between */
        if (target > b->ticks) {
            b->charged_ticks += target - b->ticks;
            b->ticks = target;
        }
    } else if (target > b->ticks) {
        uint64_t rounds = (target - b->ticks) / b->sleep_period_ticks;
        b->ticks += rounds * b->sleep_period_ticks;
        b->charged_ticks += rounds * b->sleep_period_charged;
    }
    b->state = SIM_RUNNING;
    b->wake_ps = NEVER;
    b->sim->key[b->index] = board_now(b);
    b->sim->slack[b->index] = 0;
}

static void enter(sim_t *sim, board_t *next, uint64_t limit, uint64_t others)
{
    if (next->state == SIM_SLEEPING)
        sleeper_resume(next, next->wake_ps);
    uint64_t key = sim->key[next->index];
    if (key > sim->now_ps)
        sim->now_ps = key;
    sim->limit_ps = limit;
    uint64_t window = others + WINDOW_PS;
    window = sim->until_ps < window ? sim->until_ps : window;
    window = key + WINDOW_MAX_PS < window ? key + WINDOW_MAX_PS : window;
    /* A window that is too small only costs a visit here, so it is moved rarely. */
    if (next->window_ps > window || next->window_ps < key + WINDOW_PS / 2)
        window_set(next, window);
    sim->running = next;
}

/* Gives up the processor; returns when this board is the earliest again (or killed). */
static void reschedule(board_t *b)
{
    sim_t *sim = b->sim;
    uint64_t limit, others;
    board_t *next = pick(sim, &limit, &others);
    if (main_first(sim, next)) {
        b->counters.switches++;
        sim->running = NULL;
        coroutine_switch(&b->co, &sim->main);
        return;
    }
    enter(sim, next, limit, others);
    if (next != b) {
        b->counters.switches++;
        coroutine_switch(&b->co, &next->co);
    }
}

uint64_t sched_sync(board_t *b, bool reading)
{
    sim_t *sim = b->sim;
    for (;;) {
        uint64_t now = board_now(b);
        if (b->kill || (now < sim->limit_ps && now < b->watchdog_ps))
            return now;
        sim->key[b->index] = now < b->watchdog_ps ? now : b->watchdog_ps;
        sim->slack[b->index] = reading && b->level_ps <= now && now < b->watchdog_ps ? b->write_ps : 0;
        reschedule(b);
        if (sim->running == b && sim->key[b->index] >= sim->limit_ps) {
            /* Cannot happen: the picked board is below the limit. Guard against an endless loop. */
            snprintf(sim->error, sizeof sim->error, "scheduler: board %u was picked above its limit",
                     b->index);
            abort();
        }
    }
}

void sched_window(board_t *b)
{
    sim_t *sim = b->sim;
    while (!b->kill && board_now(b) >= b->window_ps) {
        uint64_t now = board_now(b);
        sim->key[b->index] = now < b->watchdog_ps ? now : b->watchdog_ps;
        sim->slack[b->index] = 0;
        uint64_t window = b->window_ps;
        reschedule(b);
        if (b->window_ps == window && sim->running == b && board_now(b) >= window) {
            b->window_ticks = b->ticks + 4u; /* rounding of ticks_at */
            return;
        }
    }
    if (b->ticks >= b->window_ticks)
        b->window_ticks = b->ticks + 1u;
}

void sched_sleep(board_t *b, uint64_t wake_ps, uint64_t period_ticks, uint64_t period_charged)
{
    if (b->watchdog_ps < wake_ps)
        wake_ps = b->watchdog_ps;
    b->counters.sleeps++;
    b->sleep_period_ticks = period_ticks;
    b->sleep_period_charged = period_charged;
    b->wake_ps = wake_ps;
    b->state = SIM_SLEEPING;
    b->sim->key[b->index] = wake_ps;
    b->sim->slack[b->index] = 0;
    do {
        reschedule(b);
    } while (b->state == SIM_SLEEPING && !b->kill);
}

/* Something that the sleeper waits for happens at event_ps, no later than it was going to wake. */
void sched_wake(board_t *b, uint64_t event_ps)
{
    sim_t *sim = b->sim;
    if (b->state != SIM_SLEEPING)
        return;
    sleeper_resume(b, event_ps);
    board_t *running = sim->running;
    if (running != NULL && running != b) {
        uint64_t key = sim->key[b->index];
        uint64_t limit = key + (running->index < b->index && key != NEVER ? 1u : 0u);
        if (limit < sim->limit_ps)
            sim->limit_ps = limit;
        uint64_t window = key + WINDOW_PS;
        if (window < running->window_ps)
            window_set(running, window);
    }
}

void sched_change(board_t *b, uint64_t change_ps)
{
    sim_t *sim = b->sim;
    uint64_t key = sim->key[b->index];
    if (b->state == SIM_RUNNING && b != sim->running && key <= change_ps) {
        sim->slack[b->index] = 0; /* its pads remember one change only: it goes first now */
        sim->limit_ps = key < sim->limit_ps ? key : sim->limit_ps;
    }
}

void sched_leave(board_t *b)
{
    b->sim->key[b->index] = b->state == SIM_HALTED ? b->watchdog_ps : NEVER;
    b->sim->running = NULL;
    for (;;)
        coroutine_switch(&b->co, &b->sim->main);
}

static void due_refresh(sim_t *sim)
{
    sim->due_min = sim->event_ps;
    for (uint32_t i = 0; i < sim->board_count; i++)
        if (sim->due[i] < sim->due_min)
            sim->due_min = sim->due[i];
    board_t *running = sim->running;
    if (running != NULL) {
        if (sim->due_min < sim->limit_ps)
            sim->limit_ps = sim->due_min;
        uint64_t window = sim->due_min + WINDOW_PS;
        if (window < running->window_ps)
            window_set(running, window);
    }
}

void sched_due(board_t *b, uint64_t due_ps)
{
    b->sim->due[b->index] = due_ps;
    due_refresh(b->sim);
}

void sched_event(sim_t *sim, uint64_t event_ps)
{
    sim->event_ps = event_ps;
    due_refresh(sim);
}

void sched_stop(sim_t *sim, uint64_t now_ps)
{
    sim->stopped = true;
    sim->until_ps = now_ps < sim->until_ps ? now_ps : sim->until_ps;
    sim->limit_ps = now_ps < sim->limit_ps ? now_ps : sim->limit_ps;
}

void sched_watchdog(board_t *b)
{
    if (b->watchdog_ps < b->window_ps)
        window_set(b, b->watchdog_ps);
}

/* ---- boards as a whole -------------------------------------------------------------------------------- */

static void board_boot(board_t *b, uint32_t cause, uint64_t delay_ps)
{
    sim_t *sim = b->sim;
    memset(&b->plan, 0, sizeof b->plan);
    gpio_reset(b);
    uart_reset(b);
    system_reset(b, cause);
    poll_break(b);
    b->vfp_allowed = b->cpacr_written = b->sctlr_written = b->mmu_on = b->vfp_suspect = false;
    b->last_vector_pc = 0;
    b->last_vector_ticks = NEVER;
    b->setup.drift_ppm = b->drift_ppm_next;
    b->state = SIM_BOOTING;
    gpio_power(b, sim->now_ps);
    sim->boot(b->index, &b->plan);
    if (!b->plan.has_kernel) {
        board_lint(b, SIM_LINT_NO_KERNEL, 0, 0);
        b->state = SIM_HALTED;
        sim->key[b->index] = NEVER;
        return;
    }
    b->core_hz = b->plan.core_hz;
    b->uart_hz = b->plan.uart_hz;
    b->start_ps = sim->now_ps + b->plan.delay_ps + delay_ps;
    sim->slack[b->index] = 0;
    sim->key[b->index] = b->start_ps;
}

static void board_start(board_t *b)
{
    b->ticks = b->base_ticks = b->charged_ticks = 0;
    b->base_ps = b->start_ps;
    board_set_clock(b, b->plan.arm_hz);
    gpio_apply_boot_pulls(b);
    gpio_power(b, b->start_ps);
    b->state = SIM_RUNNING;
    trace_mark(b->sim, SIM_MARK_STARTS, b->index);
    if (cpu_begin(b) != 0) {
        b->state = SIM_HALTED;
        b->sim->key[b->index] = NEVER;
    }
}

static void board_account(board_t *b)
{
    b->counters.instructions += (b->ticks - b->charged_ticks) / 4u;
    b->ticks = b->base_ticks = b->charged_ticks = 0;
}

static void board_quench(board_t *b)
{
    cpu_end(b);
    board_account(b);
    b->base_ps = b->sim->now_ps;
    b->watchdog_ps = NEVER;
    b->sim->key[b->index] = NEVER;
}

int sim_power_on(sim_t *sim, uint32_t board)
{
    board_t *b = &sim->boards[board];
    if (b->state != SIM_OFF)
        return 0;
    b->ram = ram_map(sim, b->setup.ram_bytes);
    if (b->ram == NULL) {
        snprintf(sim->error, sizeof sim->error, "board %u: cannot map %llu bytes of RAM", board,
                 (unsigned long long)b->setup.ram_bytes);
        return -1;
    }
    b->pull_up = 0x1FFull; /* power-on defaults; a warm reset keeps pulls, see gpio_reset */
    b->pull_down = ((1ull << SIM_PINS) - 1u) & ~b->pull_up;
    trace_mark(sim, SIM_MARK_POWER_ON, board);
    board_boot(b, 0x1000u, b->setup.start_delay_ps);
    return 0;
}

void sim_power_off(sim_t *sim, uint32_t board)
{
    board_t *b = &sim->boards[board];
    if (b->state == SIM_OFF)
        return;
    board_quench(b);
    uart_reset(b);
    b->state = SIM_OFF;
    trace_mark(sim, SIM_MARK_POWER_OFF, board);
    gpio_power(b, sim->now_ps);
    ram_unmap(b);
}

int sim_reset(sim_t *sim, uint32_t board)
{
    board_t *b = &sim->boards[board];
    if (b->state == SIM_OFF)
        return -1;
    board_quench(b);
    b->counters.resets++;
    trace_mark(sim, SIM_MARK_RESET, board);
    board_boot(b, 0x1000u, 0);
    return 0;
}

void sched_strike(board_t *b, uint32_t action)
{
    if (action == SIM_STRIKE_OFF) {
        sim_power_off(b->sim, b->index);
    } else if (action == SIM_STRIKE_RESET) {
        sim_reset(b->sim, b->index);
    } else if (b->state != SIM_OFF) {
        uint64_t watchdog_ps = b->watchdog_ps; /* goes on counting */
        board_quench(b);
        b->state = SIM_HALTED;
        b->watchdog_ps = b->sim->key[b->index] = watchdog_ps;
        trace_mark(b->sim, SIM_MARK_HALTED, b->index);
    }
}

static void watchdog_bite(board_t *b)
{
    bool halt = (b->pm_rsts & 0x555u) == 0x555u;
    uint32_t cause = 0x20u; /* PM_RSTS.HADWRF */
    board_quench(b);
    b->counters.resets++;
    trace_mark(b->sim, SIM_MARK_WATCHDOG, b->index);
    if (halt) { /* the boot code finds "partition 63": it stops */
        gpio_reset(b);
        uart_reset(b);
        gpio_power(b, b->sim->now_ps);
        b->state = SIM_HALTED;
        board_lint(b, SIM_LINT_HALTED, 0, 0x555u);
        return;
    }
    board_boot(b, cause, 0);
}

int sim_run(sim_t *sim, uint64_t until_ps, uint32_t stop_mask)
{
    sim->until_ps = sim->stopped ? sim->now_ps : until_ps;
    for (;;) {
        if (sim->refused) {
            sim->refused = sim->stopped = false;
            return -1;
        }
        for (uint32_t i = 0; i < sim->board_count; i++) {
            const uart_t *uart = &sim->boards[i].uart;
            if ((stop_mask >> i & 1u) && (uart->to_host_count > 0 || uart->hung_up))
                return 1;
        }
        uint64_t limit, others;
        board_t *b = pick(sim, &limit, &others);
        uint64_t key = sim->key[b->index];
        uint64_t event = sim->due_min < key ? sim->due_min : key;
        if (event >= sim->until_ps) { /* until_ps, or the change of a watched pad */
            if (sim->until_ps > sim->now_ps)
                sim->now_ps = sim->until_ps;
            bool stopped = sim->stopped;
            sim->stopped = false;
            return stopped ? 2 : 0;
        }
        if (sim->event_ps <= key && sim->event_ps <= sim->due_min) {
            if (sim->event_ps > sim->now_ps)
                sim->now_ps = sim->event_ps;
            faults_event(sim);
        } else if (sim->due_min <= key) {
            for (uint32_t i = 0; i < sim->board_count; i++) {
                if (sim->due[i] == sim->due_min) {
                    if (sim->due_min > sim->now_ps)
                        sim->now_ps = sim->due_min;
                    uart_deliver(&sim->boards[i], sim->due_min);
                    break;
                }
            }
        } else if (b->state == SIM_BOOTING) {
            sim->now_ps = key;
            board_start(b);
        } else if (b->watchdog_ps <= key) {
            if (key > sim->now_ps)
                sim->now_ps = key;
            watchdog_bite(b);
        } else {
            enter(sim, b, limit, others);
            coroutine_switch(&sim->main, &b->co);
        }
    }
}
