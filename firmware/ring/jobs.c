/* jobs.c: SERVE, GENERATE and the link tests. Contract: jobs.h. Meaning: docs/protocol.md, sections 2 and 3.
 * The order of taps on a board is checked against golden/generate.py. */
#include "jobs.h"

#include "console.h"
#include "exceptions.h"
#include "runtime.h"
#include "timer.h"

enum {
    FLAG_RECORD_TAPS = 1,
    TOKEN_BOS = 1,            /* ends a generation when it is sampled */
    TIMEOUT_MS_MAX = 4000000, /* microseconds fit 32 bits */
    LOOPBACK_ACCESSES = 16,   /* both sides take turns in short steps */
};

/* ACTIVATION payload. */
struct hop {
    uint32_t position;
    uint32_t count;
    float x[]; /* (dim,) */
};
_Static_assert(sizeof(struct hop) + MODEL_DIM_MAX * sizeof(float) <= WORK_BYTES, "the longest hop fits");

/* Inner results: how a step of a job went on. */
enum job_step {
    STEP_OK,
    STEP_END,     /* the ring says it is over */
    STEP_ABORTED, /* JOB_ABORT came */
    STEP_FAULT,   /* reported already */
    STEP_REFUSED, /* logged already */
};

static uint32_t limit_us(uint32_t timeout_ms)
{
    return (timeout_ms < TIMEOUT_MS_MAX ? timeout_ms : TIMEOUT_MS_MAX) * 1000u;
}

static int aborted(struct board *board)
{
    board_serve(board);
    return board->job.abort;
}

static enum job_step report(struct board *board, uint32_t bank, enum link_status status)
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

/* --- link tests --- */

static enum job_step run_link_send(struct board *board)
{
    const struct msg_link_test *test = &board->job.request.link_test;
    enum job_step step = STEP_OK;
    for (uint32_t frame = 0; frame < test->frames && step == STEP_OK; frame++) {
        link_pattern_fill(board->work, test->length_bytes, test->seed, frame);
        step = report(board, test->bank,
                      link_send_frame(&board->links[test->bank], LINK_PATTERN, board->work,
                                      test->length_bytes, limit_us(test->timeout_ms)));
        board->job.progress += step == STEP_OK;
    }
    return step;
}

/* Whether a received frame is frame number `frame` of the test. */
static int pattern_right(const uint8_t *from, const struct link *link, uint32_t length, uint32_t seed,
                         uint32_t frame)
{
    return link->received_type == LINK_PATTERN && link->received_length == length &&
           link_pattern_errors(from, length, seed, frame) == 0;
}

static enum job_step run_link_receive(struct board *board)
{
    const struct msg_link_test *test = &board->job.request.link_test;
    struct link *link = &board->links[test->bank];
    enum job_step step = STEP_OK;
    for (uint32_t frame = 0; frame < test->frames && step == STEP_OK; frame++) {
        uint8_t type;
        uint32_t length;
        step = report(
            board, test->bank,
            link_receive_frame(link, board->work, WORK_BYTES, &type, &length, limit_us(test->timeout_ms)));
        if (step != STEP_OK)
            break;
        board->job.progress++;
        board->job.detail += !pattern_right(board->work, link, test->length_bytes, test->seed, frame);
    }
    return step;
}

/* One frame from one bank to the other of the same board: both sides polled in turn. */
static enum job_step loop_frame(struct board *board, uint32_t from, uint32_t length, uint8_t *received)
{
    struct link *sender = &board->links[from];
    struct link *receiver = &board->links[!from];
    uint32_t limit = 10u * LINK_PHASE_LIMIT_US;
    enum link_status sent = LINK_PENDING;
    enum link_status got = LINK_PENDING;
    link_receive_start(receiver, received, WORK_BYTES / 2, limit);
    link_send_start(sender, LINK_PATTERN, board->work, length, limit);
    while ((sent == LINK_PENDING || got == LINK_PENDING) && sent >= 0 && got >= 0) {
        if (sent == LINK_PENDING)
            sent = link_poll(sender);
        if (got == LINK_PENDING)
            got = link_poll(receiver);
        if (aborted(board)) {
            sent = got = LINK_ERROR_ABORTED;
            break;
        }
    }
    if (sent < 0 || got < 0) {
        link_abort(sender);
        link_abort(receiver);
    }
    return sent < 0 ? report(board, from, sent) : report(board, !from, got);
}

static enum job_step run_loopback(struct board *board)
{
    const struct msg_loopback_test *test = &board->job.request.loopback;
    uint32_t from = test->reverse ? BANK_UPSTREAM : BANK_DOWNSTREAM;
    uint8_t *received = board->work + WORK_BYTES / 2;
    enum job_step step = STEP_OK;
    for (uint32_t i = 0; i < BANK_COUNT; i++)
        board->links[i].accesses_per_poll = LOOPBACK_ACCESSES;
    for (uint32_t frame = 0; frame < test->frames && step == STEP_OK; frame++) {
        link_pattern_fill(board->work, test->length_bytes, test->seed, frame);
        step = loop_frame(board, from, test->length_bytes, received);
        if (step != STEP_OK)
            break;
        board->job.progress++;
        board->job.detail +=
            !pattern_right(received, &board->links[!from], test->length_bytes, test->seed, frame);
    }
    for (uint32_t i = 0; i < BANK_COUNT; i++)
        board->links[i].accesses_per_poll = LINK_ACCESSES_PER_POLL;
    return step;
}

/* --- the model over the ring --- */

static struct hop *hop_of(struct board *board) { return (struct hop *)(void *)board->work; }

static enum job_step send_hop(struct board *board, uint32_t position, uint32_t timeout_ms)
{
    struct hop *hop = hop_of(board);
    uint32_t dim = board->model.config.dim;
    hop->position = position;
    hop->count = dim;
    tap_record(&board->model.taps, OP_HOP_SEND, NO_LAYER, position, hop->x, dim);
    return report(board, BANK_DOWNSTREAM,
                  link_send_frame(&board->links[BANK_DOWNSTREAM], LINK_ACTIVATION, hop,
                                  (uint32_t)sizeof *hop + dim * (uint32_t)sizeof(float),
                                  limit_us(timeout_ms)));
}

/* STEP_OK: an activation is in the hop; STEP_END: END came. */
static enum job_step receive_hop(struct board *board, uint32_t timeout_ms)
{
    struct hop *hop = hop_of(board);
    uint32_t dim = board->model.config.dim;
    uint8_t type;
    uint32_t length;
    enum job_step step = report(board, BANK_UPSTREAM,
                                link_receive_frame(&board->links[BANK_UPSTREAM], hop, WORK_BYTES, &type,
                                                   &length, limit_us(timeout_ms)));
    if (step != STEP_OK)
        return step;
    if (type == LINK_END)
        return STEP_END;
    if (type != LINK_ACTIVATION || length != sizeof *hop + dim * sizeof(float) || hop->count != dim) {
        console_log(LEVEL_ERROR,
                    "frame of type %u with %u bytes came where an activation of %u floats belongs",
                    (uint32_t)type, length, dim);
        return STEP_REFUSED;
    }
    if (!model_position_ok(&board->model, hop->position)) {
        console_log(LEVEL_ERROR,
                    "activation of position %u came, %u positions are cached; the context ends at %u",
                    hop->position, board->model.cached_positions, board->model.config.seq_len);
        return STEP_REFUSED;
    }
    tap_record(&board->model.taps, OP_HOP_RECEIVE, NO_LAYER, hop->position, hop->x, dim);
    return STEP_OK;
}

static enum job_step send_end(struct board *board, uint32_t timeout_ms)
{
    return report(board, BANK_DOWNSTREAM,
                  link_send_frame(&board->links[BANK_DOWNSTREAM], LINK_END, 0, 0, limit_us(timeout_ms)));
}

static void reset_model(struct board *board, uint32_t flags)
{
    model_reset(&board->model);
    board->model.taps.enabled = (flags & FLAG_RECORD_TAPS) != 0;
}

static enum job_step run_serve(struct board *board)
{
    const struct msg_serve *serve = &board->job.request.serve;
    enum job_step step;
    reset_model(board, serve->flags);
    while ((step = receive_hop(board, serve->timeout_ms)) == STEP_OK) {
        struct hop *hop = hop_of(board);
        model_layers(&board->model, hop->x, hop->position);
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
}

/* x through all layers, here or round the ring; the result is in the hop. */
static enum job_step run_layers(struct board *board, uint32_t position, uint32_t timeout_ms)
{
    model_layers(&board->model, hop_of(board)->x, position);
    if (board->world_size == 1)
        return aborted(board) ? STEP_ABORTED : STEP_OK;
    enum job_step step = send_hop(board, position, timeout_ms);
    return step == STEP_OK ? receive_hop(board, timeout_ms) : step;
}

static enum job_step finish_ring(struct board *board, uint32_t timeout_ms)
{
    if (board->world_size == 1)
        return STEP_OK;
    enum job_step step = send_end(board, timeout_ms);
    return step == STEP_OK ? receive_hop(board, timeout_ms) : step;
}

static enum job_step run_generate(struct board *board)
{
    const struct generate_request *generate = &board->job.request.generate;
    struct model *model = &board->model;
    struct sampler sampler;
    uint32_t token = board->prompt[0];
    board->token_count = 0;
    reset_model(board, generate->flags);
    sampler_init(&sampler, generate->temperature, generate->topp, generate->rng_seed);
    for (uint32_t position = 0; position < generate->positions; position++) {
        struct hop *hop = hop_of(board);
        model_embed(model, token, position, hop->x);
        enum job_step step = run_layers(board, position, generate->timeout_ms);
        if (step == STEP_END) {
            console_log(LEVEL_ERROR, "END came round before position %u was over", position);
            return STEP_REFUSED;
        }
        if (step != STEP_OK)
            return step;
        const float *logits = model_head(model, hop->x, position);
        int forced = position + 1 < generate->prompt_count;
        token = forced ? board->prompt[position + 1] : sampler_next(&sampler, model, logits, position);
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
        return run_link_send(board);
    case COMMAND_LINK_RECEIVE:
        return run_link_receive(board);
    case COMMAND_LINK_LOOPBACK:
        return run_loopback(board);
    case COMMAND_SERVE:
        return run_serve(board);
    default:
        return run_generate(board);
    }
}

void job_run(struct board *board)
{
    board->job.pending = 0;
    board->job.result = (uint8_t)result_of(run(board));
    struct msg_job_state state = job_state(board);
    console_event(EVENT_JOB_DONE, &state, sizeof state);
}
