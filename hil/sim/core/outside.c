/* outside.c: participants that are not boards: pads that the caller drives between two calls of sim_run.
 *
 * Such a participant has an index like a board, after the boards, so that at equal times boards come first. It never
 * runs: its key stays NEVER. Who plays it: hil/sim/simulation.py. */
#include "internal.h"

int sim_outside(sim_t *sim, uint32_t board)
{
    if (board >= sim->board_count || sim->boards[board].state != SIM_OFF)
        return -1;
    board_t *b = &sim->boards[board];
    b->state = SIM_OUTSIDE;
    b->out_mask = b->latch = b->pull_up = b->pull_down = 0;
    b->driven_high = 0; /* no adapter at its UART */
    pins_power(b, sim->now_ps);
    return 0;
}

void sim_outside_drive(sim_t *sim, uint32_t board, uint64_t outputs, uint64_t levels, uint64_t pull_up,
                       uint64_t pull_down)
{
    board_t *b = &sim->boards[board];
    uint64_t changed = (outputs ^ b->out_mask) | ((levels ^ b->latch) & outputs) | (pull_up ^ b->pull_up) |
                       (pull_down ^ b->pull_down);
    b->out_mask = outputs;
    b->latch = levels;
    b->pull_up = pull_up;
    b->pull_down = pull_down;
    pins_update(b, changed, sim->now_ps);
}

void sim_outside_watch(sim_t *sim, uint32_t board, uint64_t pins)
{
    board_t *b = &sim->boards[board];
    b->watched = pins;
    b->noted = b->traced | pins;
}
