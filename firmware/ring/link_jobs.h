/* link_jobs.h: link tests: patterns over one bank or both at once, errors per wire, stalls, times. */
#ifndef LINK_JOBS_H
#define LINK_JOBS_H

#include "job.h"

/* Runs the LINK_RUN in board->job to its end. */
enum job_step link_job_run(struct board *board);

/* What the last run found on a bank. */
void link_job_result(const struct board *board, uint32_t bank, struct msg_link_result *result);

#endif
