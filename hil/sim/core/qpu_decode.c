/* qpu_decode.c: the 64 bits of a QPU instruction taken apart, and the guide's rules for a single one.
 *
 * Source: the guide's section "QPU Instruction Encoding" and "Summary of Instruction Restrictions". */
#include <string.h>

#include "qpu.h"

static uint32_t field(uint64_t word, uint32_t low, uint32_t bits)
{
    return (uint32_t)(word >> low) & ((1u << bits) - 1u);
}

static uint32_t small_immediate(uint32_t code)
{
    if (code < 16)
        return code;
    if (code < 32)
        return code - 32u;
    if (code >= 48) /* a rotation; who reads it finds -16 to -1 */
        return code - 64u;
    return code < 40 ? (127u + code - 32u) << 23 : (127u + code - 48u) << 23;
}

static void fill(lanes_t *lanes, uint32_t value)
{
    for (int k = 0; k < LANES; k++)
        lanes->e[k] = value;
}

static bool add_takes_two(uint32_t op)
{
    return op != ADD_FTOI && op != ADD_ITOF && op != ADD_NOT && op != ADD_CLZ;
}

static bool uses(const instruction_t *ins, uint32_t mux)
{
    bool add =
        ins->op_add != ADD_NOP && (ins->add_a == mux || (ins->add_b == mux && add_takes_two(ins->op_add)));
    return add || (ins->op_mul != MUL_NOP && (ins->mul_a == mux || ins->mul_b == mux));
}

static bool float_uses(const instruction_t *ins, uint32_t mux)
{
    bool add =
        add_takes_float(ins->op_add) && (ins->add_a == mux || (ins->add_b == mux && ins->op_add != ADD_FTOI));
    return add || (ins->op_mul == MUL_FMUL && (ins->mul_a == mux || ins->mul_b == mux));
}

static void decode_upper(instruction_t *ins, uint64_t word)
{
    ins->pm = (uint8_t)field(word, 56, 1);
    ins->pack = (uint8_t)field(word, 52, 4);
    ins->cond_add = (uint8_t)field(word, 49, 3);
    ins->cond_mul = (uint8_t)field(word, 46, 3);
    ins->set_flags = field(word, 45, 1);
    ins->swap = field(word, 44, 1);
    ins->to_add = (uint8_t)field(word, 38, 6);
    ins->to_mul = (uint8_t)field(word, 32, 6);
}

static void decode_alu(instruction_t *ins, uint64_t word)
{
    ins->unpack = (uint8_t)field(word, 57, 3);
    ins->op_mul = (uint8_t)field(word, 29, 3);
    ins->op_add = (uint8_t)field(word, 24, 5);
    ins->read_a = (uint8_t)field(word, 18, 6);
    ins->read_b = (uint8_t)field(word, 12, 6);
    ins->add_a = (uint8_t)field(word, 9, 3);
    ins->add_b = (uint8_t)field(word, 6, 3);
    ins->mul_a = (uint8_t)field(word, 3, 3);
    ins->mul_b = (uint8_t)field(word, 0, 3);
    ins->uses_a = uses(ins, MUX_A);
    ins->uses_b = uses(ins, MUX_B);
    ins->uses_r4 = uses(ins, MUX_R4);
    ins->unpack_float = ins->pm || float_uses(ins, MUX_A);
    ins->immediate = ins->sig == SIG_SMALL_IMMEDIATE;
    if (ins->immediate) {
        uint32_t code = ins->read_b;
        ins->read_b = AT_NOP;
        if (code >= 48)
            ins->rotate = code == 48 ? 16 : (uint8_t)(code - 48u);
        ins->rotate_quads = ins->mul_a == MUX_R4 || ins->mul_a == MUX_A;
        fill(&ins->literal, small_immediate(code));
    }
    ins->flags_from_mul = ins->op_add == ADD_NOP || ins->cond_add == COND_NEVER;
}

static void decode_load(instruction_t *ins, uint64_t word)
{
    uint32_t type = field(word, 57, 3);
    ins->value = (uint32_t)word;
    ins->kind = type == 4 ? KIND_SEMAPHORE : KIND_LOAD;
    ins->op_add = ADD_OR;
    ins->op_mul = MUL_V8MIN;
    ins->flags_from_mul = ins->cond_add == COND_NEVER;
    if (type == 1 || type == 3) {
        for (uint32_t k = 0; k < LANES; k++) {
            uint32_t bits = (ins->value >> (k + 16u) & 1u) << 1 | (ins->value >> k & 1u);
            ins->literal.e[k] = type == 1 && bits >= 2 ? bits - 4u : bits;
        }
    } else if (type == 0) {
        fill(&ins->literal, ins->value);
    } else if (type != 4) {
        ins->refusal = "a load immediate of reserved type";
    }
}

static void decode_branch(instruction_t *ins, uint64_t word)
{
    ins->kind = KIND_BRANCH;
    ins->cond_branch = (uint8_t)field(word, 52, 4);
    ins->relative = field(word, 51, 1);
    ins->by_register = field(word, 50, 1);
    ins->read_a = ins->by_register ? (uint8_t)field(word, 45, 5) : AT_NOP;
    ins->swap = field(word, 44, 1);
    ins->to_add = (uint8_t)field(word, 38, 6);
    ins->to_mul = (uint8_t)field(word, 32, 6);
    ins->cond_add = ins->cond_mul = COND_ALWAYS;
    ins->op_add = ADD_OR;
    ins->op_mul = MUL_V8MIN;
    ins->value = (uint32_t)word;
    fill(&ins->literal, ins->address + (BRANCH_SLOTS + 1u) * INSTRUCTION_BYTES); /* the link */
    if (ins->cond_branch >= 12 && ins->cond_branch != 15)
        ins->refusal = "a reserved branch condition";
}

/* ---- what is refused ---------------------------------------------------------------------------------- */

static const char *signal_refusal(uint32_t sig)
{
    static const char *const texts[16] = {
        [SIG_BREAKPOINT] = "the software breakpoint is not modelled",
        [SIG_THREAD_SWITCH] = "a thread switch is not modelled: user programs have one thread",
        [SIG_SCOREBOARD_WAIT] = "the scoreboard is not modelled: it serves fragment shaders",
        [SIG_SCOREBOARD_UNLOCK] = "the scoreboard is not modelled: it serves fragment shaders",
        [SIG_LAST_THREAD_SWITCH] = "a thread switch is not modelled: user programs have one thread",
        [SIG_LOAD_COVERAGE] = "the tile buffer is not modelled (coverage load)",
        [SIG_LOAD_COLOR] = "the tile buffer is not modelled (color load)",
        [SIG_LOAD_COLOR_END] = "the tile buffer is not modelled (color load and program end)",
        [SIG_LOAD_ALPHA] = "the tile buffer is not modelled (alpha-mask load)",
    };
    return texts[sig];
}

static const char *read_refusal(uint32_t address)
{
    if (address < 32 || address == AT_UNIFORM || address == AT_NUMBER || address == AT_NOP)
        return NULL;
    if (address >= AT_VPM && address <= AT_MUTEX)
        return NULL;
    if (address == AT_VARYING)
        return "varyings are not modelled: they serve fragment shaders";
    if (address == 41 || address == 42)
        return "pixel coordinates and flags are not modelled: they serve fragment shaders";
    return "a read of a register address that the guide leaves empty";
}

static const char *write_refusal(uint32_t address)
{
    if (address == 33 || address == 34 || address <= TO_UNIFORM_ADDRESS)
        return NULL;
    if (address == 41 || address == 42)
        return "pixel coordinates and flags are not modelled: they serve fragment shaders";
    if (address <= 47)
        return "the tile buffer is not modelled";
    if (address >= TO_TMU0_S && address != TO_TMU0_S && address != TO_TMU1_S)
        return "texture lookups (TMU t, r, b) are not modelled: only direct memory lookups are";
    return NULL;
}

static bool complementary(uint32_t a, uint32_t b) { return a >= COND_ZS && (a ^ b) == 1u && b >= COND_ZS; }

static uint32_t coupled(const instruction_t *ins)
{
    uint32_t count = ins->sig == SIG_LOAD_TMU0 || ins->sig == SIG_LOAD_TMU1;
    count += (ins->to_add >= TO_SFU_RECIP) + (ins->to_mul >= TO_SFU_RECIP);
    return count + (ins->read_a == AT_MUTEX || ins->read_b == AT_MUTEX);
}

static const char *rotation_refusal(const instruction_t *ins)
{
    bool within_quads = ins->rotate_quads && (ins->mul_b == MUX_R4 || ins->mul_b == MUX_A);
    if (ins->rotate == 0 || ins->op_mul == MUL_NOP || within_quads || (ins->mul_a <= 3 && ins->mul_b <= 3))
        return NULL;
    return "a rotation of anything but r0 to r3, or but r4 and file A, is not modelled";
}

static const char *pack_refusal(const instruction_t *ins)
{
    if (ins->pm) {
        bool known = ins->pack == 0 || (ins->pack >= 3 && ins->pack <= 7);
        bool partial =
            ins->pack >= 4 && ins->to_mul >= AT_UNIFORM && ins->to_mul != TO_NOP && ins->to_mul > TO_ACC3;
        if (!known)
            return "a reserved pack mode of the mul pipe";
        return partial ? "a byte pack of the mul pipe into an I/O register" : NULL;
    }
    uint32_t to_a = ins->swap ? ins->to_mul : ins->to_add;
    bool unknown = ins->swap ? ins->op_mul == MUL_MUL24 && ins->kind == KIND_ALU : ins->op_add == ADD_SHL;
    if (ins->pack == 8 && to_a < 32 && unknown)
        return "saturation of mul24 or shl is not modelled: the guide does not say what their overflow is";
    if (ins->unpack && ins->uses_a && ins->read_a >= 32)
        return "an unpack of anything but a register of file A or r4";
    return NULL;
}

static const char *alu_refusal(const instruction_t *ins)
{
    bool reserved = (ins->op_add > ADD_ITOF && ins->op_add < ADD_ADD) ||
                    (ins->op_add > ADD_CLZ && ins->op_add < ADD_V8ADDS);
    if (reserved)
        return "a reserved opcode of the add pipe";
    const char *text = read_refusal(ins->read_a);
    text = text ? text : read_refusal(ins->read_b);
    return text ? text : rotation_refusal(ins);
}

static const char *refusal(const instruction_t *ins)
{
    const char *text = ins->kind == KIND_ALU ? signal_refusal(ins->sig) : NULL;
    bool same = ins->to_add == ins->to_mul && ins->to_add >= 32 && ins->to_add != TO_NOP;
    bool twice = same && !complementary(ins->cond_add, ins->cond_mul);
    if (text == NULL && ins->kind == KIND_ALU)
        text = alu_refusal(ins);
    if (text == NULL && ins->kind != KIND_BRANCH)
        text = pack_refusal(ins);
    text = text ? text : write_refusal(ins->to_add);
    text = text ? text : write_refusal(ins->to_mul);
    if (text == NULL && twice && (ins->to_add > TO_ACC3 || ins->kind != KIND_ALU))
        text = "both pipes write one accumulator or I/O register, which the guide calls undefined";
    if (text == NULL && ins->kind == KIND_SEMAPHORE && (ins->to_add != TO_NOP || ins->to_mul != TO_NOP))
        text = "a semaphore instruction that writes a register";
    if (text == NULL && coupled(ins) + (ins->kind == KIND_SEMAPHORE) > 1)
        text = "two of TMU, SFU, mutex and semaphore in one instruction, which the guide forbids";
    return text;
}

/* A pipe that does nothing writes nothing. */
static void drop_idle_writes(instruction_t *ins)
{
    if (ins->op_add == ADD_NOP || ins->cond_add == COND_NEVER)
        ins->to_add = TO_NOP;
    if (ins->op_mul == MUL_NOP || ins->cond_mul == COND_NEVER)
        ins->to_mul = TO_NOP;
}

static bool is_io(uint32_t address) { return address > TO_ACC3 && address != TO_NOP; }

void qpu_decode(instruction_t *ins, uint32_t address, uint64_t word)
{
    memset(ins, 0, sizeof *ins);
    ins->word = word;
    ins->address = address;
    ins->sig = (uint8_t)field(word, 60, 4);
    ins->read_a = ins->read_b = AT_NOP;
    ins->kind = KIND_ALU;
    decode_upper(ins, word);
    if (ins->sig == SIG_BRANCH) {
        ins->pack = ins->pm = 0;
        ins->set_flags = false;
        decode_branch(ins, word);
    } else if (ins->sig == SIG_LOAD_IMMEDIATE) {
        decode_load(ins, word);
    } else {
        decode_alu(ins, word);
    }
    if (ins->kind == KIND_SEMAPHORE)
        ins->set_flags = false;
    drop_idle_writes(ins);
    if (ins->refusal == NULL)
        ins->refusal = refusal(ins);
    ins->io = is_io(ins->to_add) || is_io(ins->to_mul) || ins->kind == KIND_SEMAPHORE ||
              (ins->read_a >= 32 && ins->read_a != AT_NOP) || (ins->read_b >= 32 && ins->read_b != AT_NOP) ||
              ins->sig == SIG_LOAD_TMU0 || ins->sig == SIG_LOAD_TMU1;
    ins->twice = ins->to_add == ins->to_mul && ins->to_add >= TO_ACC0 && ins->to_add <= TO_ACC3 &&
                 !complementary(ins->cond_add, ins->cond_mul);
    ins->idle = ins->kind == KIND_ALU && ins->op_add == ADD_NOP && ins->op_mul == MUL_NOP && !ins->io;
}
