/* jobs.c: starts the job that was accepted and says how it ended. Contract: jobs.h. */
#include "jobs.h"

#include "console.h"
#include "generate_jobs.h"
#include "link_jobs.h"
#include "replay_jobs.h"
#include "train_jobs.h"

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
    board->job.result = (uint8_t)result_of(run(board));
    trace_computed(&board->trace); /* a job that was aborted may leave something open */
    trace_since(&board->trace, TRACE_JOB, board->job.command, 0, begin_us);
    struct msg_job_state state = job_state(board);
    console_event(EVENT_JOB_DONE, &state, sizeof state);
}
