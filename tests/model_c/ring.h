/* ring.h: a whole ring in one program, for tests: every rank a struct model, hops by copy.
 * Built for the host (main_host.c) and for bare ARM (main_arm.c). */
#ifndef RING_H
#define RING_H

#include "model.h"

enum {
    RING_WORLD_MAX = 4,
    RING_DIM_MAX = 1024
};

struct ring_job {
    uint32_t world_size;
    uint32_t tap_capacity;
    uint32_t positions;
    float temperature;
    float topp;
    uint32_t prompt_count;
    uint64_t seed;
    const void *shard[RING_WORLD_MAX];
    uint32_t shard_bytes[RING_WORLD_MAX];
    void *arena[RING_WORLD_MAX];
    uint32_t arena_bytes[RING_WORLD_MAX];
    const uint16_t *prompt;
    uint16_t *tokens; /* positions entries */
    uint32_t token_count;
    int32_t error; /* of model_init, of rank failed_rank */
    uint32_t failed_rank;
    uint32_t service_calls;
    struct model models[RING_WORLD_MAX];
    float x[RING_DIM_MAX];
};

/* Fills token_count, tokens and the models' tap logs; error is 0 when all went well. */
void ring_run(struct ring_job *job);

#endif
