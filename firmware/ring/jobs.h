/* jobs.h: what runs for long: SERVE, GENERATE and the link tests. */
#ifndef JOBS_H
#define JOBS_H

#include "board.h"

/* How a step of a job went on. */
enum job_step {
    STEP_OK,
    STEP_END,     /* the ring says it is over */
    STEP_ABORTED, /* JOB_ABORT came */
    STEP_FAULT,   /* reported already */
    STEP_REFUSED, /* logged already */
};

/* Runs the pending job to its end; commands are served meanwhile. Sends JOB_DONE. */
void job_run(struct board *board);

/* State of the current or last job. */
struct msg_job_state job_state(const struct board *board);

/* For the jobs themselves: serves the line, 1 if the job is to end. */
int job_aborted(struct board *board);

/* A link's status as a step; sends the event LINK_FAULT. */
enum job_step job_report(struct board *board, uint32_t bank, enum link_status status);

/* Microseconds, within 32 bits. */
uint32_t job_limit_us(uint32_t timeout_ms);

#endif
