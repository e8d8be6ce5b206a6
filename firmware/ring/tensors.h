/* tensors.h: where single tensors stand, and the memory that is left for copies of them.
 * Behind everything else that has been set up: the inputs of a replay, then copies of taps' tensors, one part of
 * equal size for each shard. Meaning: docs/verify.md. */
#ifndef TENSORS_H
#define TENSORS_H

#include "board.h"

enum {
    TENSOR_INPUTS = 4,
    TENSOR_INPUT_WORDS_MIN = 256, /* each input holds all positions of a training, and at least so much */
};

/* A tensor that can be looked at; data is 0 when there is none. */
struct tensor {
    float *data;
    uint32_t count;
};

/* Points the tap logs of all shards at their parts of memory, or at none; before a log is cleared for a run. */
void tensors_keep(struct board *board, int keep);

/* The same for one shard. */
void tensors_keep_shard(struct board *board, uint32_t shard, int keep);

/* Bytes for copies of one shard's tensors. */
uint32_t tensors_keep_bytes(const struct board *board);

/* The tensor `index` of a kind (enum source_code). */
struct tensor tensors_find(struct board *board, uint8_t source, uint32_t shard, uint32_t index);

/* Tensors of a shard that PARAMETERS_READ counts: its parameters, and the tables of cos and sin where they have
 * values of that kind. */
uint32_t tensors_parameters(const struct board *board, uint8_t source, uint32_t shard);

#endif
