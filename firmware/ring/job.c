/* job.c: contract in job.h. */
#include "job.h"

#include "console.h"

enum {
    TIMEOUT_MS_MAX = 4000000, /* microseconds fit 32 bits */
    HOP_ACCESSES = 16,        /* of each side in turn, when a hop goes through the board's own jumpers */
};

uint32_t job_limit_us(uint32_t timeout_ms)
{
    return (timeout_ms < TIMEOUT_MS_MAX ? timeout_ms : TIMEOUT_MS_MAX) * 1000u;
}

int job_aborted(struct board *board)
{
    board->serve(board);
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
