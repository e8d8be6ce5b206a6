/* lint.c: what a real board would have punished, noted once for each place that does it. */
#include "internal.h"

void board_lint(board_t *b, uint32_t kind, uint32_t address, uint32_t value)
{
    for (uint32_t i = 0; i < b->lint_count; i++) {
        sim_lint_t *l = &b->lints[i];
        if (l->kind == kind && l->pc == b->block_pc && l->address == address) {
            l->count++;
            return;
        }
    }
    if (b->lint_count < LINTS_MAX) {
        uint64_t now = b->state == SIM_RUNNING ? board_now(b) : b->sim->now_ps;
        b->lints[b->lint_count++] = (sim_lint_t){now, kind, b->block_pc, address, value, 1};
    }
}
