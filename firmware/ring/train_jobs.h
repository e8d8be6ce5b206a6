/* train_jobs.h: training on the ring: TRAIN_SETUP, TRAIN_TOKENS, TRAIN_STEP, TRAIN_RESULT.
 * Meaning: docs/protocol.md, section 6. What a rank computes: firmware/model/train.h. */
#ifndef TRAIN_JOBS_H
#define TRAIN_JOBS_H

#include "handlers.h"
#include "jobs.h"

/* Runs the TRAIN_STEP in board->job to its end. */
enum job_step train_job_run(struct board *board);

/* Handlers of the commands (train_commands.c). */
void handle_train_setup(struct board *board, const struct request *request, struct reply *reply);
void handle_train_tokens(struct board *board, const struct request *request, struct reply *reply);
void handle_train_step(struct board *board, const struct request *request, struct reply *reply);
void handle_train_result(struct board *board, const struct request *request, struct reply *reply);

#endif
