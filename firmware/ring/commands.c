/* commands.c: from a command's code to its handler. Contract: commands.h. Messages: hil/protocol/messages.py. */
#include "commands.h"

#include "handlers.h"

struct command_row {
    uint8_t code;
    uint8_t with_job;  /* served while a job runs */
    uint8_t with_tail; /* size_bytes is the least, not the exact size */
    uint16_t size_bytes;
    handler *run;
};

static const struct command_row rows[] = {
    {COMMAND_IDENTIFY, 1, 0, sizeof(struct msg_identify), handle_identify},
    {COMMAND_PING, 1, 1, 0, handle_ping},
    {COMMAND_HEALTH, 0, 0, 0, handle_health},
    {COMMAND_REBOOT, 0, 0, sizeof(struct msg_reboot), handle_reboot},
    {COMMAND_MEMORY_READ, 0, 0, sizeof(struct msg_memory_read), handle_memory_read},
    {COMMAND_CRASH, 0, 0, sizeof(struct msg_crash), handle_crash},
    {COMMAND_JOB_STATUS, 1, 0, 0, handle_job_status},
    {COMMAND_JOB_ABORT, 1, 0, 0, handle_job_abort},
    {COMMAND_LINK_COUNTERS, 0, 0, sizeof(struct msg_link_bank), handle_link_counters},
    {COMMAND_LINK_RESET, 0, 0, sizeof(struct msg_link_bank), handle_link_reset},
    {COMMAND_LINK_RUN, 0, 0, sizeof(struct msg_link_run), handle_link_run},
    {COMMAND_LINK_RESULT, 0, 0, sizeof(struct msg_link_bank), handle_link_result},
    {COMMAND_PIN_MODE, 0, 0, sizeof(struct msg_pin_mode), handle_pin_mode},
    {COMMAND_PIN_DRIVE, 0, 0, sizeof(struct msg_pin_drive), handle_pin_drive},
    {COMMAND_PIN_READ, 0, 0, 0, handle_pin_read},
    {COMMAND_MODEL_INFO, 0, 0, 0, handle_model_info},
    {COMMAND_SERVE, 0, 0, sizeof(struct msg_serve), handle_serve},
    {COMMAND_GENERATE, 0, 1, sizeof(struct msg_generate), handle_generate},
    {COMMAND_TRAIN_SETUP, 0, 0, sizeof(struct msg_train_setup), handle_train_setup},
    {COMMAND_TRAIN_TOKENS, 0, 1, sizeof(struct msg_train_tokens), handle_train_tokens},
    {COMMAND_TRAIN_STEP, 0, 0, sizeof(struct msg_train_step), handle_train_step},
    {COMMAND_TRAIN_RESULT, 0, 0, 0, handle_train_result},
    {COMMAND_TAPS_READ, 0, 0, sizeof(struct msg_taps_read), handle_taps_read},
    {COMMAND_TAPS_CLEAR, 0, 0, 0, handle_taps_clear},
    {COMMAND_TOKENS_READ, 0, 0, sizeof(struct msg_tokens_read), handle_tokens_read},
    {COMMAND_SET_BAUD, 0, 0, sizeof(struct msg_set_baud), handle_set_baud},
    {COMMAND_KEEP_BAUD, 0, 0, 0, handle_keep_baud},
    {COMMAND_SET_WATCHDOG, 0, 0, sizeof(struct msg_watchdog), handle_set_watchdog},
    {COMMAND_BENCH, 0, 0, sizeof(struct msg_bench), handle_bench},
    {COMMAND_TENSOR_KEEP, 0, 0, sizeof(struct msg_tensor_keep), handle_tensor_keep},
    {COMMAND_TENSOR_DIGESTS, 0, 0, sizeof(struct msg_tensor_digests), handle_tensor_digests},
    {COMMAND_TENSOR_READ, 0, 0, sizeof(struct msg_tensor_read), handle_tensor_read},
    {COMMAND_TENSOR_WRITE, 0, 1, sizeof(struct msg_tensor_write), handle_tensor_write},
    {COMMAND_PARAMETERS_READ, 0, 0, sizeof(struct msg_parameters_read), handle_parameters_read},
    {COMMAND_REPLAY, 0, 0, sizeof(struct msg_replay), handle_replay},
    {COMMAND_TRAIN_APPLY, 0, 0, 0, handle_train_apply},
    {COMMAND_TRACE_START, 0, 0, 0, handle_trace_start},
    {COMMAND_TRACE_STOP, 0, 0, 0, handle_trace_stop},
    {COMMAND_TRACE_CLEAR, 0, 0, 0, handle_trace_clear},
    {COMMAND_TRACE_READ, 0, 0, sizeof(struct msg_trace_read), handle_trace_read},
    {COMMAND_MEMORY_MAP, 0, 0, 0, handle_memory_map},
    {COMMAND_MEMORY_CRC, 0, 0, sizeof(struct msg_memory_range), handle_memory_crc},
};

static const struct command_row *find_row(uint8_t code)
{
    for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code)
            return &rows[i];
    return 0;
}

void command_execute(struct board *board, const struct console_command *command)
{
    const struct command_row *row = find_row(command->code);
    int with_job = board->job.result == JOB_RUNNING;
    uint32_t begin_us = trace_now(&board->trace);
    struct request request = {command->payload, command->size_bytes};
    struct reply reply = {.payload = console_response_payload(), .status = STATUS_OK};
    if (!row)
        refuse(&reply, STATUS_UNKNOWN_COMMAND, "command 0x%x does not exist in protocol %u",
               (uint32_t)command->code, PROTOCOL_VERSION);
    else if (row->with_tail ? request.size < row->size_bytes : request.size != row->size_bytes)
        refuse(&reply, STATUS_BAD_LENGTH, "the request has %u bytes; it takes %u%s", request.size,
               (uint32_t)row->size_bytes, row->with_tail ? " or more" : "");
    else if (board->job.result == JOB_RUNNING && !row->with_job)
        refuse(&reply, STATUS_BUSY, "job %u runs; wait for JOB_DONE or send JOB_ABORT", board->job.number);
    else
        row->run(board, &request, &reply);
    console_respond(reply.status, reply.size);
    if (with_job)
        trace_since(&board->trace, TRACE_HOST, command->code, command->size_bytes + reply.size, begin_us);
}
