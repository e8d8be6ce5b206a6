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

/* Payload of an ACTIVATION or GRADIENT: one position of a generation; of a training whole rows, as many as fit. */
struct hop {
    uint32_t position; /* the first one; of a training with the microbatch in 31:16 */
    uint32_t count;    /* of floats */
    float x[];         /* (positions, dim) */
};
_Static_assert(sizeof(struct hop) + MODEL_DIM_MAX * sizeof(float) <= WORK_BYTES, "the longest hop fits");

enum {
    FLAG_RECORD_TAPS = 1,
    FLAG_KEEP_TENSORS = 2,
    FLAG_HOLD = 4, /* TRAIN_STEP: parameters change with TRAIN_APPLY */
};

/* Runs the pending job to its end; commands are served meanwhile. Sends JOB_DONE. */
void job_run(struct board *board);

/* State of the current or last job. */
struct msg_job_state job_state(const struct board *board);

/* For the jobs themselves: serves the line, 1 if the job is to end. */
int job_aborted(struct board *board);

/* A link's status as a step; sends the event LINK_FAULT. */
enum job_step job_report(struct board *board, uint32_t bank, enum link_status status);

/* A frame from the work buffer of bank `out` through this board's own jumpers into that of its other bank; both
 * banks are polled in turn. The receiving link tells type and length. */
enum job_step job_jump(struct board *board, uint32_t out, uint8_t type, uint32_t bytes);

/* Microseconds, within 32 bits. */
uint32_t job_limit_us(uint32_t timeout_ms);

#endif
