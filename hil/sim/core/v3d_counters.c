/* v3d_counters.c: the sixteen performance counters of the 3D block.
 *
 * Source: the guide's section 10, tables 82 to 86. */
#include "qpu.h"

enum {
    CYCLE_PS = 4000 /* 250 MHz */
};
#define V3D_BASE  0x20C00000u
#define V3D_PCTR0 0x680u

/* Of table 82. The sources below these are the 3D pipeline's and rightly stay 0, as do scoreboard and varyings. */
enum {
    SOURCE_IDLE = 13,
    SOURCE_EXECUTING = 16,
    SOURCE_SCOREBOARD = 18,
    SOURCE_VARYINGS = 19,
    SOURCE_TMU_QUADS = 24
};

static bool counted(uint32_t source)
{
    return source <= SOURCE_EXECUTING || source == SOURCE_SCOREBOARD || source == SOURCE_VARYINGS ||
           source == SOURCE_TMU_QUADS;
}

static uint64_t source_count(const v3d_t *v, uint32_t source, uint64_t now_ps)
{
    uint64_t cycles = (now_ps - v->start_ps) / CYCLE_PS * QPUS;
    switch (source) {
    case SOURCE_IDLE:
        return cycles > v->busy_cycles ? cycles - v->busy_cycles : 0;
    case SOURCE_EXECUTING:
        return v->instruction_cycles;
    case SOURCE_TMU_QUADS:
        return v->tmu_quads;
    default:
        return 0;
    }
}

uint32_t v3d_counter_value(const v3d_t *v, uint32_t n, uint64_t now_ps)
{
    const counter_t *c = &v->counter[n];
    uint64_t since = v->counters_on >> n & 1u ? source_count(v, c->source, now_ps) - c->start : 0;
    return c->value + (uint32_t)since;
}

void v3d_counter_set(v3d_t *v, uint32_t n, uint32_t value, uint64_t now_ps)
{
    v->counter[n].value = value;
    v->counter[n].start = source_count(v, v->counter[n].source, now_ps);
}

void v3d_counters_enable(v3d_t *v, uint32_t mask, uint64_t now_ps)
{
    for (uint32_t n = 0; n < COUNTERS; n++)
        v3d_counter_set(v, n, v3d_counter_value(v, n, now_ps), now_ps);
    v->counters_on = mask & 0xFFFFu;
}

void v3d_counter_write(v3d_t *v, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    uint32_t n = offset / 8u;
    if (!(offset & 4u)) {
        v3d_counter_set(v, n, value, now_ps);
        return;
    }
    uint32_t sum = v3d_counter_value(v, n, now_ps);
    v->counter[n].source = value & 31u;
    v3d_counter_set(v, n, sum, now_ps);
    if (!counted(value & 31u))
        board_lint(v->board, SIM_LINT_V3D_COUNTER, V3D_BASE + V3D_PCTR0 + offset, value & 31u);
}
