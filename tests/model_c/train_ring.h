/* train_ring.h: a whole ring that trains in one program, for tests: every rank a struct model_train, hops by copy.
 * Built for the host (main_train_host.c) and for bare ARM (main_arm.c). */
#ifndef TRAIN_RING_H
#define TRAIN_RING_H

#include "train.h"

enum {
    TRAIN_RING_WORLD_MAX = 4
};

struct train_job {
    uint32_t world_size;
    uint32_t tap_capacity;
    uint32_t steps;
    uint32_t microbatches;
    uint32_t positions;
    uint32_t pipelined; /* 1: all microbatches forward, then all backward; needs a slot for each */
    void *shard[TRAIN_RING_WORLD_MAX];
    uint32_t shard_bytes[TRAIN_RING_WORLD_MAX];
    void *arena[TRAIN_RING_WORLD_MAX];
    void *train_arena[TRAIN_RING_WORLD_MAX];
    uint32_t arena_bytes, train_arena_bytes; /* of each rank */
    const uint16_t *tokens;                  /* (steps, microbatches, positions + 1) */
    float *losses;                           /* (steps, microbatches) */
    float *x;                                /* (microbatches, positions, dim) */
    struct train_settings settings;
    int32_t error; /* of rank failed_rank */
    uint32_t failed_rank;
    uint32_t service_calls;
    const struct tap_log *logs[TRAIN_RING_WORLD_MAX];
    struct model models[TRAIN_RING_WORLD_MAX];
    struct model_train trains[TRAIN_RING_WORLD_MAX];
};

/* Fills losses and the models' tap logs and trains the shards in place; error is 0 when all went well. */
void train_ring_run(struct train_job *job);

#endif
