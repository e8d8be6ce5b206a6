/* train_jobs.c: one step of training on the ring. Contract: train_jobs.h.
 * A step takes its microbatches in groups of `slots`: the whole group forward, then the whole group backward, both
 * in ascending order. The rank with the head keeps as many microbatches under way as there are other ranks, so
 * that no send waits for another in a circle. Order of taps: golden/train.py, ring_taps. */
#include "train_jobs.h"

#include "console.h"
#include "runtime.h"
#include "tensors.h"

static uint32_t dim_of(const struct board *board) { return board->models[0].config.dim; }

/* Positions of one microbatch that fit a frame. */
static uint32_t rows_per_frame(const struct board *board)
{
    return (uint32_t)((WORK_BYTES - sizeof(struct hop)) / (dim_of(board) * sizeof(float)));
}

static float *stream(const struct board *board, uint32_t microbatch)
{
    return board->training.x + (uintptr_t)microbatch * board->training.positions * dim_of(board);
}

static const uint16_t *tokens_of(const struct board *board, uint32_t microbatch)
{
    return board->training.tokens + (uintptr_t)microbatch * (board->training.positions + 1);
}

static enum job_step go_on(struct board *board) { return board->job.abort ? STEP_ABORTED : STEP_OK; }

/* --- blocks: (positions, dim) floats of one microbatch, row by row in as many frames as it takes --- */

struct block {
    uint8_t type; /* LINK_ACTIVATION or LINK_GRADIENT */
    uint32_t microbatch;
    float *x;
};

static void record_block(struct board *board, uint32_t shard, uint32_t op, const float *x)
{
    uint32_t dim = dim_of(board);
    for (uint32_t p = 0; p < board->training.positions; p++)
        tap_record(&board->models[shard].taps, op, NO_LAYER, p, x + (uintptr_t)p * dim, dim);
}

static uint32_t rows_from(const struct board *board, uint32_t position)
{
    uint32_t left = board->training.positions - position, fitting = rows_per_frame(board);
    return left < fitting ? left : fitting;
}

/* Fills the frame that leaves at a bank; returns its bytes. */
static uint32_t fill_frame(struct board *board, uint32_t bank, const struct block *block, uint32_t position)
{
    struct hop *hop = job_hop(board, bank);
    uint32_t floats = rows_from(board, position) * dim_of(board);
    hop->position = position | block->microbatch << 16;
    hop->count = floats;
    memcpy(hop->x, block->x + (uintptr_t)position * dim_of(board), floats * sizeof(float));
    return (uint32_t)(sizeof *hop + floats * sizeof(float));
}

/* Takes the rows of the frame that came at a bank, if it is the one that belongs here. */
static enum job_step take_frame(struct board *board, uint32_t bank, const struct block *block,
                                uint32_t position)
{
    const struct link *link = &board->links[bank];
    const struct hop *hop = job_hop(board, bank);
    uint32_t floats = rows_from(board, position) * dim_of(board);
    uint32_t bytes = (uint32_t)(sizeof *hop + floats * sizeof(float));
    if (link->received_type != block->type || link->received_length != bytes || hop->count != floats ||
        hop->position != (position | block->microbatch << 16)) {
        console_log(LEVEL_ERROR,
                    "frame of type %u with %u bytes came where type %u with %u bytes belongs (microbatch %u, "
                    "position %u)",
                    (uint32_t)link->received_type, link->received_length, (uint32_t)block->type, bytes,
                    block->microbatch, position);
        return STEP_REFUSED;
    }
    memcpy(block->x + (uintptr_t)position * dim_of(board), hop->x, floats * sizeof(float));
    return STEP_OK;
}

static uint32_t limit_us(const struct board *board)
{
    return job_limit_us(board->job.request.train.timeout_ms);
}

static uint32_t bank_out(uint8_t type) { return type == LINK_GRADIENT ? BANK_UPSTREAM : BANK_DOWNSTREAM; }

static enum job_step send_block(struct board *board, const struct block *block)
{
    uint32_t bank = bank_out(block->type);
    enum job_step step = STEP_OK;
    record_block(board, 0, block->type == LINK_GRADIENT ? OP_D_HOP_SEND : OP_HOP_SEND, block->x);
    for (uint32_t p = 0; p < board->training.positions && step == STEP_OK; p += rows_per_frame(board)) {
        uint32_t bytes = fill_frame(board, bank, block, p);
        step = job_send(board, bank, block->type, bytes, limit_us(board));
    }
    return step;
}

static enum job_step receive_block(struct board *board, const struct block *block)
{
    uint32_t bank = bank_out(block->type) == BANK_UPSTREAM ? BANK_DOWNSTREAM : BANK_UPSTREAM;
    enum job_step step = STEP_OK;
    for (uint32_t p = 0; p < board->training.positions && step == STEP_OK; p += rows_per_frame(board)) {
        step = job_receive(board, bank, board->work[bank], limit_us(board));
        if (step == STEP_OK)
            step = take_frame(board, bank, block, p);
    }
    if (step == STEP_OK)
        record_block(board, 0, block->type == LINK_GRADIENT ? OP_D_HOP_RECEIVE : OP_HOP_RECEIVE, block->x);
    return step;
}

/* Through the jumpers, from one shard of this board to another. */
static enum job_step jump_block(struct board *board, uint32_t from, uint32_t to, const struct block *block)
{
    uint32_t out = bank_out(block->type), in = BANK_COUNT - 1 - out;
    int back = block->type == LINK_GRADIENT;
    enum job_step step = STEP_OK;
    record_block(board, from, back ? OP_D_HOP_SEND : OP_HOP_SEND, block->x);
    for (uint32_t p = 0; p < board->training.positions && step == STEP_OK; p += rows_per_frame(board)) {
        step = job_jump(board, out, block->type, fill_frame(board, out, block, p));
        if (step == STEP_OK)
            step = take_frame(board, in, block, p);
    }
    if (step == STEP_OK)
        record_block(board, to, back ? OP_D_HOP_RECEIVE : OP_HOP_RECEIVE, block->x);
    return step;
}

/* --- a group of microbatches: [first, first + count) --- */

static void head(struct board *board, uint32_t i)
{
    struct training *training = &board->training;
    struct model_train *train = &board->trains[board->shard_count - 1];
    trace_compute(&board->trace, TRACE_HEAD, i, 0);
    training->losses[i] = model_train_head(train, stream(board, i), tokens_of(board, i) + 1,
                                           training->positions, training->microbatches);
    trace_computed(&board->trace);
}

static void embed(struct board *board, uint32_t i)
{
    struct model_train *train = &board->trains[board->shard_count - 1];
    trace_compute(&board->trace, TRACE_EMBED, i, 0);
    model_train_embed(train, tokens_of(board, i), stream(board, i), board->training.positions);
    trace_computed(&board->trace);
}

/* x (positions, dim) through the layers of a shard, forward or backward. */
static void through_layers(struct board *board, uint32_t shard, uint32_t slot, const struct block *block)
{
    struct model_train *train = &board->trains[shard];
    int back = block->type == LINK_GRADIENT;
    trace_compute(&board->trace, back ? TRACE_BACKWARD : TRACE_FORWARD, block->microbatch, 0);
    if (back)
        model_train_backward(train, slot, block->x, board->training.positions);
    else
        model_train_forward(train, slot, block->x, board->training.positions);
    trace_computed(&board->trace);
}

static enum job_step embed_and_send(struct board *board, uint32_t i)
{
    const struct block block = {LINK_ACTIVATION, i, stream(board, i)};
    embed(board, i);
    return send_block(board, &block);
}

static enum job_step send_gradient(struct board *board, uint32_t i)
{
    const struct block block = {LINK_GRADIENT, i, stream(board, i)};
    return send_block(board, &block);
}

/* The rank with the head, one way round: `under_way` microbatches are out at a time. */
static enum job_step head_round(struct board *board, uint32_t first, uint32_t count, uint8_t type)
{
    enum job_step (*send)(struct board *, uint32_t) = type == LINK_GRADIENT ? send_gradient : embed_and_send;
    uint32_t under_way = board->world_size - 1u;
    enum job_step step = STEP_OK;
    for (uint32_t i = 0; i < under_way && i < count && step == STEP_OK; i++)
        step = send(board, first + i);
    for (uint32_t i = 0; i < count && step == STEP_OK; i++) {
        const struct block block = {type, first + i, stream(board, first + i)};
        step = receive_block(board, &block);
        if (step == STEP_OK && i + under_way < count)
            step = send(board, first + i + under_way);
        if (step == STEP_OK && type == LINK_ACTIVATION) {
            head(board, first + i);
            board->job.progress++;
        }
    }
    return step == STEP_OK ? go_on(board) : step;
}

/* A rank without head, one way: takes, computes, passes on. */
static enum job_step layer_round(struct board *board, uint32_t first, uint32_t count, uint8_t type)
{
    enum job_step step = STEP_OK;
    for (uint32_t i = 0; i < count && step == STEP_OK; i++) {
        const struct block block = {type, first + i, stream(board, 0)};
        step = receive_block(board, &block);
        if (step != STEP_OK)
            return step;
        through_layers(board, 0, i, &block);
        step = go_on(board);
        if (step == STEP_OK)
            step = send_block(board, &block);
        board->job.progress += type == LINK_GRADIENT;
    }
    return step;
}

/* This board alone, as one rank or as all of them. */
static enum job_step forward_alone(struct board *board, uint32_t slot, uint32_t i)
{
    uint32_t shards = board->shard_count;
    const struct block block = {LINK_ACTIVATION, i, stream(board, i)};
    enum job_step step = STEP_OK;
    embed(board, i);
    for (uint32_t rank = 0; rank < shards && step == STEP_OK; rank++) {
        if (shards > 1)
            step = jump_block(board, rank > 0 ? rank - 1 : shards - 1, rank, &block);
        if (step == STEP_OK)
            through_layers(board, rank, slot, &block);
    }
    if (step == STEP_OK)
        head(board, i);
    return step == STEP_OK ? go_on(board) : step;
}

static enum job_step backward_alone(struct board *board, uint32_t slot, uint32_t i)
{
    uint32_t shards = board->shard_count;
    const struct block block = {LINK_GRADIENT, i, stream(board, i)};
    enum job_step step = STEP_OK;
    for (uint32_t rank = shards; rank-- > 0 && step == STEP_OK;) {
        through_layers(board, rank, slot, &block);
        if (shards > 1)
            step = jump_block(board, rank, rank > 0 ? rank - 1 : shards - 1, &block);
    }
    board->job.progress++;
    return step == STEP_OK ? go_on(board) : step;
}

static int is_alone(const struct board *board) { return board->shard_count > 1 || board->world_size == 1; }

static enum job_step run_group(struct board *board, uint32_t first, uint32_t count)
{
    enum job_step step = STEP_OK;
    if (!is_alone(board)) {
        int has_head = board->models[0].has_head != 0;
        enum job_step (*round)(struct board *, uint32_t, uint32_t, uint8_t) =
            has_head ? head_round : layer_round;
        step = round(board, first, count, LINK_ACTIVATION);
        return step == STEP_OK ? round(board, first, count, LINK_GRADIENT) : step;
    }
    for (uint32_t i = 0; i < count && step == STEP_OK; i++)
        step = forward_alone(board, i, first + i);
    for (uint32_t i = 0; i < count && step == STEP_OK; i++)
        step = backward_alone(board, i, first + i);
    return step;
}

/* --- the end of a step: the sum of squares goes round, every rank steps --- */

static enum job_step send_squares(struct board *board, float total)
{
    memcpy(board->work[BANK_DOWNSTREAM], &total, sizeof total);
    return job_send(board, BANK_DOWNSTREAM, LINK_SQUARES, sizeof total, limit_us(board));
}

static enum job_step receive_squares(struct board *board, float *total)
{
    const struct link *link = &board->links[BANK_UPSTREAM];
    enum job_step step = job_receive(board, BANK_UPSTREAM, board->work[BANK_UPSTREAM], limit_us(board));
    if (step == STEP_OK && (link->received_type != LINK_SQUARES || link->received_length != sizeof *total)) {
        console_log(LEVEL_ERROR, "frame of type %u with %u bytes came where a sum of squares belongs",
                    (uint32_t)link->received_type, link->received_length);
        return STEP_REFUSED;
    }
    if (step == STEP_OK)
        memcpy(total, board->work[BANK_UPSTREAM], sizeof *total);
    return step;
}

/* The sum over the gradients of all ranks, in the order of ranks; from the last rank it goes round again. */
static enum job_step sum_squares(struct board *board, float *total)
{
    enum job_step step = STEP_OK;
    uint32_t last = board->world_size - 1u;
    *total = 0.0f;
    if (!is_alone(board) && board->rank > 0)
        step = receive_squares(board, total);
    board->training.squares_in = *total;
    trace_compute(&board->trace, TRACE_OPTIMIZER, 0, 0);
    for (uint32_t i = 0; i < board->shard_count && step == STEP_OK; i++)
        *total = model_train_squares(&board->trains[i], *total);
    board->training.squares_out = *total;
    trace_computed(&board->trace);
    if (is_alone(board) || step != STEP_OK)
        return step;
    step = send_squares(board, *total);
    if (step == STEP_OK && board->rank != last)
        step = receive_squares(board, total);
    if (step == STEP_OK && board->rank + 1u < last)
        step = send_squares(board, *total);
    return step;
}

static void mean_loss(struct training *training)
{
    float sum = 0.0f;
    for (uint32_t i = 0; i < training->microbatches; i++)
        sum += training->losses[i];
    training->loss = sum / (float)training->microbatches;
}

static enum job_step run_step(struct board *board)
{
    struct training *training = &board->training;
    enum job_step step = STEP_OK;
    float total;
    for (uint32_t first = 0; first < training->microbatches && step == STEP_OK; first += training->slots) {
        uint32_t left = training->microbatches - first;
        step = run_group(board, first, left < training->slots ? left : training->slots);
    }
    if (step != STEP_OK)
        return step;
    if (head_model(board)->has_head) {
        mean_loss(training);
        trace_compute(&board->trace, TRACE_EMBED_BACKWARD, 0, 0);
        for (uint32_t i = 0; i < training->microbatches; i++)
            model_train_embed_backward(&board->trains[board->shard_count - 1], tokens_of(board, i),
                                       stream(board, i), training->positions);
        trace_computed(&board->trace);
    }
    step = sum_squares(board, &total);
    trace_compute(&board->trace, TRACE_OPTIMIZER, 0, 0);
    for (uint32_t i = 0; i < board->shard_count && step == STEP_OK; i++)
        model_train_norm(&board->trains[i], total);
    trace_computed(&board->trace);
    return step;
}

enum job_step train_job_apply(struct board *board)
{
    struct training *training = &board->training;
    training->state = TRAINING_BROKEN;
    trace_compute(&board->trace, TRACE_OPTIMIZER, 0, 0);
    for (uint32_t i = 0; i < board->shard_count; i++)
        model_train_apply(&board->trains[i]);
    trace_computed(&board->trace);
    board->shard_crc32_known = 0;
    training->steps++;
    training->state = TRAINING_READY;
    return STEP_OK;
}

enum job_step train_job_run(struct board *board)
{
    struct training *training = &board->training;
    uint32_t flags = board->job.request.train.flags;
    /* A step that is held changes no parameter on any rank, so it may break off; of others some ranks may be through. */
    training->state = flags & FLAG_HOLD ? TRAINING_READY : TRAINING_BROKEN;
    tensors_keep(board, flags & FLAG_KEEP_TENSORS);
    trace_compute(&board->trace, TRACE_CLEAR, 0, 0);
    for (uint32_t i = 0; i < board->shard_count; i++) {
        tap_log_clear(&board->models[i].taps);
        board->models[i].taps.enabled = (flags & FLAG_RECORD_TAPS) != 0;
        model_train_begin(&board->trains[i]);
    }
    trace_computed(&board->trace);
    enum job_step step = run_step(board);
    if (step != STEP_OK)
        return step;
    training->state = TRAINING_HELD;
    return flags & FLAG_HOLD ? STEP_OK : train_job_apply(board);
}
