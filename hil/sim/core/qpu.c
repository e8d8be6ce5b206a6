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
    NO_REGISTER = 0xFF
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
    return STEP_REFUSED;
}

/* What the next instruction must know of this one's writes: none so far. */
static inline void forget_writes(qpu_t *q)
{
    q->last_a = q->last_b = NO_REGISTER;
    q->last_acc = 0;
}

void qpu_start(qpu_t *q, const request_t *request)
{
    q->running = true;
    q->pc = request->code;
    q->branch_slots = q->end_slots = q->sfu_wait = q->uniform_wait = 0;
    forget_writes(q);
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

/* ---- operands ----------------------------------------------------------------------------------------- */

static const lanes_t *file_operand(v3d_t *v, qpu_t *q, uint32_t number, bool side_a)
{
    if (number != (side_a ? q->last_a : q->last_b))
        return side_a ? &q->file_a[number] : &q->file_b[number];
    qpu_find(v, q, SIM_LINT_QPU_HAZARD, number + (side_a ? 0u : 32u));
    return side_a ? &q->before_a : &q->before_b;
}

typedef struct {
    const lanes_t *source[8]; /* by mux code */
    lanes_t a, b, unpacked, rotated_a, rotated_b;
} operands_t;

static void rotate(lanes_t *out, const lanes_t *in, uint32_t by, bool within_quads)
{
    for (uint32_t k = 0; k < LANES; k++)
        out->e[within_quads ? (k & ~3u) | ((k + by) & 3u) : (k + by) % LANES] = in->e[k];
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
    else if (ins->read_a != AT_NOP || ins->uses_a)
        text = qpu_read_io(v, q, ins->read_a, true, false, &o->a, NULL);
    if (ins->read_b < 32)
        o->source[MUX_B] = file_operand(v, q, ins->read_b, false);
    else if ((ins->read_b != AT_NOP || (ins->uses_b && !ins->immediate)) && text == NULL)
        text = qpu_read_io(v, q, ins->read_b, false, ins->read_a == ins->read_b, &o->b, &o->a);
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
        return text ? text : qpu_write_io(v, q, r->address, r->side_a, value);
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

static void run_mul(v3d_t *v, const qpu_t *q, const instruction_t *ins, operands_t *o, pipes_t *p,
                    uint32_t last_acc)
{
    const lanes_t *a = o->source[ins->mul_a], *b = o->source[ins->mul_b];
    if (ins->rotate != 0) {
        if (!ins->rotate_quads && (last_acc & (1u << ins->mul_a | 1u << ins->mul_b)))
            qpu_find(v, q, SIM_LINT_QPU_ROTATION, ins->mul_a);
        uint32_t by = ins->rotate == 16 ? q->acc[5].e[0] & 15u : ins->rotate;
        rotate(&o->rotated_a, a, by, ins->rotate_quads);
        rotate(&o->rotated_b, b, by, ins->rotate_quads);
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
    uint32_t last_acc = q->last_acc;
    forget_writes(q);
    if (ins->op_add != ADD_NOP)
        run_add(ins, &o, &p);
    if (ins->op_mul != MUL_NOP)
        run_mul(v, q, ins, &o, &p, last_acc);
    if (ins->twice && memcmp(&p.add, &p.mul, sizeof p.add) != 0)
        return "both pipes write one accumulator, with different values, which the guide calls undefined";
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
    forget_writes(q);
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
    forget_writes(q);
    if (!branch_taken(q, ins->cond_branch))
        return NULL;
    q->branch_to = target;
    q->branch_slots = BRANCH_SLOTS + 1;
    return execute_literal(v, q, ins);
}

static const char *execute(v3d_t *v, qpu_t *q, const instruction_t *ins)
{
    if (ins->idle) {
        forget_writes(q);
        return NULL;
    }
    switch (ins->kind) {
    case KIND_ALU:
        return execute_alu(v, q, ins);
    case KIND_BRANCH:
        return execute_branch(v, q, ins);
    case KIND_SEMAPHORE:
        v->semaphore[ins->value & 15u] += ins->value & 16u ? -1 : 1;
        forget_writes(q);
        return NULL;
    default:
        return execute_literal(v, q, ins);
    }
}

static void end_program(v3d_t *v, qpu_t *q)
{
    if (q->tmu[0].count + q->tmu[1].count > 0)
        qpu_find(v, q, SIM_LINT_QPU_TMU_LEFT, q->tmu[0].count + q->tmu[1].count);
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
    if (ins->io && qpu_must_wait(v, q, ins))
        return STEP_STALLED;
    if (ins->sig == SIG_END && q->end_slots == 0)
        q->end_slots = END_INSTRUCTIONS;
    const char *text = NULL;
    if ((q->end_slots | q->branch_slots | q->sfu_wait | q->uniform_wait | ins->rotate) != 0)
        text = qpu_broken_rule(q, ins);
    if (text == NULL)
        text = execute(v, q, ins);
    if (text == NULL && ins->io)
        text = qpu_load_r4(q, ins);
    if (text != NULL)
        return qpu_refuse(v, q, "%s", text);
    q->instructions++;
    advance(v, q);
    return STEP_DONE;
}
