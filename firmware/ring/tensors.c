/* tensors.c: contract in tensors.h. Owns the memory from board->spare_address on. */
#include "tensors.h"

enum {
    TABLES = 2, /* freq_cos, freq_sin */
};

static uint32_t input_words(const struct board *board)
{
    uint32_t positions = board->training.state == TRAINING_NONE ? 1 : board->training.positions;
    uint64_t words = (uint64_t)positions * board->models[0].config.dim;
    return words < TENSOR_INPUT_WORDS_MIN ? TENSOR_INPUT_WORDS_MIN : (uint32_t)words;
}

/* Bytes from the spare memory's start; 64 bits hold any sum. */
static uint64_t inputs_bytes(const struct board *board)
{
    return (uint64_t)TENSOR_INPUTS * input_words(board) * sizeof(float);
}

uint32_t tensors_keep_bytes(const struct board *board)
{
    uint64_t from = board->spare_address + inputs_bytes(board);
    if (from >= board->arm_memory_bytes || !board->shard_count)
        return 0;
    return (uint32_t)((board->arm_memory_bytes - from) / board->shard_count) & ~(uint32_t)(sizeof(float) - 1);
}

void tensors_keep_shard(struct board *board, uint32_t shard, int keep)
{
    uint32_t bytes = keep ? tensors_keep_bytes(board) : 0;
    uint32_t at = board->spare_address + (uint32_t)inputs_bytes(board) + shard * bytes;
    struct tap_log *taps = &board->models[shard].taps;
    tap_log_keep(taps, bytes ? (float *)(uintptr_t)at : 0, bytes / (uint32_t)sizeof(float));
}

void tensors_keep(struct board *board, int keep)
{
    for (uint32_t i = 0; i < board->shard_count; i++)
        tensors_keep_shard(board, i, keep);
}

/* Parameters with what a training has of them; values alone where none is set up. */
static struct model_train look(struct board *board, uint32_t shard)
{
    struct model_train train;
    if (board->training.state != TRAINING_NONE)
        return board->trains[shard];
    model_train_look(&train, &board->models[shard]);
    return train;
}

static struct tensor of_parameter(struct board *board, uint8_t source, uint32_t shard, uint32_t index)
{
    const struct model *model = &board->models[shard];
    const struct model_train train = look(board, shard);
    if (index >= train.parameter_count) {
        const float *const tables[TABLES] = {model->weights.freq_cos, model->weights.freq_sin};
        uint32_t table = index - train.parameter_count;
        if (source != SOURCE_VALUE || table >= TABLES)
            return (struct tensor){0};
        return (struct tensor){.data = (float *)(uintptr_t)tables[table],
                               .count = model->config.seq_len * (model->config.head_size / 2)};
    }
    const struct train_parameter p = model_train_parameter(&train, index);
    float *const kinds[] = {[SOURCE_VALUE] = p.value,
                            [SOURCE_GRADIENT] = p.gradient,
                            [SOURCE_FIRST] = p.first,
                            [SOURCE_SECOND] = p.second};
    return (struct tensor){.data = kinds[source], .count = p.rows * p.columns};
}

static struct tensor of_cache(const struct model *model, const float *cache, uint32_t local)
{
    uint32_t count = model->config.seq_len * model->config.kv_dim;
    if (local >= model->layer_end - model->layer_start)
        return (struct tensor){0};
    return (struct tensor){.data = (float *)(uintptr_t)(cache + (uintptr_t)local * count), .count = count};
}

static struct tensor of_input(const struct board *board, uint32_t index)
{
    uint32_t words = input_words(board);
    if (index >= TENSOR_INPUTS || board->spare_address + inputs_bytes(board) > board->arm_memory_bytes)
        return (struct tensor){0};
    return (struct tensor){.data = (float *)(uintptr_t)board->spare_address + (uintptr_t)index * words,
                           .count = words};
}

static struct tensor of_tap(const struct tap_log *taps, uint32_t index)
{
    const float *copy = index < taps->count ? tap_kept(taps, index) : 0;
    return copy == 0 ? (struct tensor){0}
                     : (struct tensor){.data = (float *)(uintptr_t)copy, .count = taps->entries[index].count};
}

struct tensor tensors_find(struct board *board, uint8_t source, uint32_t shard, uint32_t index)
{
    const struct model *model = &board->models[shard];
    switch (source) {
    case SOURCE_TAP:
        return of_tap(&model->taps, index);
    case SOURCE_VALUE:
    case SOURCE_GRADIENT:
    case SOURCE_FIRST:
    case SOURCE_SECOND:
        return of_parameter(board, source, shard, index);
    case SOURCE_KEYS:
        return of_cache(model, model->buffers.keys, index);
    case SOURCE_VALUES:
        return of_cache(model, model->buffers.values, index);
    case SOURCE_INPUT:
        return of_input(board, index);
    default:
        return (struct tensor){0};
    }
}

uint32_t tensors_parameters(const struct board *board, uint8_t source, uint32_t shard)
{
    struct model_train train;
    model_train_look(&train, (struct model *)(uintptr_t)&board->models[shard]);
    return train.parameter_count + (source == SOURCE_VALUE ? TABLES : 0u);
}
