/* link_jobs.h: link tests: patterns over one bank or both at once, errors per wire, stalls, times. */
#ifndef LINK_JOBS_H
#define LINK_JOBS_H

#include "board.h"
#include "jobs.h"

/* Runs the LINK_RUN in board->job to its end; LINK_SEND and LINK_RECEIVE are runs too. */
enum job_step link_job_run(struct board *board);

/* What the last run found on a bank. */
void link_job_result(const struct board *board, uint32_t bank, struct msg_link_result *result);

#endif
