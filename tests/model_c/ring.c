/* ring.c: see ring.h. The loop is that of firmware/ring/jobs.c without links. */
#include "ring.h"

enum {
    BOS = 1
};

static void count_call(void *context) { ++*(uint32_t *)context; }

static const float *forward(struct ring_job *job, uint32_t token, uint32_t position)
{
    uint32_t last = job->world_size - 1;
    struct model *head = &job->models[last];
    uint32_t dim = head->config.dim;

    model_embed(head, token, position, job->x);
    if (last == 0) {
        model_layers(head, job->x, position);
        return model_head(head, job->x, position);
    }
    tap_record(&head->taps, OP_HOP_SEND, NO_LAYER, position, job->x, dim);
    for (uint32_t rank = 0; rank < last; rank++) {
        struct model *m = &job->models[rank];
        tap_record(&m->taps, OP_HOP_RECEIVE, NO_LAYER, position, job->x, dim);
        model_layers(m, job->x, position);
        tap_record(&m->taps, OP_HOP_SEND, NO_LAYER, position, job->x, dim);
    }
    tap_record(&head->taps, OP_HOP_RECEIVE, NO_LAYER, position, job->x, dim);
    return model_head(head, job->x, position);
}

void ring_run(struct ring_job *job)
{
    struct model *head = &job->models[job->world_size - 1];
    struct sampler sampler;

    job->token_count = 0;
    for (uint32_t rank = 0; rank < job->world_size; rank++) {
        struct model *m = &job->models[rank];
        job->failed_rank = rank;
        job->error = model_init(m, job->shard[rank], job->shard_bytes[rank], job->arena[rank],
                                job->arena_bytes[rank], job->tap_capacity);
        if (job->error != MODEL_OK)
            return;
        m->service = count_call;
        m->service_context = &job->service_calls;
        model_reset(m);
    }
    sampler_init(&sampler, job->temperature, job->topp, job->seed);
    uint32_t token = job->prompt[0];
    for (uint32_t position = 0; position < job->positions; position++) {
        const float *logits = forward(job, token, position);
        int forced = position + 1 < job->prompt_count;
        token = forced ? job->prompt[position + 1] : sampler_next(&sampler, head, logits, position);
        job->tokens[job->token_count++] = (uint16_t)token;
        if (token == BOS && !forced)
            return;
    }
}
