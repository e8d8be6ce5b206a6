/* jobs.h: what runs for long: SERVE, GENERATE and the link tests. */
#ifndef JOBS_H
#define JOBS_H

#include "board.h"

/* Runs the pending job to its end; commands are served meanwhile. Sends JOB_DONE. */
void job_run(struct board *board);

/* State of the current or last job. */
struct msg_job_state job_state(const struct board *board);

#endif
