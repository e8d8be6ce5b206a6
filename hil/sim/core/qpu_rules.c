/* qpu_rules.c: whether an instruction must wait, and the guide's rules about what may stand where in a program.
 *
 * Source: the guide's "Processor Stalls" and "Summary of Instruction Restrictions". */
#include "qpu.h"

enum {
    RESERVED_AT_END = 14 /* where the next program's data arrive */
};

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

bool qpu_must_wait(const v3d_t *v, const qpu_t *q, const instruction_t *ins)
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

const char *qpu_broken_rule(const qpu_t *q, const instruction_t *ins)
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
    if (text == NULL && ins->rotate == 16 && ins->op_mul != MUL_NOP && (q->last_acc & 1u << 5))
        text = "a rotation by r5 right after a write to r5, which the guide forbids";
    if (text == NULL && q->sfu_wait > 0 && (ins->uses_r4 || loads_r4 || starts_sfu))
        text = "r4 is touched within two instructions of a special function, which the guide forbids";
    if (text == NULL && q->uniform_wait > 0 && reads(ins, AT_UNIFORM))
        text = "a uniform is read within two instructions of a new uniforms address, which the guide forbids";
    return text;
}
