/* jobs.c: starts the job that was accepted and says how it ended. Contract: jobs.h. */
#include "jobs.h"

#include "console.h"
#include "generate_jobs.h"
#include "link_jobs.h"
#include "replay_jobs.h"
#include "train_jobs.h"

static const uint8_t results[] = {
    [STEP_OK] = JOB_DONE,           [STEP_END] = JOB_DONE,        [STEP_ABORTED] = JOB_ABORTED,
    [STEP_FAULT] = JOB_LINK_FAILED, [STEP_REFUSED] = JOB_REFUSED,
};

static enum job_step run(struct board *board)
{
    switch (board->job.command) {
    case COMMAND_LINK_RUN:
        return link_job_run(board);
    case COMMAND_SERVE:
        return serve_job_run(board);
    case COMMAND_TRAIN_STEP:
        return train_job_run(board);
    case COMMAND_TRAIN_APPLY:
        return train_job_apply(board);
    case COMMAND_REPLAY:
        return replay_job_run(board);
    default:
        return generate_job_run(board);
    }
}

void job_run(struct board *board)
{
    uint32_t begin_us = trace_now(&board->trace);
    board->job.pending = 0;
    board->job.result = results[run(board)];
    trace_computed(&board->trace); /* a job that was aborted may leave something open */
    trace_since(&board->trace, TRACE_JOB, board->job.command, 0, begin_us);
    struct msg_job_state state = job_state(board);
    console_event(EVENT_JOB_DONE, &state, sizeof state);
}
