/* power.c: boards as a whole: power, reset, start, watchdog, and what a strike does to one. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

static void board_boot(board_t *b, uint32_t cause, uint64_t delay_ps)
{
    sim_t *sim = b->sim;
    memset(&b->plan, 0, sizeof b->plan);
    gpio_reset(b);
    uart_reset(b);
    system_reset(b, cause);
    irq_reset(b);
    poll_break(b);
    b->vfp_allowed = b->cpacr_written = b->sctlr_written = b->mmu_on = b->vfp_suspect = false;
    b->last_vector_pc = 0;
    b->last_vector_ticks = NEVER;
    b->setup.drift_ppm = b->drift_ppm_next;
    b->state = SIM_BOOTING;
    pins_power(b, sim->now_ps);
    sim->boot(b->index, &b->plan);
    if (!b->plan.has_kernel) {
        board_lint(b, SIM_LINT_NO_KERNEL, 0, 0);
        b->state = SIM_HALTED;
        sim->key[b->index] = NEVER;
        return;
    }
    b->core_hz = b->plan.core_hz;
    b->uart_hz = b->plan.uart_hz;
    clocks_reset(b);
    memset(b->domains, 0, sizeof b->domains);
    b->start_ps = sim->now_ps + b->plan.delay_ps + delay_ps;
    sim->slack[b->index] = 0;
    sim->key[b->index] = b->start_ps;
}

void board_start(board_t *b)
{
    b->ticks = b->base_ticks = b->charged_ticks = 0;
    b->base_ps = b->start_ps;
    board_set_clock(b, b->plan.arm_hz);
    gpio_apply_boot_pulls(b);
    uart_boot(b);
    pins_power(b, b->start_ps);
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
    pins_power(b, sim->now_ps);
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

void board_strike(board_t *b, uint32_t action)
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

void board_watchdog(board_t *b)
{
    bool halt = (b->pm_rsts & 0x555u) == 0x555u;
    uint32_t cause = 0x20u; /* PM_RSTS.HADWRF */
    board_quench(b);
    b->counters.resets++;
    trace_mark(b->sim, SIM_MARK_WATCHDOG, b->index);
    if (halt) { /* the boot code finds "partition 63": it stops */
        gpio_reset(b);
        uart_reset(b);
        pins_power(b, b->sim->now_ps);
        b->state = SIM_HALTED;
        board_lint(b, SIM_LINT_HALTED, 0, 0x555u);
        return;
    }
    board_boot(b, cause, 0);
}
