/* gpu_memory.c: memory of the GPU's heap, by property tags: allocate, lock, unlock, free; and QPU enable.
 *
 * Source: the Raspberry Pi firmware's mailbox property interface. The heap is the top of RAM, as large as gpu_mem; on a
 * board the firmware itself uses a part of it, which is not modelled. First fit; handles count from 1. */
#include <string.h>

#include "internal.h"

enum {
    TAG_ALLOCATE = 0x3000C,
    TAG_LOCK = 0x3000D,
    TAG_UNLOCK = 0x3000E,
    TAG_FREE = 0x3000F,
    TAG_QPU_ENABLE = 0x30012
};
enum {
    FLAG_DIRECT = 1 << 2,
    FLAG_COHERENT = 2 << 2,
    FLAG_ZERO = 1 << 4,
    FLAG_NO_INIT = 1 << 5,
    PAGE = 4096
};
#define FAILED 0x80000000u

/* The alias at which the flags ask for the memory. */
static uint32_t alias(uint32_t flags)
{
    switch (flags & (FLAG_DIRECT | FLAG_COHERENT)) {
    case FLAG_DIRECT:
        return 0xC0000000u;
    case FLAG_COHERENT:
        return 0x80000000u;
    case FLAG_DIRECT | FLAG_COHERENT: /* L1 is passed by, L2 is used */
        return 0x40000000u;
    default:
        return 0;
    }
}

static gpu_block_t *block_of(board_t *b, uint32_t handle)
{
    bool known = handle >= 1 && handle <= GPU_BLOCKS_MAX && b->gpu_blocks[handle - 1].bytes != 0;
    return known ? &b->gpu_blocks[handle - 1] : NULL;
}

/* Where `bytes` fit from `from` on; 0: nowhere. */
static uint64_t first_fit(const board_t *b, uint64_t from, uint64_t bytes, uint64_t align)
{
    uint64_t at = (from + align - 1) / align * align;
    for (bool moved = true; moved;) {
        moved = false;
        for (uint32_t i = 0; i < GPU_BLOCKS_MAX; i++) {
            const gpu_block_t *other = &b->gpu_blocks[i];
            if (other->bytes != 0 && at < other->address + other->bytes && other->address < at + bytes) {
                at = (other->address + other->bytes + align - 1) / align * align;
                moved = true;
            }
        }
    }
    return at + bytes <= b->setup.ram_bytes ? at : 0;
}

static uint32_t allocate(board_t *b, uint32_t bytes, uint32_t align, uint32_t flags)
{
    uint64_t room = ((uint64_t)bytes + PAGE - 1) / PAGE * PAGE;
    uint64_t heap = b->setup.ram_bytes - b->plan.gpu_mem_bytes;
    uint64_t at = first_fit(b, heap, room, align < 1 ? 1 : align);
    for (uint32_t i = 0; bytes != 0 && at != 0 && i < GPU_BLOCKS_MAX; i++) {
        if (b->gpu_blocks[i].bytes != 0)
            continue;
        b->gpu_blocks[i] = (gpu_block_t){(uint32_t)at, (uint32_t)room, flags};
        if (!(flags & FLAG_NO_INIT))
            memset(b->ram + at, flags & FLAG_ZERO ? 0 : 0xFF, room);
        return i + 1;
    }
    board_lint(b, SIM_LINT_GPU_MEMORY, (uint32_t)heap, bytes);
    return 0;
}

int gpu_property(board_t *b, uint32_t tag, uint32_t values[3])
{
    gpu_block_t *block = tag == TAG_ALLOCATE ? NULL : block_of(b, values[0]);
    switch (tag) {
    case TAG_ALLOCATE:
        values[0] = allocate(b, values[0], values[1], values[2]);
        return 4;
    case TAG_LOCK:
        values[0] = block ? alias(block->flags) | block->address : 0;
        return 4;
    case TAG_UNLOCK:
        values[0] = block ? 0 : FAILED;
        return 4;
    case TAG_FREE:
        values[0] = block ? 0 : FAILED;
        if (block != NULL)
            block->bytes = 0;
        return 4;
    case TAG_QPU_ENABLE:
        values[0] = v3d_enable(b, values[0] & 1u);
        return 4;
    default:
        return -1;
    }
}
