/* train_ring.c: see train_ring.h. The calls that a board makes, in the order of firmware/model/train.h. */
#include "train_ring.h"

static void count_call(void *context) { ++*(uint32_t *)context; }

static float *stream(struct train_job *job, uint32_t i)
{
    return job->x + (uintptr_t)i * job->positions * job->models[0].config.dim;
}

static const uint16_t *tokens_of(const struct train_job *job, uint32_t step, uint32_t i)
{
    return job->tokens + (step * job->microbatches + i) * (job->positions + 1);
}

static void forward(struct train_job *job, uint32_t step, uint32_t i)
{
    struct model_train *last = &job->trains[job->world_size - 1];
    float *x = stream(job, i);

    model_train_embed(last, tokens_of(job, step, i), x, job->positions);
    for (uint32_t rank = 0; rank < job->world_size; rank++)
        model_train_forward(&job->trains[rank], i % job->settings.slots, x, job->positions);
    job->losses[step * job->microbatches + i] =
        model_train_head(last, x, tokens_of(job, step, i) + 1, job->positions, job->microbatches);
}

static void backward(struct train_job *job, uint32_t i)
{
    for (uint32_t rank = job->world_size; rank-- > 0;)
        model_train_backward(&job->trains[rank], i % job->settings.slots, stream(job, i), job->positions);
}

static void run_step(struct train_job *job, uint32_t step)
{
    float total = 0.0f;

    for (uint32_t rank = 0; rank < job->world_size; rank++)
        model_train_begin(&job->trains[rank]);
    for (uint32_t i = 0; i < job->microbatches; i++) {
        forward(job, step, i);
        if (!job->pipelined)
            backward(job, i);
    }
    for (uint32_t i = 0; job->pipelined && i < job->microbatches; i++)
        backward(job, i);
    for (uint32_t i = 0; i < job->microbatches; i++) {
        model_train_embed_backward(&job->trains[job->world_size - 1], tokens_of(job, step, i), stream(job, i),
                                   job->positions);
    }
    for (uint32_t rank = 0; rank < job->world_size; rank++)
        total = model_train_squares(&job->trains[rank], total);
    for (uint32_t rank = 0; rank < job->world_size; rank++) {
        model_train_norm(&job->trains[rank], total);
        model_train_apply(&job->trains[rank]);
    }
}

void train_ring_run(struct train_job *job)
{
    for (uint32_t rank = 0; rank < job->world_size; rank++) {
        struct model *m = &job->models[rank];
        job->failed_rank = rank;
        job->error = model_init(m, job->shard[rank], job->shard_bytes[rank], job->arena[rank],
                                job->arena_bytes, job->tap_capacity);
        if (job->error == MODEL_OK) {
            job->error = model_train_init(&job->trains[rank], m, &job->settings, job->train_arena[rank],
                                          job->train_arena_bytes);
        }
        if (job->error != MODEL_OK)
            return;
        m->service = count_call;
        m->service_context = &job->service_calls;
        model_reset(m);
        job->logs[rank] = &m->taps;
    }
    for (uint32_t step = 0; step < job->steps; step++)
        run_step(job, step);
}
