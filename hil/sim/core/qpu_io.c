/* qpu_io.c: the I/O registers of a QPU: uniforms, memory lookups, VPM, mutex, special functions, interrupts.
 *
 * Source: the guide's "Register-Mapped Input/Output", section 4 and table 14. */
#include <string.h>

#include "qpu.h"

enum {
    UNIFORM_GAP = 2,          /* instructions between a new uniforms address and the first uniform */
    SFU_DELAY = 2,            /* instructions that may not touch r4 after the write to the unit */
    UNIFORMS_UNLIMITED = 1024 /* a length from here on is none */
};

static const char *read_uniform(v3d_t *v, qpu_t *q, lanes_t *out)
{
    uint32_t value;
    const uint8_t *memory = v3d_memory(v, q->uniform & ~3u, 4);
    if (q->uniforms_left == 0)
        return "a uniform is read past the end of the stream (SRQUA 0, or the length that SRQUL gives)";
    if (memory == NULL)
        return "a uniform is read where there is no RAM";
    memcpy(&value, memory, 4);
    q->uniform += 4;
    q->uniforms_left -= q->uniforms_left < UNIFORMS_UNLIMITED;
    for (int k = 0; k < QUADS; k++)
        out->q[k] = (four_t){value, value, value, value};
    return NULL;
}

static void numbers(const qpu_t *q, bool side_a, lanes_t *out)
{
    for (uint32_t k = 0; k < LANES; k++)
        out->e[k] = side_a ? k : q->number;
}

static const char *read_vpm(v3d_t *v, qpu_t *q, lanes_t *out)
{
    if (q->vpm_reads == 0)
        return "a VPM read beyond the vectors that its setup asked for";
    if (q->vpm_wait > 0)
        qpu_find(v, q, SIM_LINT_QPU_VPM_EARLY, q->vpm_wait);
    vpm_read(v, q, out);
    return NULL;
}

const char *qpu_read_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, bool again, lanes_t *out,
                        const lanes_t *out_a)
{
    if (again && (address == AT_UNIFORM || address == AT_VPM)) {
        *out = *out_a;
        return NULL;
    }
    switch (address) {
    case AT_UNIFORM:
        return read_uniform(v, q, out);
    case AT_VPM:
        return read_vpm(v, q, out);
    case AT_DMA_BUSY:
        for (int k = 0; k < LANES; k++)
            out->e[k] = side_a ? q->load.busy : q->store.busy;
        return NULL;
    case AT_MUTEX:
        v->mutex = (int)q->number;
        break;
    default: /* what has no data of its own gives the element's or the QPU's number */
        break;
    }
    numbers(q, side_a, out);
    return NULL;
}

static const char *write_tmu(v3d_t *v, qpu_t *q, uint32_t unit, const lanes_t *addresses)
{
    tmu_fifo_t *fifo = &q->tmu[unit];
    if (fifo->count == TMU_DEPTH)
        return "a ninth request to a TMU whose results are not taken: its queue holds eight";
    lanes_t *out = &fifo->data[(fifo->head + fifo->count) % TMU_DEPTH];
    for (int k = 0; k < LANES; k++) {
        const uint8_t *memory = v3d_memory(v, addresses->e[k] & ~3u, 4);
        if (memory == NULL)
            return "a TMU lookup where there is no RAM";
        memcpy(&out->e[k], memory, 4);
    }
    fifo->count++;
    v->tmu_quads += QUADS;
    return NULL;
}

static void write_r5(qpu_t *q, bool side_a, const lanes_t *value)
{
    for (int k = 0; k < LANES; k++)
        q->acc[5].e[k] = value->e[side_a ? k & ~3 : 0];
    q->last_acc |= 1u << 5;
}

static const char *write_setup(v3d_t *v, qpu_t *q, bool side_a, uint32_t value)
{
    if (value >> 30 == 1)
        return "a VPM setup of reserved type";
    if (value >> 30 == 0 && (value >> 8 & 3u) == 3u)
        return "a VPM setup of reserved size";
    if (!side_a)
        vpm_setup_write(q, value);
    else if (!vpm_setup_read(q, value))
        qpu_find(v, q, SIM_LINT_QPU_VPM_QUEUE, value);
    return NULL;
}

const char *qpu_write_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, const lanes_t *value)
{
    switch (address) {
    case TO_TMU_NOSWAP:
        return NULL;
    case TO_ACC5:
        write_r5(q, side_a, value);
        return NULL;
    case TO_HOST_INTERRUPT:
        if (v->interrupt_enables >> q->number & 1u) {
            v->changed |= !(v->status.interrupts >> q->number & 1u);
            v->status.interrupts |= 1u << q->number;
        }
        return NULL;
    case TO_UNIFORM_ADDRESS:
        q->uniform = value->e[0];
        q->uniform_wait = UNIFORM_GAP + 1;
        return NULL;
    case TO_VPM:
        vpm_write(v, q, value);
        return NULL;
    case TO_SETUP:
        return write_setup(v, q, side_a, value->e[0]);
    case TO_DMA_ADDRESS:
        return side_a ? vpm_start_load(v, q, value->e[0]) : vpm_start_store(v, q, value->e[0]);
    case TO_MUTEX:
        if (v->mutex != (int)q->number)
            return "a release of the mutex by a QPU that does not hold it";
        v->mutex = -1;
        return NULL;
    case TO_TMU0_S:
        return write_tmu(v, q, 0, value);
    case TO_TMU1_S:
        return write_tmu(v, q, 1, value);
    default:
        q->sfu_wait = SFU_DELAY + 1;
        return qpu_sfu(address, &q->sfu, value);
    }
}

const char *qpu_load_r4(qpu_t *q, const instruction_t *ins)
{
    if (ins->sig != SIG_LOAD_TMU0 && ins->sig != SIG_LOAD_TMU1)
        return NULL;
    tmu_fifo_t *fifo = &q->tmu[ins->sig - SIG_LOAD_TMU0];
    if (fifo->count == 0)
        return "a load from a TMU that has no request: the QPU would wait for ever";
    q->acc[4] = fifo->data[fifo->head];
    fifo->head = (fifo->head + 1) % TMU_DEPTH;
    fifo->count--;
    return NULL;
}
