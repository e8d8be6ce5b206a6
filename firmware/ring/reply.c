/* reply.c: contract in reply.h. */
#include "reply.h"

#include "runtime.h"
#include "text.h"

enum {
    SENTENCE_BYTES = 240,
};

void refuse(struct reply *reply, enum status_code status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    reply->status = status;
    reply->size = text_print_list((char *)reply->payload, SENTENCE_BYTES, format, arguments);
    va_end(arguments);
}

void give(struct reply *reply, const void *message, uint32_t size)
{
    memcpy(reply->payload + reply->size, message, size);
    reply->size += size;
}

void accept_job(struct board *board, enum command_code command, struct reply *reply)
{
    struct job *job = &board->job;
    job->number++;
    job->command = (uint8_t)command;
    job->result = JOB_RUNNING;
    job->pending = 1;
    job->abort = 0;
    job->progress = 0;
    job->detail = 0;
    struct msg_job_started started = {.job = job->number};
    give(reply, &started, sizeof started);
}

int check_model(const struct board *board, struct reply *reply)
{
    if (board->shard_count)
        return 1;
    refuse(reply, STATUS_NO_MODEL, "%s", board->model_text);
    return 0;
}

int check_ram(const struct board *board, uint32_t address, uint32_t size_bytes, struct reply *reply)
{
    if (address < board->arm_memory_bytes && board->arm_memory_bytes - address >= size_bytes)
        return 1;
    refuse(reply, STATUS_BAD_ARGUMENT, "0x%x + %u bytes is not in RAM, which ends at 0x%x", address,
           size_bytes, board->arm_memory_bytes);
    return 0;
}
