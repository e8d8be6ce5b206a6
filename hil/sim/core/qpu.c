/* qpu.c: one QPU executes one instruction: 16 lanes, four cycles.
 *
 * Source: the guide's sections 3 and 4. Owns what belongs to one QPU; what they share is in v3d.c and vpm.c.
 * Register files: a register that an instruction writes shows its old value to the next one (no forwarding paths).
 * Rules whose breach the guide calls undefined are refused by name, as is what is not modelled. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "qpu.h"

enum {
    NO_REGISTER = 0xFF,
    UNIFORM_GAP = 2, /* instructions between a new uniforms address and the first uniform */
    SFU_DELAY = 2,   /* instructions that may not touch r4 after the write to the unit */
    END_INSTRUCTIONS = END_SLOTS + 1,
    RESERVED_AT_END = 14,
    UNIFORMS_UNLIMITED = 1024
};

int qpu_refuse(v3d_t *v, const qpu_t *q, const char *format, ...)
{
    struct sim *sim = v->board->sim;
    uint64_t word = 0;
    uint8_t *code = v3d_memory(v, q->pc, INSTRUCTION_BYTES);
    if (code != NULL)
        memcpy(&word, code, sizeof word);
    int used = snprintf(sim->error, sizeof sim->error,
                        "board %u: QPU %u, instruction 0x%016llx at 0x%08x: ", v->board->index, q->number,
                        (unsigned long long)word, q->pc);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->error + used, sizeof sim->error - (size_t)used, format, arguments);
    va_end(arguments);
    v->refused = true;
    return STEP_REFUSED;
}

static void find(v3d_t *v, const qpu_t *q, uint32_t kind, uint32_t value)
{
    board_lint(v->board, kind, q->pc, value);
}

void qpu_start(v3d_t *v, qpu_t *q, const request_t *request)
{
    (void)v;
    q->running = true;
    q->pc = request->code;
    q->branch_slots = q->end_slots = q->sfu_wait = q->uniform_wait = 0;
    q->last_a = q->last_b = NO_REGISTER;
    q->last_acc = 0;
    q->vpm_reads = 0;
    q->uniform = request->uniforms;
    q->uniforms_left = request->uniforms == 0 ? 0 : request->length;
}

/* ---- fetch -------------------------------------------------------------------------------------------- */

static const instruction_t *fetch(v3d_t *v, qpu_t *q)
{
    uint64_t word;
    const uint8_t *code = v3d_memory(v, q->pc, INSTRUCTION_BYTES);
    if (code == NULL || (q->pc & 7u) != 0) {
        qpu_refuse(v, q, code ? "the program counter is not a multiple of 8" : "no RAM there to fetch from");
        return NULL;
    }
    memcpy(&word, code, sizeof word);
    instruction_t *ins = &v->cache[q->pc / INSTRUCTION_BYTES % CACHED_INSTRUCTIONS];
    if (ins->word != word || ins->address != q->pc)
        qpu_decode(ins, q->pc, word);
    if (ins->refusal != NULL) {
        qpu_refuse(v, q, "%s", ins->refusal);
        return NULL;
    }
    return ins;
}

/* ---- before anything happens: does it have to wait, may it run? ---------------------------------------- */

static bool reads(const instruction_t *ins, uint32_t address)
{
    return ins->read_a == address || ins->read_b == address;
}

static bool writes(const instruction_t *ins, uint32_t address)
{
    return ins->to_add == address || ins->to_mul == address;
}

/* Whether the pipe that writes this I/O address does so by way of file A (load side) or B (store side). */
static bool writes_side(const instruction_t *ins, uint32_t address, bool side_a)
{
    return (ins->to_add == address && side_a == !ins->swap) ||
           (ins->to_mul == address && side_a == ins->swap);
}

static bool semaphore_waits(const v3d_t *v, const instruction_t *ins)
{
    uint8_t count = v->semaphore[ins->value & 15u];
    return ins->value & 16u ? count == 0 : count == 15;
}

static bool must_wait(const v3d_t *v, const qpu_t *q, const instruction_t *ins)
{
    if (ins->kind == KIND_SEMAPHORE)
        return semaphore_waits(v, ins);
    if (reads(ins, AT_MUTEX) && v->mutex >= 0)
        return true;
    if (q->load.busy && (ins->read_a == AT_DMA_WAIT || writes_side(ins, TO_DMA_ADDRESS, true)))
        return true;
    if (q->store.busy && (ins->read_b == AT_DMA_WAIT || writes_side(ins, TO_DMA_ADDRESS, false)))
        return true;
    return false;
}

static bool touches_vpm(const instruction_t *ins)
{
    for (uint32_t at = AT_VPM; at <= AT_DMA_WAIT; at++)
        if (reads(ins, at) || writes(ins, at))
            return true;
    return false;
}

static const char *end_rule(const qpu_t *q, const instruction_t *ins)
{
    if (ins->kind == KIND_BRANCH)
        return "a branch among the last three instructions of a program";
    if (reads(ins, AT_UNIFORM))
        return "a uniform read among the last three instructions of a program, which the guide forbids";
    if (touches_vpm(ins))
        return "a VPM or DMA access among the last three instructions of a program, which the guide forbids";
    if (reads(ins, RESERVED_AT_END) || writes(ins, RESERVED_AT_END))
        return "register 14 of a file among the last three instructions of a program, which the guide "
               "forbids";
    bool first = q->end_slots == END_INSTRUCTIONS;
    return first && (ins->to_add < 32 || ins->to_mul < 32)
               ? "a program end that writes a register file, which the guide forbids"
               : NULL;
}

static const char *rotation_rule(const qpu_t *q, const instruction_t *ins)
{
    if (ins->op_mul == MUL_NOP)
        return NULL;
    if (ins->rotate == 16 && (q->last_acc & 1u << 5))
        return "a rotation by r5 right after a write to r5, which the guide forbids";
    if (q->last_acc & (1u << ins->mul_a | 1u << ins->mul_b))
        return "a rotation of an accumulator right after a write to it, which the guide forbids";
    return NULL;
}

/* Rules about what stands where; NULL when all are kept. */
static const char *broken_rule(const qpu_t *q, const instruction_t *ins)
{
    const char *text = NULL;
    bool loads_r4 = ins->sig == SIG_LOAD_TMU0 || ins->sig == SIG_LOAD_TMU1;
    bool starts_sfu = (ins->to_add >= TO_SFU_RECIP && ins->to_add <= TO_SFU_LOG) ||
                      (ins->to_mul >= TO_SFU_RECIP && ins->to_mul <= TO_SFU_LOG);
    if (q->end_slots > 0)
        text = end_rule(q, ins);
    if (text == NULL && q->branch_slots > 0 && ins->kind == KIND_BRANCH)
        text = "a branch in the delay slots of a branch";
    if (text == NULL && q->branch_slots > 0 && ins->sig == SIG_END)
        text = "a program end in the delay slots of a branch";
    if (text == NULL && ins->rotate != 0)
        text = rotation_rule(q, ins);
    if (text == NULL && q->sfu_wait > 0 && (ins->uses_r4 || loads_r4 || starts_sfu))
        text = "r4 is touched within two instructions of a special function, which the guide forbids";
    if (text == NULL && q->uniform_wait > 0 && reads(ins, AT_UNIFORM))
        text = "a uniform is read within two instructions of a new uniforms address, which the guide forbids";
    return text;
}

/* ---- operands ----------------------------------------------------------------------------------------- */

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
        find(v, q, SIM_LINT_QPU_VPM_EARLY, q->vpm_wait);
    vpm_read(v, q, out);
    return NULL;
}

/* An I/O read. VPM and uniform reads of both files at once give one value to both (out_a holds it then). */
static const char *read_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, bool again, lanes_t *out,
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

static const lanes_t *file_operand(v3d_t *v, qpu_t *q, uint32_t number, bool side_a)
{
    if (number != (side_a ? q->last_a : q->last_b))
        return side_a ? &q->file_a[number] : &q->file_b[number];
    find(v, q, SIM_LINT_QPU_HAZARD, number + (side_a ? 0u : 32u));
    return side_a ? &q->before_a : &q->before_b;
}

typedef struct {
    const lanes_t *source[8]; /* by mux code */
    lanes_t a, b, unpacked, rotated_a, rotated_b;
} operands_t;

static void rotate(lanes_t *out, const lanes_t *in, uint32_t by)
{
    for (uint32_t k = 0; k < LANES; k++)
        out->e[(k + by) % LANES] = in->e[k];
}

static const char *read_operands(v3d_t *v, qpu_t *q, const instruction_t *ins, operands_t *o)
{
    const char *text = NULL;
    for (int k = 0; k < 6; k++)
        o->source[k] = &q->acc[k];
    o->source[MUX_A] = &o->a;
    o->source[MUX_B] = ins->immediate ? &ins->literal : &o->b;
    if (ins->read_a < 32)
        o->source[MUX_A] = file_operand(v, q, ins->read_a, true);
    else if (ins->read_a != AT_NOP)
        text = read_io(v, q, ins->read_a, true, false, &o->a, NULL);
    if (ins->read_b < 32)
        o->source[MUX_B] = file_operand(v, q, ins->read_b, false);
    else if (ins->read_b != AT_NOP && text == NULL)
        text = read_io(v, q, ins->read_b, false, ins->read_a == ins->read_b, &o->b, &o->a);
    if (ins->unpack != 0) {
        uint32_t mux = ins->pm ? MUX_R4 : MUX_A;
        qpu_unpack(ins->unpack, ins->unpack_float, &o->unpacked, o->source[mux]);
        o->source[mux] = &o->unpacked;
    }
    return text;
}

/* ---- results ------------------------------------------------------------------------------------------ */

static void condition_mask(const qpu_t *q, uint32_t condition, lanes_t *mask)
{
    const lanes_t *flag = condition <= COND_ZC ? &q->zero : condition <= COND_NC ? &q->negative : &q->carry;
    uint32_t invert = condition & 1u ? UINT32_MAX : 0u;
    for (int k = 0; k < QUADS; k++)
        mask->q[k] = flag->q[k] ^ invert;
}

static void blend(lanes_t *into, const lanes_t *value, const lanes_t *mask)
{
    for (int k = 0; k < QUADS; k++)
        into->q[k] = (mask->q[k] & value->q[k]) | (~mask->q[k] & into->q[k]);
}

static bool all_set(const lanes_t *mask)
{
    four_t all = mask->q[0] & mask->q[1] & mask->q[2] & mask->q[3];
    return all[0] & all[1] & all[2] & all[3] & 1u;
}

static bool any_set(const lanes_t *mask)
{
    four_t any = mask->q[0] | mask->q[1] | mask->q[2] | mask->q[3];
    return (any[0] | any[1] | any[2] | any[3]) & 1u;
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
        find(v, q, SIM_LINT_QPU_VPM_QUEUE, value);
    return NULL;
}

static const char *write_io(v3d_t *v, qpu_t *q, uint32_t address, bool side_a, const lanes_t *value)
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

typedef struct {
    const lanes_t *value, *mask; /* mask NULL: all lanes */
    uint32_t address;
    bool side_a, from_mul, is_float;
    uint32_t overflow;
} result_t;

static const char *packed(const instruction_t *ins, const result_t *r, lanes_t *out)
{
    if (ins->pm)
        return qpu_pack_color(ins->pack, out, r->value);
    if (r->overflow != 0 && ins->pack != 8)
        return "a pack of a sum that leaves 32 bits is not modelled, except for saturation to 32 bits";
    qpu_pack(ins->pack, r->is_float, out, r->value);
    return NULL;
}

/* Stores a result, packed where the instruction says so: by file A's pack unit, or by the mul pipe's (pm). */
static const char *write_back(v3d_t *v, qpu_t *q, const instruction_t *ins, const result_t *r)
{
    lanes_t *target = NULL, merged;
    const lanes_t *value = r->value;
    const char *text = NULL;
    if (r->address < 32)
        target = r->side_a ? &q->file_a[r->address] : &q->file_b[r->address];
    else if (r->address <= TO_ACC3)
        target = &q->acc[r->address - TO_ACC0];
    if (ins->pack != 0 && (ins->pm ? r->from_mul : r->side_a && r->address < 32)) {
        if (target != NULL)
            merged = *target;
        else
            memset(&merged, 0, sizeof merged);
        text = packed(ins, r, &merged);
        value = &merged;
    }
    if (target == NULL) {
        if (r->mask != NULL && !all_set(r->mask))
            return "an I/O write whose condition does not hold in all lanes is not modelled";
        return text ? text : write_io(v, q, r->address, r->side_a, value);
    }
    if (r->address < 32) {
        *(r->side_a ? &q->before_a : &q->before_b) = *target;
        *(r->side_a ? &q->last_a : &q->last_b) = (uint8_t)r->address;
    } else {
        q->last_acc |= (uint8_t)(1u << (r->address - TO_ACC0));
    }
    if (r->mask == NULL)
        *target = *value;
    else
        blend(target, value, r->mask);
    return text;
}

static void set_flags(qpu_t *q, const lanes_t *value, const lanes_t *carry, const lanes_t *mask)
{
    lanes_t zero, negative;
    for (int k = 0; k < QUADS; k++) {
        zero.q[k] = (four_t)(value->q[k] == 0);
        negative.i[k] = value->i[k] >> 31;
    }
    if (mask == NULL) {
        q->zero = zero;
        q->negative = negative;
        q->carry = *carry;
    } else { /* only the lanes in which the operation takes place */
        blend(&q->zero, &zero, mask);
        blend(&q->negative, &negative, mask);
        blend(&q->carry, carry, mask);
    }
}

/* ---- execution ---------------------------------------------------------------------------------------- */

typedef struct {
    lanes_t add, mul, mask_add, mask_mul, carry;
    uint32_t overflow;
} pipes_t;

static void run_mul(const qpu_t *q, const instruction_t *ins, operands_t *o, pipes_t *p)
{
    const lanes_t *a = o->source[ins->mul_a], *b = o->source[ins->mul_b];
    if (ins->rotate != 0) {
        uint32_t by = ins->rotate == 16 ? q->acc[5].e[0] & 15u : ins->rotate;
        rotate(&o->rotated_a, a, by);
        rotate(&o->rotated_b, b, by);
        a = &o->rotated_a;
        b = &o->rotated_b;
    }
    qpu_mul(ins->op_mul, &p->mul, a, b);
    if (ins->set_flags && ins->flags_from_mul)
        qpu_mul_carry(ins->op_mul, &p->carry, a, b);
}

static void run_add(const instruction_t *ins, const operands_t *o, pipes_t *p)
{
    const lanes_t *a = o->source[ins->add_a], *b = o->source[ins->add_b];
    qpu_add(ins->op_add, &p->add, a, b);
    if (ins->set_flags && !ins->flags_from_mul)
        qpu_add_carry(ins->op_add, &p->carry, a, b, &p->add);
    if (ins->pack != 0 && !ins->pm && !ins->swap && ins->to_add < 32) {
        p->overflow = qpu_overflow(ins->op_add, a, b, &p->add);
        if (ins->pack == 8)
            qpu_saturate(p->overflow, &p->add, a);
    }
}

static const char *execute_alu(v3d_t *v, qpu_t *q, const instruction_t *ins)
{
    operands_t o;
    pipes_t p;
    const char *text = read_operands(v, q, ins, &o);
    if (text != NULL)
        return text;
    p.overflow = 0;
    q->last_a = q->last_b = NO_REGISTER;
    q->last_acc = 0;
    if (ins->op_add != ADD_NOP)
        run_add(ins, &o, &p);
    if (ins->op_mul != MUL_NOP)
        run_mul(q, ins, &o, &p);
    const lanes_t *mask_add = NULL, *mask_mul = NULL;
    if (ins->cond_add > COND_ALWAYS) {
        condition_mask(q, ins->cond_add, &p.mask_add);
        mask_add = &p.mask_add;
    }
    if (ins->cond_mul > COND_ALWAYS) {
        condition_mask(q, ins->cond_mul, &p.mask_mul);
        mask_mul = &p.mask_mul;
    }
    if (ins->set_flags && !ins->flags_from_mul)
        set_flags(q, &p.add, &p.carry, mask_add);
    else if (ins->set_flags && ins->op_mul != MUL_NOP && ins->cond_mul != COND_NEVER)
        set_flags(q, &p.mul, &p.carry, mask_mul);
    if (ins->to_add != TO_NOP) {
        result_t r = {&p.add,    mask_add, ins->to_add, !ins->swap, false, add_gives_float(ins->op_add),
                      p.overflow};
        text = write_back(v, q, ins, &r);
    }
    if (ins->to_mul != TO_NOP && text == NULL) {
        result_t r = {&p.mul, mask_mul, ins->to_mul, ins->swap, true, ins->op_mul == MUL_FMUL, 0};
        text = write_back(v, q, ins, &r);
    }
    return text;
}

/* A load immediate, or the link of a branch: both pipes move the literal. */
static const char *execute_literal(v3d_t *v, qpu_t *q, const instruction_t *ins)
{
    pipes_t p;
    const lanes_t *masks[2] = {NULL, NULL};
    uint32_t conditions[2] = {ins->cond_add, ins->cond_mul}, targets[2] = {ins->to_add, ins->to_mul};
    lanes_t *space[2] = {&p.mask_add, &p.mask_mul};
    const char *text = NULL;
    q->last_a = q->last_b = NO_REGISTER;
    q->last_acc = 0;
    memset(&p.carry, 0, sizeof p.carry);
    for (int i = 0; i < 2; i++) {
        if (conditions[i] > COND_ALWAYS) {
            condition_mask(q, conditions[i], space[i]);
            masks[i] = space[i];
        }
    }
    int from = ins->flags_from_mul;
    if (ins->set_flags && conditions[from] != COND_NEVER)
        set_flags(q, &ins->literal, &p.carry, masks[from]);
    for (int i = 0; i < 2 && text == NULL; i++) {
        result_t r = {&ins->literal, masks[i], targets[i], i == ins->swap, i == 1, false, 0};
        if (targets[i] != TO_NOP)
            text = write_back(v, q, ins, &r);
    }
    return text;
}

static bool branch_taken(const qpu_t *q, uint32_t condition)
{
    if (condition == 15)
        return true;
    const lanes_t *flag = condition < 4 ? &q->zero : condition < 8 ? &q->negative : &q->carry;
    switch (condition & 3u) {
    case 0:
        return all_set(flag);
    case 1:
        return !any_set(flag);
    case 2:
        return any_set(flag);
    default:
        return !all_set(flag);
    }
}

static const char *execute_branch(v3d_t *v, qpu_t *q, const instruction_t *ins)
{
    uint32_t target = ins->value + (ins->relative ? ins->literal.e[0] : 0u);
    if (ins->by_register)
        target += file_operand(v, q, ins->read_a, true)->e[0];
    q->last_a = q->last_b = NO_REGISTER;
    q->last_acc = 0;
    if (!branch_taken(q, ins->cond_branch))
        return NULL;
    q->branch_to = target;
    q->branch_slots = BRANCH_SLOTS + 1;
    return execute_literal(v, q, ins);
}

static const char *execute(v3d_t *v, qpu_t *q, const instruction_t *ins)
{
    switch (ins->kind) {
    case KIND_ALU:
        return execute_alu(v, q, ins);
    case KIND_BRANCH:
        return execute_branch(v, q, ins);
    case KIND_SEMAPHORE:
        v->semaphore[ins->value & 15u] += ins->value & 16u ? -1 : 1;
        q->last_a = q->last_b = NO_REGISTER;
        q->last_acc = 0;
        return NULL;
    default:
        return execute_literal(v, q, ins);
    }
}

/* A signal's load arrives in r4 after the operands of its instruction were read. */
static const char *load_r4(qpu_t *q, const instruction_t *ins)
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

static void end_program(v3d_t *v, qpu_t *q)
{
    if (q->tmu[0].count + q->tmu[1].count > 0)
        find(v, q, SIM_LINT_QPU_TMU_LEFT, q->tmu[0].count + q->tmu[1].count);
    q->tmu[0].count = q->tmu[1].count = 0;
    q->running = false;
    v->status.done++;
    v->changed = true;
}

/* Where the next instruction is, and what becomes due with it. */
static void advance(v3d_t *v, qpu_t *q)
{
    q->pc += INSTRUCTION_BYTES;
    q->uniform_wait -= q->uniform_wait > 0;
    q->vpm_wait -= q->vpm_wait > 0;
    if (q->sfu_wait > 0 && --q->sfu_wait == 0)
        q->acc[4] = q->sfu;
    if (q->branch_slots > 0 && --q->branch_slots == 0)
        q->pc = q->branch_to;
    if (q->end_slots > 0 && --q->end_slots == 0)
        end_program(v, q);
}

int qpu_step(v3d_t *v, qpu_t *q)
{
    const instruction_t *ins = fetch(v, q);
    if (ins == NULL)
        return STEP_REFUSED;
    if (ins->io && must_wait(v, q, ins))
        return STEP_STALLED;
    if (ins->sig == SIG_END && q->end_slots == 0)
        q->end_slots = END_INSTRUCTIONS;
    const char *text = NULL;
    if ((q->end_slots | q->branch_slots | q->sfu_wait | q->uniform_wait | ins->rotate) != 0)
        text = broken_rule(q, ins);
    if (text == NULL)
        text = execute(v, q, ins);
    if (text == NULL && ins->io)
        text = load_r4(q, ins);
    if (text != NULL)
        return qpu_refuse(v, q, "%s", text);
    q->instructions++;
    advance(v, q);
    return STEP_DONE;
}
