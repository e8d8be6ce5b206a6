/* v3d.c: the registers of the VideoCore's 3D block, its scheduler of user programs, and their time.
 *
 * Source: the guide's sections 8 and 10; V3D_DBCFG and its neighbours from Broadcom's published register headers.
 *
 * Time: all QPUs execute one instruction per slot of four cycles at 250 MHz, in order of their number. They run when
 * the board's ARM touches a peripheral or its window ends, up to the ARM's time. A board that sleeps over SRQCS
 * or DBQITC lets them run ahead to the next change of either, which the ARM sees at that change's own time. */
#include <stdlib.h>
#include <string.h>

#include "qpu.h"

#define V3D_BASE    0x20C00000u
#define SLOT_PS     16000u /* four cycles at 250 MHz */
#define SLOT_CYCLES 4u
#define AHEAD_PS    (1000ull * PS_PER_US) /* how far at most QPUs run ahead of a sleeping ARM */
#define NOT_POWERED 0xDEADBEEFu           /* what a read of the block gives while it is off */
#define IDENT0      0x02443356u
#define IDENT1 0xC1102431u /* 12 KB VPM, 16 semaphores, 2 TMUs and 4 QPUs in each of 3 slices, revision 1 */
#define IDENT2 0x00000121u
#define VPM_RESERVED 16u /* 256-byte units: the 64 rows; what the firmware leaves on QPU enable */

enum {
    V3D_IDENT0 = 0x000,
    V3D_IDENT1 = 0x004,
    V3D_IDENT2 = 0x008,
    V3D_SCRATCH = 0x010,
    V3D_L2CACTL = 0x020,
    V3D_SLCACTL = 0x024,
    V3D_INTCTL = 0x030,
    V3D_INTENA = 0x034,
    V3D_INTDIS = 0x038,
    V3D_SQRSV0 = 0x410,
    V3D_SQRSV1 = 0x414,
    V3D_SQCNTL = 0x418,
    V3D_SRQPC = 0x430,
    V3D_SRQUA = 0x434,
    V3D_SRQUL = 0x438,
    V3D_SRQCS = 0x43C,
    V3D_VPACNTL = 0x500,
    V3D_VPMBASE = 0x504,
    V3D_PCTRC = 0x670,
    V3D_PCTRE = 0x674,
    V3D_PCTR0 = 0x680,
    V3D_PCTRS15 = 0x6FC,
    V3D_DBCFG = 0xE00,
    V3D_DBQITE = 0xE2C,
    V3D_DBQITC = 0xE30,
    V3D_DBGE = 0xF00,
    V3D_FDBGS = 0xF10,
    V3D_ERRSTAT = 0xF20
};

/* ---- programs ----------------------------------------------------------------------------------------- */

static uint64_t slot_time(const v3d_t *v, uint64_t slot)
{
    return v->base_ps + (uint64_t)(((unsigned __int128)slot * v->slot_ps_q16) >> 16);
}

static bool may_use(const v3d_t *v, uint32_t number)
{
    return !(v->sqrsv[number / 8] >> number % 8 * 4u & 1u);
}

/* Gives waiting requests to idle QPUs, the lowest number first. */
static void dispatch(v3d_t *v)
{
    for (uint32_t i = 0; i < QPUS && v->status.queued > 0; i++) {
        if (v->qpu[i].running || !may_use(v, i))
            continue;
        qpu_start(&v->qpu[i], &v->queue[v->queue_head]);
        v->queue_head = (v->queue_head + 1) % REQUESTS_MAX;
        v->status.queued--;
        v->changed = v->busy = true;
        v->stuck = false;
    }
}

static void finish_transfers(v3d_t *v, qpu_t *q)
{
    if (q->load.busy && q->load.due_slot <= v->slot)
        vpm_finish_load(v, q);
    if (q->store.busy && q->store.due_slot <= v->slot)
        vpm_finish_store(v, q);
}

/* One slot of all QPUs; false when a program was refused. */
static bool run_slot(v3d_t *v)
{
    uint32_t running = 0, executed = 0, transfers = 0;
    for (uint32_t i = 0; i < QPUS; i++) {
        qpu_t *q = &v->qpu[i];
        if (q->load.busy || q->store.busy)
            finish_transfers(v, q);
        if (q->running) {
            int step = qpu_step(v, q);
            if (step == STEP_REFUSED)
                return false;
            running++;
            executed += step == STEP_DONE;
        }
        transfers += q->load.busy || q->store.busy;
    }
    v->slot++;
    v->busy_cycles += (uint64_t)running * SLOT_CYCLES;
    v->instruction_cycles += (uint64_t)executed * SLOT_CYCLES;
    v->board->counters.qpu_instructions += executed;
    if (v->changed)
        dispatch(v);
    v->busy = running > 0 || transfers > 0;
    if (running > 0 && executed == 0 && transfers == 0) {
        v->stuck = true;
        for (uint32_t i = 0; i < QPUS; i++)
            if (v->qpu[i].running)
                board_lint(v->board, SIM_LINT_QPU_STUCK, v->qpu[i].pc, i);
    }
    return true;
}

static void refuse(v3d_t *v)
{
    v->busy = false;
    v->board->refuse(v->board);
}

/* Runs until a time, or the end of the slot in which the status changes. */
static void run_until(v3d_t *v, uint64_t until_ps)
{
    while (v->busy && !v->stuck && !v->event && slot_time(v, v->slot) < until_ps) {
        if (!run_slot(v)) {
            refuse(v);
            return;
        }
        if (v->changed) {
            v->changed = false;
            v->event = true;
            v->event_ps = slot_time(v, v->slot);
        }
    }
}

static void show(v3d_t *v)
{
    v->shown = v->status;
    v->event = v->changed = false;
}

void v3d_advance(board_t *b, uint64_t now_ps)
{
    v3d_t *v = b->v3d;
    do {
        if (v->event) {
            if (now_ps < v->event_ps)
                return;
            show(v);
        }
        run_until(v, now_ps);
    } while (v->event);
}

uint64_t v3d_next_ps(board_t *b)
{
    v3d_t *v = b->v3d;
    if (v == NULL)
        return NEVER;
    if (!v->event)
        run_until(v, slot_time(v, v->slot) + AHEAD_PS);
    if (v->event)
        return v->event_ps;
    return v->busy && !v->stuck ? slot_time(v, v->slot) : NEVER;
}

static void request(v3d_t *v, uint32_t code, uint64_t now_ps)
{
    v->status.made++;
    if (v->status.overflow || v->status.queued == REQUESTS_MAX) {
        v->status.overflow = true;
        board_lint(v->board, SIM_LINT_V3D_QUEUE, code, REQUESTS_MAX);
        return;
    }
    uint32_t length = v->length_set ? v->srqul : 1024u;
    v->queue[(v->queue_head + v->status.queued++) % REQUESTS_MAX] = (request_t){code, v->srqua, length};
    if (!v->busy || v->stuck) { /* the slots begin anew */
        v->base_ps = now_ps;
        v->slot = 0;
    }
    dispatch(v);
}

/* ---- registers ---------------------------------------------------------------------------------------- */

static uint32_t status_read(const v3d_t *v)
{
    const v3d_status_t *s = &v->shown;
    return (s->done & 0xFFu) << 16 | (s->made & 0xFFu) << 8 | (uint32_t)s->overflow << 7 | s->queued;
}

static void status_write(v3d_t *v, uint32_t value)
{
    if (value & 1u)
        v->status.queued = 0;
    if (value & 1u << 7)
        v->status.overflow = false;
    if (value & 1u << 8)
        v->status.made = 0;
    if (value & 1u << 16)
        v->status.done = 0;
}

static v3d_t *v3d_of(board_t *b, uint32_t offset, uint32_t value)
{
    if (b->v3d != NULL && b->v3d->enabled)
        return b->v3d;
    board_lint(b, SIM_LINT_V3D_OFF, V3D_BASE + offset, value);
    return NULL;
}

static uint32_t register_read(board_t *b, const v3d_t *v, uint32_t offset)
{
    switch (offset) {
    case V3D_IDENT0:
        return IDENT0;
    case V3D_IDENT1:
        return IDENT1;
    case V3D_IDENT2:
        return IDENT2;
    case V3D_SCRATCH:
        return v->scratch;
    case V3D_L2CACTL:
        return v->l2_enabled;
    case V3D_SQRSV0:
    case V3D_SQRSV1:
        return v->sqrsv[(offset - V3D_SQRSV0) / 4];
    case V3D_SQCNTL:
        return v->sqcntl;
    case V3D_SRQUA:
        return v->srqua;
    case V3D_SRQUL:
        return v->srqul;
    case V3D_SRQCS:
        return status_read(v);
    case V3D_VPACNTL:
        return v->vpacntl;
    case V3D_VPMBASE:
        return v->vpm_reserved;
    case V3D_PCTRE:
        return v->counters_on;
    case V3D_DBQITE:
        return v->interrupt_enables;
    case V3D_DBQITC:
        return v->shown.interrupts;
    case V3D_INTCTL: /* of the 3D pipeline, which does nothing */
    case V3D_INTENA:
    case V3D_INTDIS:
    case V3D_SLCACTL:
    case V3D_DBCFG:
    case V3D_ERRSTAT:
        return 0;
    default:
        if (offset < V3D_DBGE || offset > V3D_FDBGS)
            board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, V3D_BASE + offset, 0);
        return 0;
    }
}

uint32_t v3d_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    v3d_t *v = v3d_of(b, offset, 0);
    if (v == NULL)
        return NOT_POWERED;
    if (offset >= V3D_PCTR0 && offset <= V3D_PCTRS15) {
        uint32_t n = (offset - V3D_PCTR0) / 8u;
        return offset & 4u ? v->counter[n].source : v3d_counter_value(v, n, now_ps);
    }
    return register_read(b, v, offset);
}

static void register_write(board_t *b, v3d_t *v, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case V3D_SCRATCH:
        v->scratch = value;
        break;
    case V3D_L2CACTL: /* there are no caches here: nothing is ever stale */
        v->l2_enabled = value & 2u ? false : v->l2_enabled || (value & 1u);
        break;
    case V3D_SQRSV0:
    case V3D_SQRSV1:
        v->sqrsv[(offset - V3D_SQRSV0) / 4] = value;
        break;
    case V3D_SQCNTL:
        v->sqcntl = value & 0xFu;
        break;
    case V3D_SRQUA:
        v->srqua = value;
        break;
    case V3D_SRQUL:
        v->srqul = value & 0xFFFu;
        v->length_set = true;
        break;
    case V3D_SRQCS:
        status_write(v, value);
        break;
    case V3D_VPACNTL:
        v->vpacntl = value & 0x3FFFu;
        break;
    case V3D_VPMBASE:
        v->vpm_reserved = value & 31u;
        break;
    case V3D_DBQITE:
        v->interrupt_enables = value & 0xFFFFu;
        break;
    case V3D_DBQITC:
        v->status.interrupts &= ~value;
        break;
    case V3D_INTCTL:
    case V3D_INTENA:
    case V3D_INTDIS:
    case V3D_SLCACTL:
    case V3D_DBCFG:
        break;
    default:
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, V3D_BASE + offset, value);
        break;
    }
}

void v3d_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    v3d_t *v = v3d_of(b, offset, value);
    if (v == NULL)
        return;
    if (offset >= V3D_PCTR0 && offset <= V3D_PCTRS15) {
        v3d_counter_write(v, offset - V3D_PCTR0, value, now_ps);
    } else if (offset == V3D_SRQPC) {
        request(v, value, now_ps);
    } else if (offset == V3D_PCTRC) {
        for (uint32_t n = 0; n < COUNTERS; n++)
            if (value >> n & 1u)
                v3d_counter_set(v, n, 0, now_ps);
    } else if (offset == V3D_PCTRE) {
        v3d_counters_enable(v, value, now_ps);
    } else {
        register_write(b, v, offset, value);
    }
    if (!v->event)
        show(v);
}

/* ---- power -------------------------------------------------------------------------------------------- */

static void fill_with_noise(v3d_t *v)
{
    uint64_t seed = v->board->sim->seed + v->board->index;
    for (uint32_t i = 0; i < QPUS; i++) {
        uint32_t *words = (uint32_t *)&v->qpu[i].acc;
        for (size_t k = 0; k < offsetof(qpu_t, before_a) / 4; k++)
            words[k] = (uint32_t)mix64(seed * 0x9E3779B97F4A7C15ull + i * 4096u + k);
        v->qpu[i].number = i;
    }
    for (uint32_t k = 0; k < VPM_ROWS * LANES; k++)
        v->vpm[k / LANES][k % LANES] = (uint32_t)mix64(seed + 0x10000u + k);
}

uint32_t v3d_enable(board_t *b, bool on)
{
    if (b->v3d == NULL) {
        void *memory = NULL;
        if (posix_memalign(&memory, sizeof(lanes_t), sizeof(v3d_t)) != 0)
            return 1;
        b->v3d = memory;
        memset(b->v3d, 0, sizeof *b->v3d);
    }
    v3d_t *v = b->v3d;
    if (on && !v->enabled) {
        memset(v, 0, sizeof *v);
        v->board = b;
        v->mutex = -1;
        v->vpm_reserved = VPM_RESERVED;
        v->start_ps = board_now(b);
        v->slot_ps_q16 = (uint64_t)((double)SLOT_PS * 65536.0 / (1.0 + b->setup.drift_ppm * 1e-6) + 0.5);
        fill_with_noise(v);
    }
    v->enabled = on;
    v->busy = v->busy && on;
    return 0;
}

void v3d_reset(board_t *b)
{
    free(b->v3d);
    b->v3d = NULL;
}
