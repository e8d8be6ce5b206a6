/* sim.c: making, running and taking apart a simulation, and what Python asks of it. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

sim_t *sim_new(uint32_t boards, uint64_t seed, sim_boot_fn boot)
{
    if (boards == 0 || boards > SIM_BOARDS_MAX)
        return NULL;
    sim_t *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return NULL;
    sim->boards = calloc(boards, sizeof *sim->boards);
    sim->board_count = boards;
    sim->seed = mix64(seed + 0x9E3779B97F4A7C15ull);
    sim->boot = boot;
    sim->allow_sleep = true;
    sim->due_min = sim->event_ps = NEVER;
    sim->pattern_fd = -1;
    if (sim->boards == NULL || ram_pattern(sim) != 0) {
        sim_free(sim);
        return NULL;
    }
    for (uint32_t i = 0; i < boards; i++) {
        board_t *b = &sim->boards[i];
        b->sim = sim;
        b->index = i;
        b->watchdog_ps = b->wake_ps = NEVER;
        b->level_writer = UINT32_MAX;
        b->uart.host_baud = 115200;
        b->uart.random = mix64(sim->seed + i + 1);
        b->driven_high = 1ull << 15; /* the adapter's idle line */
        sim->key[i] = sim->due[i] = NEVER;
    }
    sim_nets_clear(sim);
    if (sim_nets_commit(sim) != 0) {
        sim_free(sim);
        return NULL;
    }
    return sim;
}

void sim_free(sim_t *sim)
{
    if (sim == NULL)
        return;
    for (uint32_t i = 0; sim->boards != NULL && i < sim->board_count; i++) {
        cpu_end(&sim->boards[i]);
        v3d_reset(&sim->boards[i]);
        ram_unmap(&sim->boards[i]);
        free(sim->boards[i].uart.to_board);
        free(sim->boards[i].uart.to_host);
    }
    if (sim->pattern_fd >= 0)
        close(sim->pattern_fd);
    free(sim->boards);
    free(sim->nets);
    free(sim->pad_of_net);
    free(sim->contentions);
    free(sim->events);
    free(sim->trace);
    free(sim);
}

static void happen(sim_t *sim, const event_t *event)
{
    if (event->kind == EVENT_STRIKE)
        board_strike(&sim->boards[event->subject], (uint32_t)event->value);
    else if (event->kind == EVENT_HANG_UP)
        uart_hang_up(&sim->boards[event->subject]);
    else
        faults_event(sim, event);
}

static bool host_has_news(const sim_t *sim, uint32_t mask)
{
    for (uint32_t i = 0; i < sim->board_count; i++) {
        const uart_t *uart = &sim->boards[i].uart;
        if ((mask >> i & 1u) && (uart->to_host_count > 0 || uart->hung_up))
            return true;
    }
    return false;
}

int sim_run(sim_t *sim, uint64_t until_ps, uint32_t stop_mask)
{
    sim->until_ps = sim->stopped ? sim->now_ps : until_ps;
    while (!host_has_news(sim, stop_mask)) {
        board_t *b;
        switch (sched_turn(sim, &b)) {
        case TURN_OVER: { /* until_ps, or the change of a watched pad */
            bool stopped = sim->stopped, refused = sim->refused;
            sim->stopped = sim->refused = false;
            return refused ? -1 : stopped ? 2 : 0;
        }
        case TURN_EVENT: {
            event_t event = sched_event_take(sim);
            happen(sim, &event);
            break;
        }
        case TURN_PACKET:
            uart_deliver(b, sim->due[b->index]);
            break;
        case TURN_START:
            board_start(b);
            break;
        case TURN_WATCHDOG:
            board_watchdog(b);
            break;
        case TURN_RAN:
            break;
        }
    }
    return 1;
}

int sim_board_setup(sim_t *sim, uint32_t board, const sim_board_setup_t *setup)
{
    if (board >= sim->board_count || sim->boards[board].state != SIM_OFF)
        return -1;
    sim->boards[board].setup = *setup;
    sim->boards[board].drift_ppm_next = setup->drift_ppm;
    return 0;
}

void sim_drift(sim_t *sim, uint32_t board, double drift_ppm)
{
    sim->boards[board].drift_ppm_next = drift_ppm;
}

void sim_allow_sleep(sim_t *sim, int allow) { sim->allow_sleep = allow != 0; }

int sim_state(sim_t *sim, uint32_t board) { return (int)sim->boards[board].state; }

uint64_t sim_start_ps(sim_t *sim, uint32_t board) { return sim->boards[board].start_ps; }

uint64_t sim_time_ps(sim_t *sim) { return sim->now_ps; }

uint8_t *sim_ram(sim_t *sim, uint32_t board) { return sim->boards[board].ram; }

void sim_counters(sim_t *sim, uint32_t board, sim_counters_t *out)
{
    const board_t *b = &sim->boards[board];
    *out = b->counters;
    out->instructions += (b->ticks - b->charged_ticks) / 4u;
}

uint32_t sim_lints(sim_t *sim, uint32_t board, const sim_lint_t **out)
{
    *out = sim->boards[board].lints;
    return sim->boards[board].lint_count;
}

const char *sim_error(sim_t *sim) { return sim->error; }
