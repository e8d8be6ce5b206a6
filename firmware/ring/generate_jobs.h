/* generate_jobs.h: one generation: the rank with the head leads it (GENERATE), the others take part (SERVE). */
#ifndef GENERATE_JOBS_H
#define GENERATE_JOBS_H

#include "job.h"

/* Run the SERVE or the GENERATE in board->job to its end. */
enum job_step serve_job_run(struct board *board);
enum job_step generate_job_run(struct board *board);

#endif
