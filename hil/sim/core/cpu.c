/* cpu.c: the ARM1176 of a board on Unicorn: start, block accounting, exceptions.
 *
 * Unicorn neither vectors exceptions nor enforces CPACR; this file does both. Source: ARM DDI 0301H (TRM). */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define NO_EXIT         0xFFFFFFFCull /* an address that no program reaches */
#define TRAP_NONE       0xFFFFFFFFu
#define BLOCK_BYTES_MAX 4096u

enum {
    EXC_NONE,
    EXC_UNDEF,
    EXC_SWI,
    EXC_PREFETCH,
    EXC_DATA,
    EXC_IRQ,
    EXC_FIQ,
    EXC_FATAL,
    EXC_REFUSED
};
enum {
    MODE_FIQ = 0x11,
    MODE_IRQ = 0x12,
    MODE_SVC = 0x13,
    MODE_ABT = 0x17,
    MODE_UND = 0x1B
};
enum {
    QEMU_SWI = 2,
    QEMU_PREFETCH = 3,
    QEMU_DATA = 4,
    QEMU_UNDEF = 1,
    QEMU_BKPT = 7
};
#define CPSR_T    (1u << 5)
#define CPSR_F    (1u << 6)
#define CPSR_I    (1u << 7)
#define CPSR_A    (1u << 8)
#define CPSR_IT_J 0x0700FC00u | (1u << 24)
/* DFSR/IFSR without a page table to blame: precise external abort. Translation fault (section): 5. */
#define FSR_EXTERNAL    0x8u
#define FSR_TRANSLATION 0x5u
#define FSR_WRITE       (1u << 11)

static uint32_t reg_get(board_t *b, int id)
{
    uint32_t value = 0;
    uc_reg_read(b->uc, id, &value);
    return value;
}

static void reg_set(board_t *b, int id, uint32_t value) { uc_reg_write(b->uc, id, &value); }

static uc_arm_cp_reg cp15(uint32_t crn, uint32_t crm, uint32_t opc1, uint32_t opc2)
{
    uc_arm_cp_reg reg = {
        .cp = 15, .is64 = 0, .sec = 0, .crn = crn, .crm = crm, .opc1 = opc1, .opc2 = opc2, .val = 0};
    return reg;
}

static uint32_t cp15_get(board_t *b, uint32_t crn, uint32_t crm, uint32_t opc2)
{
    uc_arm_cp_reg reg = cp15(crn, crm, 0, opc2);
    uc_reg_read(b->uc, UC_ARM_REG_CP_REG, &reg);
    return (uint32_t)reg.val;
}

static void cp15_set(board_t *b, uint32_t crn, uint32_t crm, uint32_t opc2, uint32_t value)
{
    uc_arm_cp_reg reg = cp15(crn, crm, 0, opc2);
    reg.val = value;
    uc_reg_write(b->uc, UC_ARM_REG_CP_REG, &reg);
}

/* ---- blocks ------------------------------------------------------------------------------------------- */

static const uint8_t *code_at(board_t *b, uint64_t address, uint32_t size)
{
    uint64_t physical = address;
    if (b->mmu_on) {
        if (uc_vmem_translate(b->uc, address, UC_PROT_EXEC, &physical) != UC_ERR_OK)
            return NULL;
    }
    return physical + size <= b->setup.ram_bytes ? b->ram + physical : NULL;
}

static void raise_exception(board_t *b, uint32_t exception)
{
    if (b->pending == EXC_NONE)
        b->pending = exception;
    uc_emu_stop(b->uc);
}

/* Until CPACR opens cp10/cp11 every block is searched for VFP instructions, which must trap. */
static void search_block(board_t *b, uint64_t address, uint32_t size)
{
    if (b->cpacr_written) {
        b->vfp_allowed = (cp15_get(b, 1, 0, 2) >> 20 & 0xFu) == 0xFu;
        if (b->vfp_allowed)
            return;
    }
    if (b->sctlr_written) {
        b->mmu_on = cp15_get(b, 1, 0, 0) & 1u;
        b->sctlr_written = false;
    }
    const uint8_t *code = size > BLOCK_BYTES_MAX ? NULL : code_at(b, address, size);
    for (uint32_t i = 0; code != NULL && i + 4 <= size; i += 4) {
        uint32_t word;
        memcpy(&word, code + i, 4);
        uint32_t major = word >> 24 & 0xFu, coprocessor = word >> 8 & 0xFu;
        if ((word & 0x0FFF0FFFu) == 0x0E010F50u) /* mcr p15, 0, Rt, c1, c0, 2 */
            b->cpacr_written = true;
        else if ((word & 0x0FFF0FFFu) == 0x0E010F10u) /* mcr p15, 0, Rt, c1, c0, 0 */
            b->sctlr_written = true;
        if (major >= 0xCu && major <= 0xEu && (coprocessor & 0xEu) == 0xAu && (word >> 28) != 0xFu) {
            board_lint(b, SIM_LINT_VFP_DISABLED, (uint32_t)address + i, word);
            b->ticks -= size;
            b->trap_at = (uint32_t)address + i;
            b->trap_from = (uint32_t)address;
            uc_emu_stop(b->uc);
            return;
        }
    }
}

/* Subnormals would trap on silicon unless FZ and DN are set. Looked at now and then; twice in a row counts. */
static void check_runfast(board_t *b)
{
    bool slow = (reg_get(b, UC_ARM_REG_FPEXC) & 1u << 30) &&
                (reg_get(b, UC_ARM_REG_FPSCR) & 0x03000000u) != 0x03000000u;
    if (slow && b->vfp_suspect)
        board_lint(b, SIM_LINT_VFP_NOT_RUNFAST, 0, reg_get(b, UC_ARM_REG_FPSCR));
    b->vfp_suspect = slow;
}

/* Whether an interrupt is taken before the block that begins here. */
static bool look_at_lines(board_t *b)
{
    uint64_t now = board_now(b);
    uint32_t lines = irq_state(b, now), cpsr = reg_get(b, UC_ARM_REG_CPSR);
    irq_schedule(b, now);
    if ((lines & FIQ_LINE) && !(cpsr & CPSR_F))
        raise_exception(b, EXC_FIQ);
    else if ((lines & IRQ_LINE) && !(cpsr & CPSR_I))
        raise_exception(b, EXC_IRQ);
    else
        return false;
    return true;
}

static void on_block(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    (void)uc;
    board_t *b = user;
    b->block_pc = (uint32_t)address;
    b->ticks += size;
    if (b->ticks >= b->window_ticks && !b->kill) {
        if (b->vfp_allowed)
            check_runfast(b);
        v3d_follow(b, board_now(b));
        sched_window(b);
    }
    if (b->ticks >= b->irq_ticks && !b->kill && look_at_lines(b)) {
        b->ticks -= size; /* not executed: the handler comes first */
        return;
    }
    if (!b->vfp_allowed && !b->kill)
        search_block(b, address, size);
}

/* ---- exceptions --------------------------------------------------------------------------------------- */

static void on_interrupt(uc_engine *uc, uint32_t number, void *user)
{
    (void)uc;
    board_t *b = user;
    switch (number) {
    case QEMU_SWI:
        raise_exception(b, EXC_SWI);
        break;
    case QEMU_PREFETCH:
    case QEMU_BKPT:
        raise_exception(b, EXC_PREFETCH);
        break;
    case QEMU_DATA:
        raise_exception(b, EXC_DATA);
        break;
    case QEMU_UNDEF:
        raise_exception(b, EXC_UNDEF);
        break;
    default:
        raise_exception(b, EXC_FATAL);
        break;
    }
    b->fault_address = UINT32_MAX;
}

static bool on_invalid_instruction(uc_engine *uc, void *user)
{
    (void)uc;
    board_t *b = user;
    b->fault_address = UINT32_MAX;
    raise_exception(b, EXC_UNDEF);
    return true;
}

static bool on_unmapped(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                        void *user)
{
    (void)uc;
    (void)size;
    (void)value;
    board_t *b = user;
    if (!b->kill && b->pending == EXC_NONE) {
        b->pending = type == UC_MEM_FETCH_UNMAPPED ? EXC_PREFETCH : EXC_DATA;
        b->fault_address = (uint32_t)address;
        b->fault_write = type == UC_MEM_WRITE_UNMAPPED;
    }
    return false;
}

static void halt(board_t *b, uint32_t lint, uint32_t address, uint32_t value)
{
    board_lint(b, lint, address, value);
    b->state = SIM_HALTED;
}

static void fault_registers(board_t *b, uint32_t exception, uint32_t pc)
{
    bool translated = b->fault_address == UINT32_MAX;
    uint32_t status = translated ? FSR_TRANSLATION : FSR_EXTERNAL;
    if (exception == EXC_DATA) {
        uint32_t address = translated ? fault_address_of(b, pc) : b->fault_address;
        cp15_set(b, 5, 0, 0, status | (b->fault_write ? FSR_WRITE : 0u));
        cp15_set(b, 6, 0, 0, address);
    } else if (exception == EXC_PREFETCH) {
        cp15_set(b, 5, 0, 1, status);
    }
}

/* Enters the handler as the core would: mode, banked LR and SPSR, vector. */
static void vector(board_t *b, uint32_t exception, uint32_t pc)
{
    static const struct {
        uint8_t mode, offset, return_offset;
    } entry[] = {[EXC_UNDEF] = {MODE_UND, 0x04, 4},    [EXC_SWI] = {MODE_SVC, 0x08, 4},
                 [EXC_PREFETCH] = {MODE_ABT, 0x0C, 4}, [EXC_DATA] = {MODE_ABT, 0x10, 8},
                 [EXC_IRQ] = {MODE_IRQ, 0x18, 4},      [EXC_FIQ] = {MODE_FIQ, 0x1C, 4}};
    bool asked = exception == EXC_IRQ || exception == EXC_FIQ; /* from outside: not the code's fault */
    uint32_t cpsr = reg_get(b, UC_ARM_REG_CPSR);
    uint32_t sctlr = cp15_get(b, 1, 0, 0);
    uint32_t base = sctlr & 1u << 13 ? 0xFFFF0000u : cp15_get(b, 12, 0, 0) & 0xFFFFFFE0u;
    if (!asked && pc == b->last_vector_pc && b->ticks - b->last_vector_ticks <= 8u) {
        halt(b, SIM_LINT_DOUBLE_FAULT, pc, exception);
        return;
    }
    b->counters.exceptions++;
    fault_registers(b, exception, pc);
    uint32_t next = (cpsr & ~(0x1Fu | CPSR_T | CPSR_IT_J)) | entry[exception].mode | CPSR_I;
    if (exception == EXC_PREFETCH || exception == EXC_DATA || asked)
        next |= CPSR_A;
    if (exception == EXC_FIQ)
        next |= CPSR_F;
    reg_set(b, UC_ARM_REG_CPSR, next);
    reg_set(b, UC_ARM_REG_SPSR, cpsr);
    uint32_t back = pc + entry[exception].return_offset;
    reg_set(b, UC_ARM_REG_LR, exception == EXC_SWI ? pc : back);
    reg_set(b, UC_ARM_REG_PC, base + entry[exception].offset);
    if (asked)
        return;
    b->last_vector_pc = base + entry[exception].offset;
    b->last_vector_ticks = b->ticks;
}

static void refuse(board_t *b)
{
    b->sim->refused = true;
    sched_stop(b->sim, board_now(b));
    raise_exception(b, EXC_REFUSED);
}

/* WFI: until a line is up, masked or not, or a reset comes. */
static void wait_for_interrupt(board_t *b)
{
    poll_break(b);
    while (!b->kill && irq_state(b, board_now(b)) == 0) {
        sched_sleep(b, irq_next_ps(b, board_now(b)), 0, 0);
        b->ticks += 4u; /* its time in whole ticks may be just short of the line's */
        b->charged_ticks += 4u;
    }
    if (!b->kill)
        irq_schedule(b, board_now(b));
}

/* uc_emu_start has come back: for an exception, for WFI, or for good. */
static void emulation_ended(board_t *b, uc_err error)
{
    uint32_t exception = b->pending;
    bool asked = exception == EXC_IRQ || exception == EXC_FIQ;
    uint32_t pc = asked ? b->block_pc : reg_get(b, UC_ARM_REG_PC);
    b->pending = EXC_NONE;
    if (exception == EXC_NONE && b->trap_at != TRAP_NONE && error == UC_ERR_OK) {
        if (pc != b->trap_at) { /* first what comes before the VFP instruction in its block */
            uc_ctl_remove_cache(b->uc, (uint64_t)b->trap_from, (uint64_t)b->trap_at + 4u);
            reg_set(b, UC_ARM_REG_PC, b->trap_from);
            b->exit_at = b->trap_at;
            return;
        }
        exception = EXC_UNDEF;
    }
    b->trap_at = TRAP_NONE;
    b->exit_at = NO_EXIT;
    if (exception == EXC_NONE) {
        if (error == UC_ERR_OK) {
            wait_for_interrupt(b);
            return;
        }
        exception = error == UC_ERR_INSN_INVALID     ? EXC_UNDEF
                    : error == UC_ERR_READ_UNMAPPED  ? EXC_DATA
                    : error == UC_ERR_WRITE_UNMAPPED ? EXC_DATA
                    : error == UC_ERR_FETCH_UNMAPPED ? EXC_PREFETCH
                                                     : EXC_FATAL;
        b->fault_address = UINT32_MAX;
    }
    if (exception == EXC_REFUSED) {
        halt(b, SIM_LINT_REFUSED, pc, 0);
        return;
    }
    if (exception == EXC_FATAL) {
        halt(b, SIM_LINT_HALTED, pc, (uint32_t)error);
        return;
    }
    vector(b, exception, pc);
}

/* ---- life --------------------------------------------------------------------------------------------- */

static void board_main(void *argument)
{
    board_t *b = argument;
    while (!b->kill && b->state != SIM_HALTED) {
        uint32_t pc = reg_get(b, UC_ARM_REG_PC);
        if (reg_get(b, UC_ARM_REG_CPSR) & CPSR_T)
            pc |= 1u;
        b->fault_write = false;
        b->in_emu = true;
        b->co.in_generated_code = 1; /* as seen from every callback, the only places that switch inside */
        uc_err error = uc_emu_start(b->uc, pc, b->exit_at, 0, 0);
        b->in_emu = false;
        b->co.in_generated_code = 0;
        if (!b->kill)
            emulation_ended(b, error);
    }
    sched_leave(b);
}

static int open_engine(board_t *b)
{
    uc_hook hook;
    if (uc_open(UC_ARCH_ARM, UC_MODE_ARM, &b->uc) != UC_ERR_OK)
        return -1;
    uc_ctl_set_cpu_model(b->uc, UC_CPU_ARM_1176);
    uc_ctl_set_tcg_buffer_size(b->uc, 32u << 20);
    uc_err e = uc_mem_map_ptr(b->uc, 0, b->setup.ram_bytes, UC_PROT_ALL, b->ram);
    if (e == UC_ERR_OK)
        e = uc_mmio_map(b->uc, PERIPHERALS, PERIPHERALS_BYTES, mmio_read, b, mmio_write, b);
    if (e == UC_ERR_OK)
        e = uc_hook_add(b->uc, &hook, UC_HOOK_BLOCK, (void *)on_block, b, 1, 0);
    if (e == UC_ERR_OK)
        e = uc_hook_add(b->uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, b, 1, 0);
    if (e == UC_ERR_OK)
        e = uc_hook_add(b->uc, &hook, UC_HOOK_INSN_INVALID, (void *)on_invalid_instruction, b, 1, 0);
    if (e == UC_ERR_OK) {
        /* Bounded: a memory hook that covers RAM would send every store through Unicorn's slow path. */
        e = uc_hook_add(b->uc, &hook, UC_HOOK_MEM_UNMAPPED, (void *)on_unmapped, b, b->setup.ram_bytes,
                        UINT32_MAX);
    }
    if (e != UC_ERR_OK) {
        snprintf(b->sim->error, sizeof b->sim->error, "board %u: Unicorn: %s", b->index, uc_strerror(e));
        uc_close(b->uc);
        b->uc = NULL;
        return -1;
    }
    return 0;
}

int cpu_begin(board_t *b)
{
    b->kill = false;
    b->pending = EXC_NONE;
    b->trap_at = TRAP_NONE;
    b->exit_at = NO_EXIT;
    b->refuse = refuse;
    if (open_engine(b) != 0)
        return -1;
    if (coroutine_create(&b->co, board_main, b) != 0) {
        snprintf(b->sim->error, sizeof b->sim->error, "board %u: no memory for a stack", b->index);
        uc_close(b->uc);
        b->uc = NULL;
        return -1;
    }
    reg_set(b, UC_ARM_REG_CPSR, 0x1C0u | MODE_SVC);
    cp15_set(b, 1, 1, 2, 0xC00u); /* NSACR: Unicorn starts non-secure, where cp10/cp11 would stay closed */
    cp15_set(b, 1, 1, 0, 0x31u);  /* SCR: NS, and FIQ and imprecise aborts may be unmasked from there */
    reg_set(b, UC_ARM_REG_R0, 0);
    reg_set(b, UC_ARM_REG_R1, 0xC42);
    reg_set(b, UC_ARM_REG_R2, b->plan.r2);
    reg_set(b, UC_ARM_REG_PC, b->plan.entry);
    return 0;
}

void cpu_end(board_t *b)
{
    if (b->uc == NULL)
        return;
    if (b->in_emu ||
        b->state == SIM_SLEEPING) { /* let uc_emu_start unwind; it sees `kill` and touches nothing */
        b->kill = true;
        uc_emu_stop(b->uc);
        coroutine_switch(&b->sim->main, &b->co);
    }
    uc_close(b->uc);
    b->uc = NULL;
    b->in_emu = false;
    coroutine_destroy(&b->co);
}

int sim_registers(sim_t *sim, uint32_t board, uint32_t regs[17])
{
    static const int ids[17] = {UC_ARM_REG_R0,  UC_ARM_REG_R1,  UC_ARM_REG_R2,  UC_ARM_REG_R3, UC_ARM_REG_R4,
                                UC_ARM_REG_R5,  UC_ARM_REG_R6,  UC_ARM_REG_R7,  UC_ARM_REG_R8, UC_ARM_REG_R9,
                                UC_ARM_REG_R10, UC_ARM_REG_R11, UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR,
                                UC_ARM_REG_PC,  UC_ARM_REG_CPSR};
    board_t *b = &sim->boards[board];
    if (b->uc == NULL)
        return -1;
    for (int i = 0; i < 17; i++)
        regs[i] = reg_get(b, ids[i]);
    if (b->in_emu)
        regs[15] = b->block_pc; /* exact to the block while it runs */
    return 0;
}

void sim_ram_changed(sim_t *sim, uint32_t board, uint32_t address, uint32_t size)
{
    board_t *b = &sim->boards[board];
    if (b->uc != NULL && !b->in_emu)
        uc_ctl_remove_cache(b->uc, (uint64_t)address, (uint64_t)address + size);
}
