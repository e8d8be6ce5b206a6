/* memory_commands.c: what lies where in this board's memory, measured on what was laid out; checksums. Contract: handlers.h.
 * The same bytes before a run: hil/model/plan.py. */
#include "crc32.h"
#include "handlers.h"
#include "runtime.h"

extern const char __image_start[], __bss_end[], __stack_top[]; /* layout.ld */

static uint32_t between(const void *from, const void *to)
{
    return (uint32_t)((uintptr_t)to - (uintptr_t)from);
}

static void add_model(struct msg_memory_map *map, const struct model *model)
{
    const struct model_buffers *b = &model->buffers;
    map->kv_cache_bytes += between(b->keys, b->logits);
    map->taps_bytes += model->arena_needed_bytes - between(b->norm, model->taps.crc_table);
}

static void add_training(struct msg_memory_map *map, const struct model_train *train)
{
    const float *states = train->gradients + train->parameter_words;
    map->gradients_bytes += between(train->gradients, states);
    map->optimizer_bytes += between(states, train->activations.x);
    map->activations_bytes += between(train->activations.x, train->scratch.norm);
}

void handle_memory_map(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    struct msg_memory_map map = {
        .arm_memory_bytes = board->arm_memory_bytes,
        .image_bytes = between(__image_start, __bss_end),
        .stack_bytes = between(__bss_end, __stack_top),
        .shard_bytes = board->shard_bytes,
    };
    if (board->shard_count) {
        map.arena_address = (uint32_t)(uintptr_t)board->models[0].buffers.norm;
        map.arena_bytes = board->free_address - map.arena_address;
    }
    for (uint32_t i = 0; i < board->shard_count; i++)
        add_model(&map, &board->models[i]);
    if (board->training.state != TRAINING_NONE) {
        const struct training *training = &board->training;
        map.training_bytes = training->bytes;
        map.training_taps_bytes = training->taps_bytes;
        for (uint32_t i = 0; i < board->shard_count; i++)
            add_training(&map, &board->trains[i]);
    }
    give(reply, &map, sizeof map);
}

void handle_memory_crc(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_memory_range asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (!check_ram(board, asked.address, asked.size_bytes, reply))
        return;
    struct msg_memory_crc crc = {
        .crc32 = crc32_update(CRC32_START, (const void *)(uintptr_t)asked.address, asked.size_bytes)};
    give(reply, &crc, sizeof crc);
}
