/* abort.c: which address an aborted load or store meant.
 *
 * Unicorn does not tell for faults that the page tables raise, so the instruction is decoded again with
 * the registers as they stand (base registers are written back only after the access). ARM state only. */
#include <string.h>

#include "internal.h"

static uint32_t reg(board_t *b, uint32_t number, uint32_t pc)
{
    static const int ids[15] = {UC_ARM_REG_R0,  UC_ARM_REG_R1,  UC_ARM_REG_R2,  UC_ARM_REG_R3, UC_ARM_REG_R4,
                                UC_ARM_REG_R5,  UC_ARM_REG_R6,  UC_ARM_REG_R7,  UC_ARM_REG_R8, UC_ARM_REG_R9,
                                UC_ARM_REG_R10, UC_ARM_REG_R11, UC_ARM_REG_R12, UC_ARM_REG_SP, UC_ARM_REG_LR};
    uint32_t value = pc + 8u;
    if (number < 15)
        uc_reg_read(b->uc, ids[number], &value);
    return value;
}

static uint32_t shifted(board_t *b, uint32_t word, uint32_t pc)
{
    uint32_t value = reg(b, word & 0xFu, pc), amount = word >> 7 & 31u;
    switch (word >> 5 & 3u) {
    case 0:
        return value << amount;
    case 1:
        return amount ? value >> amount : 0;
    case 2:
        return (uint32_t)((int32_t)value >> (amount ? amount : 31u));
    default:
        return amount ? value >> amount | value << (32u - amount) : value;
    }
}

uint32_t fault_address_of(board_t *b, uint32_t pc)
{
    uint64_t physical = pc;
    uint32_t word;
    uc_vmem_translate(b->uc, pc, UC_PROT_EXEC, &physical);
    if (physical + 4 > b->setup.ram_bytes)
        return 0;
    memcpy(&word, b->ram + physical, 4);
    uint32_t base = reg(b, word >> 16 & 0xFu, pc), group = word >> 25 & 7u;
    bool pre = word & 1u << 24, up = word & 1u << 23;
    uint32_t offset = 0;
    b->fault_write = !(word & 1u << 20);
    if (group == 2) {
        offset = word & 0xFFFu;
    } else if (group == 3) {
        offset = shifted(b, word, pc);
    } else if (group == 0 && (word & 0xF0u) == 0x90u) { /* SWP, LDREX, STREX */
        return base;
    } else if (group == 0) { /* halfword, doubleword */
        offset = word & 1u << 22 ? (word >> 4 & 0xF0u) | (word & 0xFu) : reg(b, word & 0xFu, pc);
        if (!(word & 1u << 20) && (word & 0x40u))
            b->fault_write = word & 0x20u; /* LDRD has bit 5 clear, STRD set */
    } else if (group == 4) {               /* LDM, STM: the lowest address */
        uint32_t bytes = 4u * (uint32_t)__builtin_popcount(word & 0xFFFFu);
        return up ? base + (pre ? 4u : 0u) : base - bytes + (pre ? 0u : 4u);
    } else if (group == 6) { /* VFP load and store */
        offset = (word & 0xFFu) * 4u;
        return pre ? (up ? base + offset : base - offset) : base;
    }
    return pre ? (up ? base + offset : base - offset) : base;
}
