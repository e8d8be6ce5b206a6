/* train_commands.c: commands of training: memory, tokens, results. Contract: handlers.h.
 * Owns the memory behind the models' arenas. */
#include "handlers.h"
#include "runtime.h"
#include "train_jobs.h"

enum {
    MICROBATCHES_MAX = 512,
    TAPS_PER_LAYER = 31,    /* ATT_NORM .. FFN_RES, D_SWIGLU .. D_LAYER */
    TAPS_PER_POSITION = 11, /* embedding, head, loss and hops, both ways */
};

/* --- memory --- */

/* Takes bytes behind *at and moves it; counts on when they are not there. */
static void *take_bytes(uint64_t *at, uint64_t bytes)
{
    void *piece = (void *)(uintptr_t)*at;
    *at += (bytes + 7) & ~7ull;
    return piece;
}

/* Of a step, or of a generation with the trained weights, whichever records more. */
static uint64_t tap_capacity(const struct model_train *train, const struct msg_train_setup *asked)
{
    const struct model *model = train->model;
    uint32_t layers = model->layer_end - model->layer_start;
    uint64_t positions = (uint64_t)asked->microbatches * asked->positions;
    uint64_t step =
        positions * (layers * TAPS_PER_LAYER + TAPS_PER_POSITION) + 2 * train->parameter_count + 1;
    uint32_t forward = forward_taps(model->config.seq_len, layers);
    return step > forward ? step : forward;
}

static int set_up_shard(struct board *board, uint32_t i, const struct msg_train_setup *asked, uint64_t *at)
{
    struct model_train *train = &board->trains[i];
    const struct train_settings settings = {
        .positions_max = asked->positions,
        .slots = asked->slots,
        .optimizer = asked->optimizer,
        .learning_rate = asked->learning_rate,
        .momentum = asked->momentum,
        .beta1 = asked->beta1,
        .beta2 = asked->beta2,
        .epsilon = asked->epsilon,
        .weight_decay = asked->weight_decay,
        .clip = asked->clip,
    };
    uint32_t there = *at < board->arm_memory_bytes ? board->arm_memory_bytes - (uint32_t)*at : 0;
    int error = model_train_init(train, &board->models[i], &settings, (void *)(uintptr_t)*at, there);
    take_bytes(at, train->arena_needed_bytes);
    return error;
}

/* Streams, tokens, losses and logs of taps; the same order whether or not they fit. */
static void lay_out(struct board *board, const struct msg_train_setup *asked, uint64_t *at)
{
    struct training *training = &board->training;
    uint32_t has_head = head_model(board)->has_head;
    uint64_t block = (uint64_t)asked->positions * board->models[0].config.dim * sizeof(float);

    training->x = take_bytes(at, (has_head ? asked->microbatches : 1u) * block);
    training->losses = take_bytes(at, has_head ? asked->microbatches * sizeof(float) : 0);
    training->tokens =
        take_bytes(at, has_head ? asked->microbatches * (asked->positions + 1u) * sizeof(uint16_t) : 0);
}

/* Counts on as well; a log moves only where it fits. */
static void lay_out_taps(struct board *board, const struct msg_train_setup *asked, uint64_t *at)
{
    for (uint32_t i = 0; i < board->shard_count; i++) {
        struct tap_log *taps = &board->models[i].taps;
        uint64_t capacity = tap_capacity(&board->trains[i], asked);
        struct tap_record *entries = take_bytes(at, capacity * sizeof(struct tap_record));
        if (*at <= board->arm_memory_bytes) { /* so it fits 32 bits */
            taps->entries = entries;
            taps->capacity = (uint32_t)capacity;
            taps->count = 0;
        }
    }
}

static int check_setup(const struct board *board, const struct msg_train_setup *asked, struct reply *reply)
{
    const struct model_config *config = &board->models[0].config;
    if (board->training.state == TRAINING_BROKEN)
        refuse(reply, STATUS_BAD_ARGUMENT,
               "a step of training broke off, so ranks may hold weights of different steps; boot again");
    else if (asked->positions == 0 || asked->positions > config->seq_len)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u positions; 1 to %u (the model's context)",
               (uint32_t)asked->positions, config->seq_len);
    else if (asked->microbatches == 0 || asked->microbatches > MICROBATCHES_MAX)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u microbatches; 1 to %u", (uint32_t)asked->microbatches,
               (uint32_t)MICROBATCHES_MAX);
    else if (asked->slots == 0 || asked->slots > TRAIN_SLOTS_MAX || asked->slots > asked->microbatches)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u slots for %u microbatches; 1 to %u, at most one for each",
               (uint32_t)asked->slots, (uint32_t)asked->microbatches, (uint32_t)TRAIN_SLOTS_MAX);
    else if (asked->optimizer > TRAIN_ADAMW)
        refuse(reply, STATUS_BAD_ARGUMENT, "optimizer %u does not exist; 0 SGD, 1 AdamW",
               (uint32_t)asked->optimizer);
    else
        return 1;
    return 0;
}

void handle_train_setup(struct board *board, const struct request *request, struct reply *reply)
{
    struct training *training = &board->training;
    struct msg_train_setup asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (!check_model(board, reply) || !check_setup(board, &asked, reply))
        return;
    uint64_t at = board->free_address;
    board->spare_address = board->free_address;
    int error = MODEL_OK;
    *training = (struct training){
        .positions = asked.positions, .microbatches = asked.microbatches, .slots = asked.slots};
    for (uint32_t i = 0; i < board->shard_count; i++) {
        int failed = set_up_shard(board, i, &asked, &at);
        error = error == MODEL_OK ? failed : error;
    }
    lay_out(board, &asked, &at);
    uint64_t taps = at;
    lay_out_taps(board, &asked, &at);
    uint64_t needed = at - board->free_address;
    struct msg_train_memory memory = {
        .needed_bytes = needed > UINT32_MAX ? UINT32_MAX : (uint32_t)needed,
        .there_bytes = board->arm_memory_bytes - board->free_address,
    };
    if (error != MODEL_OK || at > board->arm_memory_bytes) {
        refuse(reply, STATUS_OUT_OF_MEMORY,
               "too little memory to train: use fewer positions, fewer microbatches at a time, or SGD "
               "(needs %u bytes, has %u)",
               memory.needed_bytes, memory.there_bytes);
        return;
    }
    training->state = TRAINING_READY;
    board->spare_address = (uint32_t)at;
    training->bytes = memory.needed_bytes;
    training->taps_bytes = (uint32_t)(at - taps);
    give(reply, &memory, sizeof memory);
}

/* --- tokens, steps, results --- */

/* 1 if a training is set up; refuses otherwise. */
static int check_training(const struct board *board, struct reply *reply)
{
    if (!check_model(board, reply))
        return 0;
    if (board->training.state == TRAINING_READY || board->training.state == TRAINING_HELD)
        return 1;
    if (board->training.state == TRAINING_BROKEN)
        refuse(reply, STATUS_BAD_ARGUMENT,
               "a step of training broke off, so ranks may hold weights of different steps; boot again");
    else
        refuse(reply, STATUS_BAD_ARGUMENT, "no training is set up; send TRAIN_SETUP first");
    return 0;
}

void handle_train_tokens(struct board *board, const struct request *request, struct reply *reply)
{
    struct training *training = &board->training;
    if (!check_training(board, reply))
        return;
    const struct msg_train_tokens *asked = (const struct msg_train_tokens *)(const void *)request->payload;
    uint32_t vocab_size = board->models[0].config.vocab_size;
    uint32_t bytes = request->size - (uint32_t)sizeof *asked, count = bytes / 2, first = asked->first;
    uint32_t whole = training->microbatches * (training->positions + 1);
    uint32_t known = first == 0 ? 0 : training->token_count;
    if (!head_model(board)->has_head) {
        refuse(reply, STATUS_WRONG_ROLE, "rank %u has no embedding; the last rank takes the tokens",
               (uint32_t)board->rank);
        return;
    }
    if (bytes % 2 || first != known || count > whole - known) {
        refuse(
            reply, STATUS_BAD_ARGUMENT,
            "%u bytes of tokens from token %u on; %u tokens are here and a step takes %u of two bytes each",
            bytes, first, known, whole);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint16_t token;
        memcpy(&token, asked->tokens + 2 * i, sizeof token);
        if (token >= vocab_size) {
            refuse(reply, STATUS_BAD_ARGUMENT, "token %u is %u; the vocabulary ends at %u", first + i,
                   (uint32_t)token, vocab_size);
            return;
        }
    }
    memcpy(training->tokens + first, asked->tokens, bytes);
    training->token_count = first + count;
}

void handle_train_step(struct board *board, const struct request *request, struct reply *reply)
{
    const struct training *training = &board->training;
    uint32_t whole = training->microbatches * (training->positions + 1);
    if (!check_training(board, reply))
        return;
    if (head_model(board)->has_head && training->token_count != whole) {
        refuse(reply, STATUS_BAD_ARGUMENT, "%u tokens are here, a step takes %u; send TRAIN_TOKENS first",
               training->token_count, whole);
        return;
    }
    memcpy(&board->job.request.train, request->payload, sizeof board->job.request.train);
    accept_job(board, COMMAND_TRAIN_STEP, reply);
}

void handle_train_apply(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    if (!check_training(board, reply))
        return;
    if (board->training.state != TRAINING_HELD)
        refuse(reply, STATUS_BAD_ARGUMENT, "no step is held; send TRAIN_STEP with flag %u first",
               (uint32_t)FLAG_HOLD);
    else
        accept_job(board, COMMAND_TRAIN_APPLY, reply);
}

void handle_train_result(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    const struct training *training = &board->training;
    if (!check_training(board, reply))
        return;
    struct msg_train_result result = {
        .steps = training->steps,
        .loss = training->loss,
        .norm = board->trains[0].norm,
        .factor = board->trains[0].factor,
        .squares_in = training->squares_in,
        .squares_out = training->squares_out,
    };
    give(reply, &result, sizeof result);
    if (head_model(board)->has_head && (training->steps > 0 || training->state == TRAINING_HELD))
        give(reply, training->losses, training->microbatches * (uint32_t)sizeof(float));
}
