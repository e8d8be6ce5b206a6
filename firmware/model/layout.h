/* layout.h: lays out tensors in a region of memory. Private to firmware/model. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdint.h>

/* Takes pieces off the front of a region; used once without memory to count and once to place. The size is
 * counted in 64 bits: a header within the limits cannot overflow that. */
struct region {
    float *base; /* 0: only count */
    uint64_t words;
};

static inline float *take(struct region *region, uint32_t a, uint32_t b, uint32_t c)
{
    float *piece = region->base == 0 ? 0 : region->base + region->words;

    region->words += (uint64_t)a * b * c;
    return piece;
}

#endif
