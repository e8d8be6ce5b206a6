/* train_jobs.h: one step of training on the ring. Its commands: train_commands.c.
 * Meaning: docs/protocol.md, section 6. What a rank computes: firmware/model/train.h. */
#ifndef TRAIN_JOBS_H
#define TRAIN_JOBS_H

#include "job.h"

/* Runs the TRAIN_STEP in board->job to its end; with FLAG_HOLD up to where parameters would change. */
enum job_step train_job_run(struct board *board);

/* Changes the parameters by the step that is held. */
enum job_step train_job_apply(struct board *board);

#endif
