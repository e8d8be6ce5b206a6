/* job.h: what the jobs share: steps, hops, aborting, reports. The jobs themselves: jobs.h. */
#ifndef JOB_H
#define JOB_H

#include "board.h"

/* How a step of a job went on. */
enum job_step {
    STEP_OK,
    STEP_END,     /* the ring says it is over */
    STEP_ABORTED, /* JOB_ABORT came */
    STEP_FAULT,   /* reported already */
    STEP_REFUSED, /* logged already */
};

_Static_assert(sizeof(struct hop) + MODEL_DIM_MAX * sizeof(float) <= WORK_BYTES, "the longest hop fits");

/* The hop in a bank's work buffer. */
static inline struct hop *job_hop(struct board *board, uint32_t bank)
{
    return (struct hop *)(void *)board->work[bank];
}

/* State of the current or last job. */
struct msg_job_state job_state(const struct board *board);

/* Serves the line; 1 if the job is to end. */
int job_aborted(struct board *board);

/* How a link ended as a step; sends the event LINK_FAULT. */
enum job_step job_report(struct board *board, uint32_t bank, enum link_status status);

/* A frame out of a bank's work buffer, or into `to` (WORK_BYTES). limit_us: how long the other end may keep it waiting.
 * The link tells type and length of what came. */
enum job_step job_send(struct board *board, uint32_t bank, uint8_t type, uint32_t bytes, uint32_t limit_us);
enum job_step job_receive(struct board *board, uint32_t bank, void *to, uint32_t limit_us);

/* A frame from the work buffer of bank `out` through this board's own jumpers into that of its other bank; both
 * banks are polled in turn. The receiving link tells type and length. */
enum job_step job_jump(struct board *board, uint32_t out, uint8_t type, uint32_t bytes);

/* Microseconds, within 32 bits. */
uint32_t job_limit_us(uint32_t timeout_ms);

#endif
