/* generate_jobs.c: SERVE and GENERATE, the model over the ring. Contract: generate_jobs.h.
 * Meaning: docs/protocol.md, sections 2 and 3. The order of taps on a board is checked against golden/generate.py. */
#include "generate_jobs.h"

#include "console.h"
#include "exceptions.h"
#include "runtime.h"
#include "tensors.h"
#include "timer.h"

enum {
    TOKEN_BOS = 1, /* ends a generation when it is sampled */
};

/* The hop that leaves, or is computed on, and the hop that comes. They differ only where a board plays all ranks. */
static struct hop *hop_out(struct board *board) { return job_hop(board, BANK_DOWNSTREAM); }

static struct hop *hop_in(struct board *board)
{
    return job_hop(board, board->shard_count > 1 ? BANK_UPSTREAM : BANK_DOWNSTREAM);
}

static uint32_t prepare_hop(struct board *board, struct model *model, uint32_t position)
{
    struct hop *hop = hop_out(board);
    uint32_t dim = model->config.dim;
    hop->position = position;
    hop->count = dim;
    tap_record(&model->taps, OP_HOP_SEND, NO_LAYER, position, hop->x, dim);
    return (uint32_t)sizeof *hop + dim * (uint32_t)sizeof(float);
}

static enum job_step send_hop(struct board *board, uint32_t position, uint32_t timeout_ms)
{
    uint32_t bytes = prepare_hop(board, &board->models[0], position);
    return job_send(board, BANK_DOWNSTREAM, LINK_ACTIVATION, bytes, job_limit_us(timeout_ms));
}

/* A frame has come: STEP_OK if it is an activation that the model can take, STEP_END if it is END. */
static enum job_step take_hop(struct board *board, struct model *model)
{
    uint32_t type = board->links[BANK_UPSTREAM].received_type;
    uint32_t length = board->links[BANK_UPSTREAM].received_length;
    const struct hop *hop = hop_in(board);
    uint32_t dim = model->config.dim;
    if (type == LINK_END)
        return STEP_END;
    if (type != LINK_ACTIVATION || length != sizeof *hop + dim * sizeof(float) || hop->count != dim) {
        console_log(LEVEL_ERROR,
                    "frame of type %u with %u bytes came where an activation of %u floats belongs", type,
                    length, dim);
        return STEP_REFUSED;
    }
    if (!model_position_ok(model, hop->position)) {
        console_log(LEVEL_ERROR,
                    "activation of position %u came, %u positions are cached; the context ends at %u",
                    hop->position, model->cached_positions, model->config.seq_len);
        return STEP_REFUSED;
    }
    tap_record(&model->taps, OP_HOP_RECEIVE, NO_LAYER, hop->position, hop->x, dim);
    return STEP_OK;
}

/* STEP_OK: an activation is in the hop; STEP_END: END came. */
static enum job_step receive_hop(struct board *board, uint32_t timeout_ms)
{
    enum job_step step = job_receive(board, BANK_UPSTREAM, hop_in(board), job_limit_us(timeout_ms));
    return step == STEP_OK ? take_hop(board, &board->models[0]) : step;
}

static enum job_step jump_hop(struct board *board, struct model *from, struct model *to, uint32_t position)
{
    uint32_t bytes = prepare_hop(board, from, position);
    enum job_step step = job_jump(board, BANK_DOWNSTREAM, LINK_ACTIVATION, bytes);
    if (step != STEP_OK)
        return step;
    step = take_hop(board, to);
    memcpy(hop_out(board), hop_in(board), bytes);
    return step;
}

static enum job_step send_end(struct board *board, uint32_t timeout_ms)
{
    return job_send(board, BANK_DOWNSTREAM, LINK_END, 0, job_limit_us(timeout_ms));
}

static void reset_models(struct board *board, uint32_t flags)
{
    tensors_keep(board, flags & FLAG_KEEP_TENSORS);
    for (uint32_t i = 0; i < board->shard_count; i++) {
        model_reset(&board->models[i]);
        board->models[i].taps.enabled = (flags & FLAG_RECORD_TAPS) != 0;
    }
}

/* The hop that leaves through the layers of a model. */
static void compute_layers(struct board *board, struct model *model, uint32_t position)
{
    trace_compute(&board->trace, TRACE_FORWARD, 0, position);
    model_layers(model, hop_out(board)->x, position);
    trace_computed(&board->trace);
}

enum job_step serve_job_run(struct board *board)
{
    const struct msg_serve *serve = &board->job.request.serve;
    enum job_step step;
    reset_models(board, serve->flags);
    while ((step = receive_hop(board, serve->timeout_ms)) == STEP_OK) {
        struct hop *hop = hop_out(board);
        compute_layers(board, &board->models[0], hop->position);
        if (board->job.abort)
            return STEP_ABORTED;
        step = send_hop(board, hop->position, serve->timeout_ms);
        if (step != STEP_OK)
            return step;
        board->job.progress++;
    }
    return step == STEP_END ? send_end(board, serve->timeout_ms) : step;
}

static void give_token(struct board *board, uint32_t position, uint32_t token, int forced)
{
    uint32_t begin_us = trace_now(&board->trace);
    struct msg_token event = {
        .job = board->job.number,
        .position = (uint16_t)position,
        .token = (uint16_t)token,
        .forced = forced != 0,
        .time_us = timer_now64_us(),
    };
    if (board->token_count == TOKENS_MAX)
        exception_assertion(); /* positions are checked against the context, and that against this */
    board->tokens[board->token_count++] = (uint16_t)token;
    board->job.detail = board->token_count;
    console_event(EVENT_TOKEN, &event, sizeof event);
    trace_since(&board->trace, TRACE_HOST, 0, sizeof event, begin_us);
}

/* Whether other boards hold the layers. */
static int has_ring(const struct board *board) { return board->shard_count == 1 && board->world_size > 1; }

/* All ranks on this board: from the head to rank 0, 1, ... and back to the head. */
static enum job_step jump_round(struct board *board, uint32_t position)
{
    struct model *from = head_model(board);
    enum job_step step = STEP_OK;
    for (uint32_t rank = 0; rank < board->shard_count && step == STEP_OK; rank++) {
        step = jump_hop(board, from, &board->models[rank], position);
        from = &board->models[rank];
        if (step == STEP_OK && from != head_model(board))
            compute_layers(board, from, position);
    }
    return step;
}

/* x through all layers, here or round the ring; the result is in the hop. */
static enum job_step run_layers(struct board *board, uint32_t position, uint32_t timeout_ms)
{
    compute_layers(board, head_model(board), position);
    if (board->shard_count > 1)
        return jump_round(board, position);
    if (!has_ring(board))
        return job_aborted(board) ? STEP_ABORTED : STEP_OK;
    enum job_step step = send_hop(board, position, timeout_ms);
    return step == STEP_OK ? receive_hop(board, timeout_ms) : step;
}

static enum job_step finish_ring(struct board *board, uint32_t timeout_ms)
{
    if (!has_ring(board))
        return STEP_OK;
    enum job_step step = send_end(board, timeout_ms);
    return step == STEP_OK ? receive_hop(board, timeout_ms) : step;
}

enum job_step generate_job_run(struct board *board)
{
    const struct generate_request *generate = &board->job.request.generate;
    struct model *model = head_model(board);
    struct sampler sampler;
    uint32_t token = board->prompt[0];
    board->token_count = 0;
    reset_models(board, generate->flags);
    sampler_init(&sampler, generate->temperature, generate->topp, generate->rng_seed);
    for (uint32_t position = 0; position < generate->positions; position++) {
        struct hop *hop = hop_out(board);
        trace_compute(&board->trace, TRACE_EMBED, 0, position);
        model_embed(model, token, position, hop->x);
        trace_computed(&board->trace);
        enum job_step step = run_layers(board, position, generate->timeout_ms);
        if (step == STEP_END) {
            console_log(LEVEL_ERROR, "END came round before position %u was over", position);
            return STEP_REFUSED;
        }
        if (step != STEP_OK)
            return step;
        trace_compute(&board->trace, TRACE_HEAD, 0, position);
        const float *logits = model_head(model, hop->x, position);
        int forced = position + 1 < generate->prompt_count;
        token = forced ? board->prompt[position + 1] : sampler_next(&sampler, model, logits, position);
        trace_computed(&board->trace);
        give_token(board, position, token, forced);
        board->job.progress++;
        if (token == TOKEN_BOS && !forced)
            break;
    }
    return finish_ring(board, generate->timeout_ms);
}
