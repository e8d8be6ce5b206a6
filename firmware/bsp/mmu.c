/* mmu.c: identity map in 1 MiB sections. Contract: mmu.h. Owns the page table.
 * Descriptor bits (XP = 1): base 31:20, S 16, APX 15, TEX 14:12, AP 11:10, domain 8:5, XN 4, C 3, B 2, type 2.
 *   normal write-back  AP 01, C, B                  0x0040E
 *   the same, for data AP 01, XN, C, B              0x0041E   everything but the image's own section
 *   shared device      AP 01, S, XN, B              0x10416
 * SCTLR.U is set: LDR and STR to unaligned addresses work instead of rotating silently; LDM, LDRD and VFP fault. */
#include "mmu.h"

#include "mmio.h"

enum {
    SECTION_BYTES = 1 << 20,
    SECTION_CODE = 0x0040E,
    SECTION_DATA = 0x0041E,
    SECTION_DEVICE = 0x10416,
    SCTLR_M = 1 << 0,
    SCTLR_C = 1 << 2,
    SCTLR_Z = 1 << 11,
    SCTLR_I = 1 << 12,
    SCTLR_U = 1 << 22,
    SCTLR_XP = 1 << 23,
};

extern const char __image_start[]; /* layout.ld */

static _Alignas(16384) uint32_t page_table[4096];

void mmu_init(uint32_t ram_bytes)
{
    uint32_t ram_sections = ram_bytes / SECTION_BYTES;
    uint32_t code_section = (uint32_t)(uintptr_t)__image_start / SECTION_BYTES;
    for (uint32_t i = 0; i < 4096; i++) {
        uint32_t base = i << 20;
        uint32_t kind = 0;
        if (i < ram_sections && base < PERIPHERAL_BASE)
            kind = base | (i == code_section ? SECTION_CODE : SECTION_DATA);
        else if (base >= PERIPHERAL_BASE && base < PERIPHERAL_END)
            kind = base | SECTION_DEVICE;
        page_table[i] = kind;
    }
    uint32_t zero = 0;
    __asm__ volatile("mcr p15, 0, %0, c7, c7, 0" ::"r"(zero) : "memory"); /* invalidate both caches */
    __asm__ volatile("mcr p15, 0, %0, c8, c7, 0" ::"r"(zero) : "memory"); /* invalidate TLBs */
    mmio_sync();
    __asm__ volatile("mcr p15, 0, %0, c2, c0, 2" ::"r"(zero)); /* TTBCR: TTBR0 only */
    __asm__ volatile("mcr p15, 0, %0, c2, c0, 0" ::"r"((uint32_t)(uintptr_t)page_table));
    __asm__ volatile("mcr p15, 0, %0, c3, c0, 0" ::"r"(1)); /* domain 0: client, XN holds */
    uint32_t sctlr;
    __asm__ volatile("mrc p15, 0, %0, c1, c0, 0" : "=r"(sctlr));
    sctlr |= SCTLR_M | SCTLR_C | SCTLR_Z | SCTLR_I | SCTLR_U | SCTLR_XP;
    __asm__ volatile("mcr p15, 0, %0, c1, c0, 0" ::"r"(sctlr) : "memory");
    __asm__ volatile("mcr p15, 0, %0, c7, c5, 4" ::"r"(zero) : "memory"); /* prefetch flush */
}
