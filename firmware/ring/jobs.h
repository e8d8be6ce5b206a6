/* jobs.h: what runs for long. */
#ifndef JOBS_H
#define JOBS_H

#include "board.h"

/* Runs the pending job to its end; commands are served meanwhile. Sends JOB_DONE. */
void job_run(struct board *board);

#endif
