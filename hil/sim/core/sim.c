/* sim.c: making and taking apart a simulation, and what Python asks of it. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

sim_t *sim_new(uint32_t boards, uint64_t seed, sim_boot_fn boot) {
    if (boards == 0 || boards > SIM_BOARDS_MAX) {
        return NULL;
    }
    sim_t *sim = calloc(1, sizeof *sim);
    if (sim == NULL) {
        return NULL;
    }
    sim->boards = calloc(boards, sizeof *sim->boards);
    sim->board_count = boards;
    sim->seed = mix64(seed + 0x9E3779B97F4A7C15ull);
    sim->boot = boot;
    sim->allow_sleep = true;
    sim->due_min = NEVER;
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
    for (uint32_t pad = 0; pad < boards * SIM_PINS; pad++) {
        sim->parent[pad] = (uint16_t)pad;
    }
    return sim;
}

void sim_free(sim_t *sim) {
    if (sim == NULL) {
        return;
    }
    for (uint32_t i = 0; sim->boards != NULL && i < sim->board_count; i++) {
        cpu_end(&sim->boards[i]);
        ram_unmap(&sim->boards[i]);
        free(sim->boards[i].uart.to_board);
        free(sim->boards[i].uart.to_host);
    }
    if (sim->pattern_fd >= 0) {
        close(sim->pattern_fd);
    }
    free(sim->boards);
    free(sim->nets);
    free(sim->pad_of_net);
    free(sim->trace);
    free(sim);
}

int sim_board_setup(sim_t *sim, uint32_t board, const sim_board_setup_t *setup) {
    if (board >= sim->board_count || sim->boards[board].state != SIM_OFF) {
        return -1;
    }
    sim->boards[board].setup = *setup;
    return 0;
}

void sim_allow_sleep(sim_t *sim, int allow) {
    sim->allow_sleep = allow != 0;
}

int sim_state(sim_t *sim, uint32_t board) {
    return (int)sim->boards[board].state;
}

uint64_t sim_time_ps(sim_t *sim) {
    return sim->now_ps;
}

uint8_t *sim_ram(sim_t *sim, uint32_t board) {
    return sim->boards[board].ram;
}

void sim_counters(sim_t *sim, uint32_t board, sim_counters_t *out) {
    const board_t *b = &sim->boards[board];
    *out = b->counters;
    out->instructions += (b->ticks - b->charged_ticks) / 4u;
}

uint32_t sim_contentions(sim_t *sim, const sim_contention_t **out) {
    *out = sim->contentions;
    return sim->contention_count;
}

uint32_t sim_lints(sim_t *sim, uint32_t board, const sim_lint_t **out) {
    *out = sim->boards[board].lints;
    return sim->boards[board].lint_count;
}

const char *sim_error(sim_t *sim) {
    return sim->error;
}

/* ---- self test of the context switch ------------------------------------------------------------------ */

typedef struct {
    coroutine_t *self, *other;
    uint32_t rounds;
    uint64_t integer;
    double real;
} ping_t;

static void ping(void *argument) {
    ping_t *p = argument;
    /* Enough live values to fill the callee-saved registers, integer and floating point. */
    uint64_t a = p->integer, b = a + 1, c = a + 2, d = a + 3, e = a + 4;
    double u = p->real, v = u + 1, w = u + 2, x = u + 3, y = u + 4;
    for (uint32_t i = 0; i < p->rounds; i++) {
        coroutine_switch(p->self, p->other);
        a = mix64(a + b), b = mix64(b + c), c = mix64(c + d), d = mix64(d + e), e = mix64(e + a);
        u += 0.5, v += 0.25, w += 0.125, x += 2.0, y += 4.0;
    }
    p->integer = a ^ b ^ c ^ d ^ e;
    p->real = u + v + w + x + y;
    for (;;) {
        coroutine_switch(p->self, p->other);
    }
}

uint64_t sim_switch_selftest(uint32_t rounds) {
    coroutine_t main_context, co[2];
    memset(&main_context, 0, sizeof main_context);
    ping_t p[2];
    for (int i = 0; i < 2; i++) {
        p[i] = (ping_t){&co[i], &main_context, rounds, (uint64_t)i * 1000u, (double)i * 100.0};
        if (coroutine_create(&co[i], ping, &p[i]) != 0) {
            return 0;
        }
    }
    for (uint32_t round = 0; round < rounds + 1; round++) {
        coroutine_switch(&main_context, &co[0]);
        coroutine_switch(&main_context, &co[1]);
    }
    double expected = 10.0 + 6.875 * rounds;
    bool right = p[0].real == expected && p[1].real == expected + 500.0;
    uint64_t sum = p[0].integer ^ mix64(p[1].integer);
    coroutine_destroy(&co[0]);
    coroutine_destroy(&co[1]);
    return right ? sum | 1u : 0;
}
