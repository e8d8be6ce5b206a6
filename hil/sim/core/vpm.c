/* vpm.c: the vertex pipeline memory: how QPUs read and write it, and the DMA between it and RAM.
 *
 * Source: the guide's section 7; figures 8 and 9 for packed and laned vectors. Two facts from silicon that the guide
 * has otherwise: strides and pitches have 16 bits, not 13, and a second transfer waits for the first (docs/videocore.md).
 * A transfer moves its data when it ends. Owns the 64 rows of 16 words that user programs see. */
#include <string.h>

#include "qpu.h"

uint8_t *v3d_memory(const v3d_t *v, uint32_t address, uint32_t bytes)
{
    uint32_t physical = address & 0x3FFFFFFFu; /* the top two bits choose a cache alias */
    return (uint64_t)physical + bytes <= v->board->setup.ram_bytes ? v->board->ram + physical : NULL;
}

enum {
    SIZE_8,
    SIZE_16,
    SIZE_32
};
enum {
    READ_LATENCY = 3, /* instructions from a read setup to its first data */
    /* Assumption: a transfer takes 8 slots and then four bytes a cycle, about 1 GB/s. */
    DMA_SLOTS = 8,
    DMA_SLOT_BYTES = 16,
    ROW_BYTES = LANES * 4
};

/* ---- vectors ------------------------------------------------------------------------------------------ */

static vpm_block_t block_of(uint32_t setup)
{
    uint32_t stride = setup >> 12 & 63u, count = setup >> 20 & 15u;
    return (vpm_block_t){setup & 0xFFu,       stride ? stride : 64u, setup >> 8 & 3u,
                         count ? count : 16u, setup >> 11 & 1u,      setup >> 10 & 1u};
}

void vpm_setup_write(qpu_t *q, uint32_t value)
{
    if (value >> 30 == 0)
        q->vpm_write = block_of(value);
    else if (value >> 30 == 2)
        q->store_setup = value;
    else
        q->store_stride = value;
}

bool vpm_setup_read(qpu_t *q, uint32_t value)
{
    if (value >> 28 == 9) {
        q->load_pitch = value & 0xFFFFu;
    } else if (value >> 31) {
        q->load_setup = value;
    } else if (q->vpm_reads == 2) {
        return false;
    } else {
        if (q->vpm_reads == 0)
            q->vpm_wait = READ_LATENCY;
        q->vpm_read[q->vpm_reads++] = block_of(value);
    }
    return true;
}

/* Where element k of a vector is: its word, and the bits in it. */
typedef struct {
    uint32_t row, column, shift, mask;
} place_t;

static place_t place_of(const vpm_block_t *block, uint32_t k)
{
    uint32_t log_parts = 2u - block->size; /* parts of a word: 4, 2, 1 */
    uint32_t part = block->address & ((1u << log_parts) - 1u);
    uint32_t at = block->address >> log_parts & 63u;
    uint32_t along = k; /* words from the start of the vector */
    if (block->size != SIZE_32 && !block->laned) {
        along = (part * LANES + k) >> log_parts;
        part = k & ((1u << log_parts) - 1u);
    }
    uint32_t bits = 32u >> log_parts;
    place_t place = {0, 0, part * bits, block->size == SIZE_32 ? UINT32_MAX : (1u << bits) - 1u};
    place.row = block->horizontal ? at : (at & 0x30u) + along;
    place.column = block->horizontal ? along : at & 15u;
    return place;
}

static void next_vector(vpm_block_t *block)
{
    uint32_t wrap = (VPM_ROWS << (2u - block->size)) - 1u; /* the address wraps beyond row 63 */
    block->address = (block->address + block->stride) & wrap;
}

static bool reserved(const v3d_t *v, uint32_t row) { return row < v->vpm_reserved * 4u; }

void vpm_write(v3d_t *v, qpu_t *q, const lanes_t *value)
{
    for (uint32_t k = 0; k < LANES; k++) {
        place_t at = place_of(&q->vpm_write, k);
        uint32_t *word = &v->vpm[at.row][at.column];
        if (reserved(v, at.row)) /* outside of the window a write is masked */
            *word = (*word & ~(at.mask << at.shift)) | (value->e[k] & at.mask) << at.shift;
    }
    next_vector(&q->vpm_write);
}

void vpm_read(v3d_t *v, qpu_t *q, lanes_t *out)
{
    vpm_block_t *block = &q->vpm_read[0];
    for (uint32_t k = 0; k < LANES; k++) {
        place_t at = place_of(block, k);
        out->e[k] = v->vpm[at.row][at.column] >> at.shift & at.mask;
    }
    next_vector(block);
    if (--block->left == 0) {
        q->vpm_read[0] = q->vpm_read[1];
        q->vpm_reads--;
    }
}

/* ---- DMA: a setup as numbers --------------------------------------------------------------------------- */

typedef struct {
    uint32_t rows, length, width; /* of the block in memory; width: bytes of an element */
    uint32_t part;                /* the byte or half-word that the first element has */
    uint32_t x, y;
    bool vertical, packed;
    uint32_t pitch;     /* from the start of a row in memory to the next */
    uint32_t vpm_pitch; /* loads: added to Y and part after each row */
} transfer_t;

static uint32_t width_of(uint32_t mode) { return mode >= 4 ? 1u : mode >= 2 ? 2u : 4u; }

static uint32_t part_of(uint32_t mode) { return mode >= 4 ? mode & 3u : mode >= 2 ? mode & 1u : 0u; }

static transfer_t load_of(uint32_t setup, uint32_t pitch)
{
    transfer_t t = {0};
    uint32_t mode = setup >> 28 & 7u, power = setup >> 24 & 15u;
    t.length = setup >> 20 & 15u ? setup >> 20 & 15u : 16u;
    t.rows = setup >> 16 & 15u ? setup >> 16 & 15u : 16u;
    t.vpm_pitch = setup >> 12 & 15u ? setup >> 12 & 15u : 16u;
    t.vertical = setup >> 11 & 1u;
    t.y = setup >> 4 & 127u;
    t.x = setup & 15u;
    t.width = width_of(mode);
    t.part = part_of(mode);
    t.pitch = power ? 8u << power : pitch;
    return t;
}

static transfer_t store_of(uint32_t setup, uint32_t stride)
{
    transfer_t t = {0};
    uint32_t mode = setup & 7u;
    t.rows = setup >> 23 & 127u ? setup >> 23 & 127u : 128u;
    t.length = setup >> 16 & 127u ? setup >> 16 & 127u : 128u;
    t.vertical = !(setup >> 14 & 1u);
    t.y = setup >> 7 & 127u;
    t.x = setup >> 3 & 15u;
    t.width = width_of(mode);
    t.part = part_of(mode);
    t.packed = stride >> 16 & 1u;
    t.pitch = t.length * t.width + (stride & 0xFFFFu);
    return t;
}

/* The byte in the VPM's 4096 where an element is. Horizontal: along the row; vertical: down the column. */
static uint32_t vpm_byte(const transfer_t *t, uint32_t row, uint32_t element, bool load)
{
    uint32_t y = t->y, x = t->x, along = element * t->width;
    if (load) { /* rows follow each other by the pitch, counted in the parts of a word */
        uint32_t parts = 4u / t->width;
        uint32_t at = y * parts + t->part + row * t->vpm_pitch;
        y = at / parts;
        along += at % parts * (ROW_BYTES / parts);
    } else {
        along += t->part * t->width;
        if (t->packed)
            along += row * t->length * t->width;
        else if (t->vertical)
            x += row;
        else
            y += row;
    }
    if (t->vertical)
        return (y + along / 4u) * ROW_BYTES + x * 4u + along % 4u;
    return y * ROW_BYTES + x * 4u + along;
}

static const char *memory_refusal(const v3d_t *v, const transfer_t *t, uint32_t memory)
{
    for (uint32_t row = 0; row < t->rows; row++)
        if (v3d_memory(v, memory + row * t->pitch, t->length * t->width) == NULL)
            return "a DMA transfer where there is no RAM";
    return NULL;
}

static const char *geometry_refusal(const transfer_t *t, bool load)
{
    uint32_t last = t->length - 1u;
    for (uint32_t row = 0; row < t->rows; row++) {
        uint32_t first = vpm_byte(t, row, 0, load), end = vpm_byte(t, row, last, load);
        if (end >= VPM_ROWS * ROW_BYTES)
            return "a DMA transfer beyond the 64 rows of the VPM that user programs have";
        bool same_row = first / ROW_BYTES == end / ROW_BYTES, inside = t->x + (load ? 0u : row) < LANES;
        if (t->vertical ? !inside && !t->packed : !same_row && !t->packed)
            return "a DMA row that runs past the end of a row of the VPM";
    }
    return NULL;
}

static uint64_t due(const v3d_t *v, const transfer_t *t)
{
    uint32_t bytes = t->rows * t->length * t->width;
    return v->slot + DMA_SLOTS + (bytes + DMA_SLOT_BYTES - 1u) / DMA_SLOT_BYTES;
}

static const char *load_refusal(const transfer_t *t)
{
    if (t->width != 4 && t->vertical)
        return "a vertical DMA load of 8 or 16 bits is not modelled: the guide does not say where its rows "
               "go";
    if (t->width != 4 && t->x != 0)
        return "a DMA load of 8 or 16 bits to X other than 0 is not modelled: the guide does not say where "
               "it goes";
    return geometry_refusal(t, true);
}

static const char *store_refusal(uint32_t setup, const transfer_t *t)
{
    if (setup >> 15 & 1u)
        return "a laned DMA store: the guide says to write 0";
    if ((setup & 7u) == 1)
        return "a DMA store of reserved width";
    if (t->packed && t->vertical)
        return "a vertical DMA store in block mode is not modelled";
    return geometry_refusal(t, false);
}

const char *vpm_start_load(v3d_t *v, qpu_t *q, uint32_t memory)
{
    if (q->load_setup >> 31 == 0)
        return "a DMA load without a setup";
    transfer_t t = load_of(q->load_setup, q->load_pitch);
    const char *text = load_refusal(&t);
    text = text ? text : memory_refusal(v, &t, memory);
    q->load = (dma_t){true, due(v, &t), q->load_setup, q->load_pitch, memory};
    return text;
}

const char *vpm_start_store(v3d_t *v, qpu_t *q, uint32_t memory)
{
    if (q->store_setup >> 30 != 2)
        return "a DMA store without a setup";
    transfer_t t = store_of(q->store_setup, q->store_stride);
    const char *text = store_refusal(q->store_setup, &t);
    text = text ? text : memory_refusal(v, &t, memory);
    q->store = (dma_t){true, due(v, &t), q->store_setup, q->store_stride, memory};
    return text;
}

static void move(v3d_t *v, const transfer_t *t, uint32_t memory, bool load)
{
    uint8_t *vpm = (uint8_t *)v->vpm; /* little-endian, as the host */
    for (uint32_t row = 0; row < t->rows; row++) {
        uint8_t *ram = v3d_memory(v, memory + row * t->pitch, t->length * t->width);
        for (uint32_t k = 0; k < t->length; k++, ram += t->width) {
            uint32_t at = vpm_byte(t, row, k, load);
            if (!load)
                memcpy(ram, vpm + at, t->width);
            else if (reserved(v, at / ROW_BYTES))
                memcpy(vpm + at, ram, t->width);
        }
    }
}

void vpm_finish_load(v3d_t *v, qpu_t *q)
{
    transfer_t t = load_of(q->load.setup, q->load.pitch);
    move(v, &t, q->load.memory, true);
    q->load.busy = false;
}

void vpm_finish_store(v3d_t *v, qpu_t *q)
{
    transfer_t t = store_of(q->store.setup, q->store.pitch);
    move(v, &t, q->store.memory, false);
    q->store.busy = false;
}
