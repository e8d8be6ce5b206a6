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
    struct msg_link_fault event = board->links[bank].fault;
    event.bank = (uint8_t)bank;
    console_event(EVENT_LINK_FAULT, &event, sizeof event);
    return STEP_FAULT;
}

static enum job_step finish_frame(struct board *board, uint32_t bank)
{
    struct link *link = &board->links[bank];
    enum link_status status;
    while ((status = link_poll(link)) == LINK_PENDING) {
        if (job_aborted(board)) {
            link_abort(link);
            return STEP_ABORTED;
        }
    }
    return job_report(board, bank, status);
}

enum job_step job_send(struct board *board, uint32_t bank, uint8_t type, uint32_t bytes, uint32_t limit_us)
{
    link_send_start(&board->links[bank], type, board->work[bank], bytes, limit_us);
    return finish_frame(board, bank);
}

enum job_step job_receive(struct board *board, uint32_t bank, void *to, uint32_t limit_us)
{
    link_receive_start(&board->links[bank], to, WORK_BYTES, limit_us);
    return finish_frame(board, bank);
}

enum job_step job_jump(struct board *board, uint32_t out, uint8_t type, uint32_t bytes)
{
    uint32_t in = BANK_COUNT - 1 - out;
    struct link *sender = &board->links[out], *receiver = &board->links[in];
    enum link_status sent = LINK_PENDING, got = LINK_PENDING;
    int aborted = 0;
    uint32_t limit_us = 10u * LINK_PHASE_LIMIT_US;
    sender->accesses_per_poll = receiver->accesses_per_poll = HOP_ACCESSES;
    link_receive_start(receiver, board->work[in], WORK_BYTES, limit_us);
    link_send_start(sender, type, board->work[out], bytes, limit_us);
    while ((sent == LINK_PENDING || got == LINK_PENDING) && sent >= 0 && got >= 0 && !aborted) {
        if (sent == LINK_PENDING)
            sent = link_poll(sender);
        if (got == LINK_PENDING)
            got = link_poll(receiver);
        aborted = job_aborted(board);
    }
    sender->accesses_per_poll = receiver->accesses_per_poll = LINK_ACCESSES_PER_POLL;
    if (sent == LINK_OK && got == LINK_OK && !aborted)
        return STEP_OK;
    link_abort(sender);
    link_abort(receiver);
    if (aborted)
        return STEP_ABORTED;
    return sent < 0 ? job_report(board, out, sent) : job_report(board, in, got);
}

/* The first bank with a burst under way, if there is one: a job of the model has one at a time. */
static void add_stand(const struct board *board, struct msg_job_state *state)
{
    struct msg_link_fault stand;
    for (uint32_t bank = 0; bank < BANK_COUNT; bank++) {
        state->moves += board->links[bank].moves;
        if (state->activity == ACTIVITY_LINK || !link_stand(&board->links[bank], &stand))
            continue;
        state->activity = ACTIVITY_LINK;
        state->bank = (uint8_t)bank;
        state->role = stand.role;
        state->phase = stand.phase;
        state->byte_index = stand.byte_index;
        state->burst_bytes = stand.burst_bytes;
        state->gplev0 = stand.gplev0;
        state->waited_us = stand.waited_us;
    }
}

struct msg_job_state job_state(const struct board *board)
{
    const struct job *job = &board->job;
    struct msg_job_state state = {
        .job = job->number,
        .command = job->command,
        .result = job->result,
        .progress = job->progress,
        .detail = job->detail,
        .moves = job->moves,
        .activity = job->result == JOB_RUNNING ? ACTIVITY_COMPUTING : ACTIVITY_NONE,
    };
    if (job->result == JOB_RUNNING)
        add_stand(board, &state);
    return state;
}
