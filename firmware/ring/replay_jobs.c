/* replay_jobs.c: contract in replay_jobs.h. */
#include "replay_jobs.h"

#include "tensors.h"

static float *input(struct board *board, uint32_t index)
{
    return tensors_find(board, SOURCE_INPUT, 0, index).data;
}

static void replay_position(struct board *board, const struct msg_replay *asked)
{
    struct model *model = &board->models[asked->shard];
    uint32_t cached = model->cached_positions;
    float *x = input(board, 0);
    if (asked->parts & PART_EMBED)
        model_embed(model, asked->token, asked->position, x);
    if (asked->parts & PART_LAYERS)
        model_layers(model, x, asked->position);
    if (asked->parts & PART_HEAD) {
        const float *logits = model_head(model, x, asked->position);
        struct sampler sampler;
        sampler_init(&sampler, asked->temperature, 0.0f, 1);
        if (asked->parts & PART_SAMPLE)
            (void)sampler_next(&sampler, model, logits, asked->position);
    }
    model->cached_positions = cached;
}

static void replay_training(struct board *board, const struct msg_replay *asked)
{
    const struct training *training = &board->training;
    struct model_train *train = &board->trains[asked->shard];
    const uint16_t *tokens = training->tokens + (uintptr_t)asked->microbatch * (training->positions + 1);
    float *x = input(board, 0), *dx = input(board, 1);
    uint32_t count = training->positions;
    if (asked->parts & PART_TRAIN_BEGIN)
        model_train_begin(train);
    if (asked->parts & PART_TRAIN_EMBED)
        model_train_embed(train, tokens, x, count);
    if (asked->parts & PART_TRAIN_FORWARD)
        model_train_forward(train, 0, x, count);
    if (asked->parts & PART_TRAIN_HEAD)
        (void)model_train_head(train, x, tokens + 1, count, training->microbatches);
    if (asked->parts & PART_TRAIN_BACKWARD)
        model_train_backward(train, 0, dx, count);
    if (asked->parts & PART_TRAIN_EMBED_BACKWARD)
        model_train_embed_backward(train, tokens, dx, count);
}

static void replay_update(struct board *board, const struct msg_replay *asked)
{
    const struct model_train *train = &board->trains[asked->shard];
    struct train_parameter p = model_train_parameter(train, asked->index);
    p.value = input(board, 0);
    p.gradient = input(board, 1);
    p.first = p.first ? input(board, 2) : 0;
    p.second = p.second ? input(board, 3) : 0;
    p.rows = 1;
    p.columns = asked->count;
    model_train_update(train, &p);
}

enum job_step replay_job_run(struct board *board)
{
    const struct msg_replay asked = board->job.request.replay;
    struct tap_log *taps = &board->models[asked.shard].taps;
    taps->keep_first = 0;
    tensors_keep_shard(board, asked.shard, 1);
    tap_log_clear(taps);
    taps->enabled = 1;
    if (asked.parts < PART_TRAIN_BEGIN)
        replay_position(board, &asked);
    else if (asked.parts & PART_UPDATE)
        replay_update(board, &asked);
    else
        replay_training(board, &asked);
    return board->job.abort ? STEP_ABORTED : STEP_OK;
}
