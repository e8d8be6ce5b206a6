/* model_commands.c: commands of the model: generations, taps, tokens. The generation itself: generate_jobs.h. Contract: handlers.h. */
#include "crc32.h"
#include "handlers.h"
#include "runtime.h"

void handle_serve(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    if (head_model(board)->has_head) {
        refuse(reply, STATUS_WRONG_ROLE, "rank %u holds the head; it takes GENERATE, not SERVE",
               head_model(board)->rank);
        return;
    }
    memcpy(&board->job.request.serve, request->payload, sizeof board->job.request.serve);
    accept_job(board, COMMAND_SERVE, reply);
}

static int check_prompt(const struct board *board, uint32_t positions, uint32_t prompt_count,
                        struct reply *reply)
{
    const struct model_config *config = &board->models[0].config;
    if (prompt_count == 0 || prompt_count > positions || positions > config->seq_len) {
        refuse(reply, STATUS_BAD_ARGUMENT,
               "a prompt of %u tokens and %u positions: 1 <= prompt <= positions <= %u (the model's context)",
               prompt_count, positions, config->seq_len);
        return 0;
    }
    for (uint32_t i = 0; i < prompt_count; i++) {
        if (board->prompt[i] >= config->vocab_size) {
            refuse(reply, STATUS_BAD_ARGUMENT, "prompt token %u is %u; the vocabulary ends at %u", i,
                   (uint32_t)board->prompt[i], config->vocab_size);
            return 0;
        }
    }
    return 1;
}

void handle_generate(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    if (!head_model(board)->has_head || !head_model(board)->has_embed) {
        refuse(reply, STATUS_WRONG_ROLE, "rank %u has no head; it takes SERVE, not GENERATE",
               (uint32_t)board->rank);
        return;
    }
    const struct msg_generate *asked = (const struct msg_generate *)(const void *)request->payload;
    uint32_t prompt_bytes = request->size - (uint32_t)sizeof *asked;
    memcpy(board->prompt, asked->prompt, prompt_bytes);
    board->job.request.generate = (struct generate_request){
        .flags = asked->flags,
        .positions = asked->positions,
        .timeout_ms = asked->timeout_ms,
        .prompt_count = prompt_bytes / 2,
        .temperature = asked->temperature,
        .topp = asked->topp,
        .rng_seed = asked->rng_seed,
    };
    if (prompt_bytes % 2)
        refuse(reply, STATUS_BAD_LENGTH, "a prompt of %u bytes; tokens have two bytes each", prompt_bytes);
    else if (check_prompt(board, asked->positions, prompt_bytes / 2, reply))
        accept_job(board, COMMAND_GENERATE, reply);
}

void handle_model_info(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    if (!check_model(board, reply))
        return;
    if (!board->shard_crc32_known) {
        board->shard_crc32 = crc32_update(CRC32_START, (const void *)SHARD_ADDRESS, board->shard_bytes);
        board->shard_crc32_known = 1;
    }
    const struct model_config *config = &board->models[0].config;
    struct msg_model_info info = {
        .dim = config->dim,
        .hidden_dim = config->hidden_dim,
        .n_layers = config->n_layers,
        .n_heads = config->n_heads,
        .n_kv_heads = config->n_kv_heads,
        .vocab_size = config->vocab_size,
        .seq_len = config->seq_len,
        .shared_classifier = config->shared_classifier != 0,
        .shard_crc32 = board->shard_crc32,
        .arena_used_bytes = board->models[0].arena_needed_bytes,
        .arena_size_bytes = board->models[0].arena_bytes,
    };
    give(reply, &info, sizeof info);
}

void handle_taps_read(struct board *board, const struct request *request, struct reply *reply)
{
    if (!check_model(board, reply))
        return;
    struct msg_taps_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (asked.shard >= board->shard_count) {
        refuse(reply, STATUS_BAD_ARGUMENT, "shard %u of %u; they count from 0", (uint32_t)asked.shard,
               board->shard_count);
        return;
    }
    const struct tap_log *taps = &board->models[asked.shard].taps;
    uint32_t bytes_each = asked.full ? sizeof(struct tap_record) : sizeof(uint32_t);
    uint32_t count = asked.first < taps->count ? taps->count - asked.first : 0;
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_taps_part)) / bytes_each;
    count = count < asked.count ? count : asked.count;
    count = count < count_max ? count : count_max;
    struct msg_taps_part part = {.total = taps->count, .first = asked.first, .dropped = taps->dropped};
    reply->size = sizeof part;
    for (uint32_t i = asked.first; i < asked.first + count; i++) {
        const struct tap_record *entry = &taps->entries[i];
        part.keys_crc32 = crc32_update(part.keys_crc32, &entry->key, sizeof entry->key);
        part.nonfinite += entry->nonfinite != 0;
        part.zero += entry->nonfinite == 0 && entry->minimum == 0.0f && entry->maximum == 0.0f;
        part.flushed += (entry->flags & TAP_FLUSHED) != 0;
        if (asked.full)
            give(reply, entry, sizeof *entry);
        else
            give(reply, &entry->crc32, sizeof entry->crc32);
    }
    memcpy(reply->payload, &part, sizeof part);
}

void handle_taps_clear(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    check_model(board, reply);
    for (uint32_t i = 0; i < board->shard_count; i++)
        tap_log_clear(&board->models[i].taps);
}

void handle_tokens_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tokens_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    uint32_t count = asked.first < board->token_count ? board->token_count - asked.first : 0;
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_tokens_part)) / 2;
    struct msg_tokens_part part = {.total = (uint16_t)board->token_count, .first = asked.first};
    give(reply, &part, sizeof part);
    give(reply, board->tokens + asked.first, (count < count_max ? count : count_max) * 2);
}
