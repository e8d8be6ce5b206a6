/* replay_jobs.h: ops of a shard once more, on inputs that the host has written. Meaning: docs/verify.md.
 * The same functions as in a run, so a wrong op is wrong again and a corrupted input is not. */
#ifndef REPLAY_JOBS_H
#define REPLAY_JOBS_H

#include "job.h"

/* Runs the REPLAY in board->job to its end. */
enum job_step replay_job_run(struct board *board);

#endif
