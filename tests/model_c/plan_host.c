/* plan_host.c: the bytes that firmware/model asks for, without memory to lay them out in; for the memory plan's test. */
#include "train.h"

/* header: struct shard_header, 4-byte aligned. needed: arena of the model, arena of the training. */
int host_plan(const void *header, uint32_t shard_bytes, uint32_t tap_capacity, uint32_t positions,
              uint32_t slots, uint32_t optimizer, float momentum, uint32_t needed[2])
{
    struct model model;
    struct model_train train;
    const struct train_settings settings = {
        .positions_max = positions, .slots = slots, .optimizer = optimizer, .momentum = momentum};
    int error = model_init(&model, header, shard_bytes, 0, 0, tap_capacity);

    if (error != MODEL_ERROR_ARENA_SMALL)
        return error;
    error = model_train_init(&train, &model, &settings, 0, 0);
    needed[0] = model.arena_needed_bytes;
    needed[1] = train.arena_needed_bytes;
    return error;
}
