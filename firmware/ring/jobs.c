/* jobs.c: SERVE and GENERATE; starts the other jobs. Contract: jobs.h. Meaning: docs/protocol.md, sections 2 and 3.
 * The order of taps on a board is checked against golden/generate.py. */
#include "jobs.h"

#include "console.h"
#include "exceptions.h"
#include "link_jobs.h"
#include "replay_jobs.h"
#include "runtime.h"
#include "tensors.h"
#include "timer.h"
#include "train_jobs.h"

enum {
    TOKEN_BOS = 1,            /* ends a generation when it is sampled */
    TIMEOUT_MS_MAX = 4000000, /* microseconds fit 32 bits */
    HOP_ACCESSES = 16,        /* of each side in turn, when a hop goes through the board's own jumpers */
};

uint32_t job_limit_us(uint32_t timeout_ms)
{
    return (timeout_ms < TIMEOUT_MS_MAX ? timeout_ms : TIMEOUT_MS_MAX) * 1000u;
}

int job_aborted(struct board *board)
{
    board_serve(board);
    return board->job.abort;
}

enum job_step job_report(struct board *board, uint32_t bank, enum link_status status)
{
    if (status == LINK_OK)
        return STEP_OK;
    if (status == LINK_ERROR_ABORTED)
        return STEP_ABORTED;
    const struct link_fault *fault = &board->links[bank].fault;
    struct msg_link_fault event = {
        .bank = (uint8_t)bank,
        .role = (uint8_t)fault->role,
        .phase = (uint8_t)fault->phase,
        .byte_index = fault->byte_index,
        .burst_bytes = fault->burst_bytes,
        .gplev0 = fault->gplev0,
        .waited_us = fault->waited_us,
    };
    console_event(EVENT_LINK_FAULT, &event, sizeof event);
    return STEP_FAULT;
}

static enum job_code result_of(enum job_step step)
{
    switch (step) {
    case STEP_ABORTED:
        return JOB_ABORTED;
    case STEP_FAULT:
        return JOB_LINK_FAILED;
    case STEP_REFUSED:
        return JOB_REFUSED;
    default:
        return JOB_DONE;
    }
}

/* --- the model over the ring --- */

/* The hop that leaves, or is computed on, and the hop that comes. They differ only where a board plays all ranks. */
static struct hop *hop_out(struct board *board) { return (struct hop *)(void *)board->work[BANK_DOWNSTREAM]; }

static struct hop *hop_in(struct board *board)
{
    return (struct hop *)(void *)board->work[board->shard_count > 1 ? BANK_UPSTREAM : BANK_DOWNSTREAM];
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
    return job_report(board, BANK_DOWNSTREAM,
                      link_send_frame(&board->links[BANK_DOWNSTREAM], LINK_ACTIVATION, hop_out(board), bytes,
                                      job_limit_us(timeout_ms)));
}

/* A frame has come: STEP_OK if it is an activation that the model can take, STEP_END if it is END. */
static enum job_step take_hop(struct board *board, struct model *model, uint32_t type, uint32_t length)
{
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
    uint8_t type;
    uint32_t length;
    enum job_step step = job_report(board, BANK_UPSTREAM,
                                    link_receive_frame(&board->links[BANK_UPSTREAM], hop_in(board),
                                                       WORK_BYTES, &type, &length, job_limit_us(timeout_ms)));
    return step == STEP_OK ? take_hop(board, &board->models[0], type, length) : step;
}

enum job_step job_jump(struct board *board, uint32_t out, uint8_t type, uint32_t bytes)
{
    uint32_t in = BANK_COUNT - 1 - out;
    struct link *sender = &board->links[out], *receiver = &board->links[in];
    enum link_status sent = LINK_PENDING, got = LINK_PENDING;
    uint32_t limit_us = 10u * LINK_PHASE_LIMIT_US;
    sender->accesses_per_poll = receiver->accesses_per_poll = HOP_ACCESSES;
    link_receive_start(receiver, board->work[in], WORK_BYTES, limit_us);
    link_send_start(sender, type, board->work[out], bytes, limit_us);
    while ((sent == LINK_PENDING || got == LINK_PENDING) && sent >= 0 && got >= 0) {
        if (sent == LINK_PENDING)
            sent = link_poll(sender);
        if (got == LINK_PENDING)
            got = link_poll(receiver);
        if (job_aborted(board))
            sent = LINK_ERROR_ABORTED;
    }
    sender->accesses_per_poll = receiver->accesses_per_poll = LINK_ACCESSES_PER_POLL;
    if (sent < 0 || got < 0) {
        link_abort(sender);
        link_abort(receiver);
        return sent < 0 ? job_report(board, out, sent) : job_report(board, in, got);
    }
    return STEP_OK;
}

static enum job_step jump_hop(struct board *board, struct model *from, struct model *to, uint32_t position)
{
    const struct link *receiver = &board->links[BANK_UPSTREAM];
    uint32_t bytes = prepare_hop(board, from, position);
    enum job_step step = job_jump(board, BANK_DOWNSTREAM, LINK_ACTIVATION, bytes);
    if (step != STEP_OK)
        return step;
    step = take_hop(board, to, receiver->received_type, receiver->received_length);
    memcpy(hop_out(board), hop_in(board), bytes);
    return step;
}

static enum job_step send_end(struct board *board, uint32_t timeout_ms)
{
    return job_report(
        board, BANK_DOWNSTREAM,
        link_send_frame(&board->links[BANK_DOWNSTREAM], LINK_END, 0, 0, job_limit_us(timeout_ms)));
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

static enum job_step run_serve(struct board *board)
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

static enum job_step run_generate(struct board *board)
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

/* --- running --- */

struct msg_job_state job_state(const struct board *board)
{
    const struct job *job = &board->job;
    return (struct msg_job_state){
        .job = job->number,
        .command = job->command,
        .result = job->result,
        .progress = job->progress,
        .detail = job->detail,
    };
}

static enum job_step run(struct board *board)
{
    switch (board->job.command) {
    case COMMAND_LINK_SEND:
    case COMMAND_LINK_RECEIVE:
    case COMMAND_LINK_RUN:
        return link_job_run(board);
    case COMMAND_SERVE:
        return run_serve(board);
    case COMMAND_TRAIN_STEP:
        return train_job_run(board);
    case COMMAND_TRAIN_APPLY:
        return train_job_apply(board);
    case COMMAND_REPLAY:
        return replay_job_run(board);
    default:
        return run_generate(board);
    }
}

void job_run(struct board *board)
{
    uint32_t begin_us = trace_now(&board->trace);
    board->job.pending = 0;
    board->job.result = (uint8_t)result_of(run(board));
    trace_computed(&board->trace); /* a job that was aborted may leave something open */
    trace_since(&board->trace, TRACE_JOB, board->job.command, 0, begin_us);
    struct msg_job_state state = job_state(board);
    console_event(EVENT_JOB_DONE, &state, sizeof state);
}
