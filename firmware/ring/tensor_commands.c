/* tensor_commands.c: commands about single tensors. Where these stand: tensors.h. Contract: handlers.h. */
#include "handlers.h"
#include "replay_jobs.h"
#include "runtime.h"
#include "tensors.h"

static int check_shard(const struct board *board, uint32_t shard, struct reply *reply)
{
    if (!check_model(board, reply))
        return 0;
    if (shard < board->shard_count)
        return 1;
    refuse(reply, STATUS_BAD_ARGUMENT, "shard %u of %u; they count from 0", shard, board->shard_count);
    return 0;
}

static void refuse_tap(const struct tap_log *taps, uint32_t index, struct reply *reply)
{
    if (index >= taps->count)
        refuse(reply, STATUS_BAD_ARGUMENT, "tap %u of %u; they count from 0", index, taps->count);
    else
        refuse(reply, STATUS_OUT_OF_MEMORY,
               "the tensor of tap %u was not kept: %u bytes behind the arenas hold those of %u taps from tap "
               "%u on; "
               "send TENSOR_KEEP with first %u and run again",
               index, taps->keep_words * (uint32_t)sizeof(float), taps->kept_count, taps->kept_first, index);
}

/* The tensor; refuses where there is none. */
static struct tensor find(struct board *board, uint8_t source, uint32_t shard, uint32_t index,
                          struct reply *reply)
{
    struct tensor tensor = {0};
    if (!check_shard(board, shard, reply))
        return tensor;
    tensor = tensors_find(board, source, shard, index);
    if (tensor.data == 0 && source == SOURCE_TAP)
        refuse_tap(&board->models[shard].taps, index, reply);
    else if (tensor.data == 0)
        refuse(reply, STATUS_BAD_ARGUMENT, "there is no tensor %u of source %u on this board", index,
               (uint32_t)source);
    return tensor;
}

void handle_tensor_keep(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tensor_keep asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (!check_shard(board, asked.shard, reply))
        return;
    struct tap_log *taps = &board->models[asked.shard].taps;
    struct msg_tensor_kept kept = {.first = taps->kept_first,
                                   .count = taps->kept_count,
                                   .used_bytes = taps->kept_words * (uint32_t)sizeof(float),
                                   .there_bytes = tensors_keep_bytes(board)};
    taps->keep_first = asked.first;
    give(reply, &kept, sizeof kept);
}

void handle_tensor_digests(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tensor_digests asked;
    memcpy(&asked, request->payload, sizeof asked);
    const struct tensor tensor = find(board, asked.source, asked.shard, asked.index, reply);
    if (tensor.data == 0)
        return;
    uint32_t blocks_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_tensor_blocks)) / sizeof(uint32_t);
    if (asked.block == 0) {
        refuse(reply, STATUS_BAD_ARGUMENT, "blocks of 0 floats; give 1 or more");
        return;
    }
    struct msg_tensor_blocks head = {.count = tensor.count};
    give(reply, &head, sizeof head);
    uint64_t at = (uint64_t)asked.first * asked.block;
    blocks_max = asked.count < blocks_max ? asked.count : blocks_max;
    for (uint32_t i = 0; i < blocks_max && at < tensor.count; i++, at += asked.block) {
        uint32_t left = tensor.count - (uint32_t)at;
        uint32_t crc = tap_digest(board->models[asked.shard].taps.crc_table, tensor.data + at,
                                  left < asked.block ? left : asked.block);
        give(reply, &crc, sizeof crc);
    }
}

/* 1 if floats [first, first + count) are in the tensor; refuses otherwise. */
static int check_range(const struct tensor *tensor, uint32_t first, uint32_t count, struct reply *reply)
{
    if (first <= tensor->count && count <= tensor->count - first)
        return 1;
    refuse(reply, STATUS_BAD_ARGUMENT, "floats %u to %u of a tensor that has %u", first, first + count,
           tensor->count);
    return 0;
}

void handle_tensor_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tensor_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    const struct tensor tensor = find(board, asked.source, asked.shard, asked.index, reply);
    if (tensor.data == 0 || !check_range(&tensor, asked.first, asked.count, reply))
        return;
    if (asked.count > REPLY_BYTES_MAX / sizeof(float))
        refuse(reply, STATUS_BAD_ARGUMENT, "%u floats do not fit a response; read at most %u at a time",
               (uint32_t)asked.count, REPLY_BYTES_MAX / (uint32_t)sizeof(float));
    else
        give(reply, tensor.data + asked.first, asked.count * (uint32_t)sizeof(float));
}

void handle_tensor_write(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_tensor_write asked;
    memcpy(&asked, request->payload, sizeof asked);
    const struct tensor tensor = find(board, asked.source, asked.shard, asked.index, reply);
    uint32_t bytes = request->size - (uint32_t)sizeof asked;
    if (tensor.data == 0)
        return;
    if (asked.source == SOURCE_TAP)
        refuse(reply, STATUS_BAD_ARGUMENT, "the tensor of a tap is what was seen; it cannot be written");
    else if (bytes % sizeof(float))
        refuse(reply, STATUS_BAD_LENGTH, "%u bytes of floats; they have four bytes each", bytes);
    else if (check_range(&tensor, asked.first, bytes / sizeof(float), reply)) {
        memcpy(tensor.data + asked.first, request->payload + sizeof asked, bytes);
        board->shard_crc32_known = 0;
    }
}

void handle_parameters_read(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_parameters_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (!check_shard(board, asked.shard, reply))
        return;
    if (asked.source < SOURCE_VALUE || asked.source > SOURCE_SECOND) {
        refuse(reply, STATUS_BAD_ARGUMENT, "source %u is none of parameters; give 1 to 4",
               (uint32_t)asked.source);
        return;
    }
    uint32_t total = tensors_parameters(board, asked.source, asked.shard);
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof(struct msg_parameters_part)) / sizeof(uint32_t);
    struct msg_parameters_part part = {.total = (uint16_t)total, .first = asked.first};
    give(reply, &part, sizeof part);
    for (uint32_t i = asked.first; i < total && i - asked.first < count_max; i++) {
        const struct tensor tensor = tensors_find(board, asked.source, asked.shard, i);
        if (tensor.data == 0) {
            refuse(reply, STATUS_BAD_ARGUMENT, "there are no tensors of source %u on this board",
                   (uint32_t)asked.source);
            reply->size = 0;
            return;
        }
        uint32_t crc = tap_digest(board->models[asked.shard].taps.crc_table, tensor.data, tensor.count);
        give(reply, &crc, sizeof crc);
    }
}

/* --- replays --- */

enum {
    PARTS_GENERATE = PART_EMBED | PART_LAYERS | PART_HEAD | PART_SAMPLE,
    PARTS_HEAD = PART_HEAD | PART_SAMPLE | PART_TRAIN_HEAD,
    PARTS_EMBED = PART_EMBED | PART_TRAIN_EMBED | PART_TRAIN_EMBED_BACKWARD,
    PARTS_ALL = 2 * PART_UPDATE - 1,
    PARTS_TRAIN = PARTS_ALL & ~PARTS_GENERATE & ~PART_UPDATE,
};

static int check_update(struct board *board, const struct msg_replay *asked, struct reply *reply)
{
    const struct tensor input = tensors_find(board, SOURCE_INPUT, asked->shard, 0);
    uint32_t count = board->trains[asked->shard].parameter_count;
    if (asked->index >= count)
        refuse(reply, STATUS_BAD_ARGUMENT, "parameter %u of %u; they count from 0", asked->index, count);
    else if (asked->count > input.count)
        refuse(reply, STATUS_BAD_ARGUMENT, "%u floats to update; an input holds %u", asked->count,
               input.count);
    else
        return 1;
    return 0;
}

/* Whether the shard can do what is asked. */
static int check_parts(struct board *board, const struct msg_replay *asked, struct reply *reply)
{
    const struct model *model = &board->models[asked->shard];
    const struct training *training = &board->training;
    int trains = (asked->parts & ~(uint32_t)PARTS_GENERATE) != 0;
    int mixed = trains && ((asked->parts & PARTS_GENERATE) ||
                           ((asked->parts & PART_UPDATE) && asked->parts != PART_UPDATE));
    if (asked->parts == 0 || asked->parts > PARTS_ALL || mixed)
        refuse(reply, STATUS_BAD_ARGUMENT, "parts 0x%x; give bits of 0x%x, or of 0x%x, or 0x%x alone",
               (uint32_t)asked->parts, (uint32_t)PARTS_GENERATE, (uint32_t)PARTS_TRAIN,
               (uint32_t)PART_UPDATE);
    else if (((asked->parts & PARTS_HEAD) && !model->has_head) ||
             ((asked->parts & PARTS_EMBED) && !model->has_embed))
        refuse(reply, STATUS_WRONG_ROLE, "rank %u has no embedding and no head", model->rank);
    else if ((asked->parts & PART_EMBED) && asked->token >= model->config.vocab_size)
        refuse(reply, STATUS_BAD_ARGUMENT, "token %u; the vocabulary ends at %u", (uint32_t)asked->token,
               model->config.vocab_size);
    else if (!trains && !model_position_ok(model, asked->position) && (asked->parts & PART_LAYERS))
        refuse(reply, STATUS_BAD_ARGUMENT, "position %u; the cache holds %u and the context ends at %u",
               (uint32_t)asked->position, model->cached_positions, model->config.seq_len);
    else if (trains && training->state != TRAINING_HELD && training->state != TRAINING_READY)
        refuse(reply, STATUS_BAD_ARGUMENT, "no training is set up; send TRAIN_SETUP first");
    else if (trains && asked->microbatch >= training->microbatches)
        refuse(reply, STATUS_BAD_ARGUMENT, "microbatch %u of %u; they count from 0",
               (uint32_t)asked->microbatch, training->microbatches);
    else
        return !(asked->parts & PART_UPDATE) || check_update(board, asked, reply);
    return 0;
}

void handle_replay(struct board *board, const struct request *request, struct reply *reply)
{
    struct msg_replay asked;
    memcpy(&asked, request->payload, sizeof asked);
    if (!check_shard(board, asked.shard, reply) || !check_parts(board, &asked, reply))
        return;
    if (tensors_find(board, SOURCE_INPUT, asked.shard, 0).data == 0) {
        refuse(reply, STATUS_OUT_OF_MEMORY, "no memory is left behind the arenas for a replay's inputs");
        return;
    }
    board->job.request.replay = asked;
    accept_job(board, COMMAND_REPLAY, reply);
}
