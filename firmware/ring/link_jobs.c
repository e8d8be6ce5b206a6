/* link_jobs.c: link tests. Contract: link_jobs.h. Meaning: docs/protocol.md, section 4.
 * Each bank that takes part is an end with its own frame count; the ends are polled in turn, so one board may
 * send and receive at the same time, to its neighbours or through jumpers to itself. */
#include "link_jobs.h"

#include "timer.h"

enum {
    ACCESSES_BOTH = 16,   /* two ends of one board take turns in short steps */
    LINGER_PHASES = 5,    /* phase limits after which nobody sends the last frame again */
    CYCLE_CONTROL_ON = 5, /* PMNC: enable the counters, clear CCNT */
    CYCLE_PROOF_READS = 4,
};

/* ARM DDI 0301H, 3.2.51: performance monitor control and cycle counter. Emulators leave the counter at 0. */
static uint32_t cycles_now(void)
{
    uint32_t cycles;
    __asm__ volatile("mrc p15, 0, %0, c15, c12, 1" : "=r"(cycles));
    return cycles;
}

static int cycles_count(void)
{
    __asm__ volatile("mcr p15, 0, %0, c15, c12, 0" ::"r"(CYCLE_CONTROL_ON));
    for (int i = 0; i < CYCLE_PROOF_READS; i++)
        if (cycles_now())
            return 1;
    return 0;
}

static int sends_now(const struct link_end *end, const struct msg_link_run *run)
{
    return end->sends ^ (run->flags & RUN_ALTERNATE ? end->frames & 1 : 0);
}

static void flip(const struct msg_link_run *run, const struct link_end *end, uint8_t *payload)
{
    uint32_t at = run->flip_at - end->frames * run->length_bytes;
    if (run->flip_bit < DATA_WIRES && at < run->length_bytes)
        payload[at] ^= (uint8_t)(1u << run->flip_bit);
}

static void start_frame(struct board *board, uint32_t bank)
{
    const struct msg_link_run *run = &board->job.request.link_run;
    struct link_end *end = &board->ends[bank];
    uint8_t *payload = board->work[bank];
    pattern_frame(&end->pattern, end->frames);
    if (sends_now(end, run)) {
        pattern_fill(&end->pattern, payload, run->length_bytes);
        flip(run, end, payload);
        link_send_start(&board->links[bank], run->flags & RUN_RAW ? LINK_RAW : LINK_PATTERN, payload,
                        run->length_bytes, job_limit_us(run->timeout_ms));
    } else {
        link_receive_start(&board->links[bank], payload, WORK_BYTES, job_limit_us(run->timeout_ms));
    }
}

static void start_end(struct board *board, uint32_t bank)
{
    const struct msg_link_run *run = &board->job.request.link_run;
    struct link_end *end = &board->ends[bank];
    struct link *link = &board->links[bank];
    *end = (struct link_end){.sends = run->send_banks >> bank & 1};
    end->active = end->sends || (run->receive_banks >> bank & 1);
    if (!end->active)
        return;
    pattern_start(&end->pattern, run->pattern, run->seed);
    pattern_check_start(&end->check);
    if (run->flags & RUN_TIMING) {
        end->cycles = (uint8_t)cycles_count();
        end->probe.ticks = end->cycles ? cycles_now : timer_now_us;
    }
    if (run->stalls && run->stall_bank == bank) {
        end->probe.edge = run->stall_edge;
        end->probe.stalls = run->stalls;
        end->probe.byte = run->stall_byte;
        end->probe.stall_us = run->stall_us;
    }
    link->probe = end->probe.ticks || end->probe.stalls ? &end->probe : 0;
    link->attempts_max = run->attempts ? run->attempts : LINK_ATTEMPTS_MAX;
    link->phase_limit_us = run->phase_limit_us ? run->phase_limit_us : LINK_PHASE_LIMIT_US;
    start_frame(board, bank);
}

/* The links as everybody else expects them. */
static void restore_links(struct board *board)
{
    for (uint32_t bank = 0; bank < BANK_COUNT; bank++) {
        struct link *link = &board->links[bank];
        link->probe = 0;
        link->attempts_max = LINK_ATTEMPTS_MAX;
        link->phase_limit_us = LINK_PHASE_LIMIT_US;
        link->accesses_per_poll = LINK_ACCESSES_PER_POLL;
    }
}

static void check_frame(struct board *board, uint32_t bank)
{
    const struct msg_link_run *run = &board->job.request.link_run;
    struct link_end *end = &board->ends[bank];
    const struct link *link = &board->links[bank];
    uint32_t type = run->flags & RUN_RAW ? LINK_RAW : LINK_PATTERN;
    int right = link->received_type == type && link->received_length == run->length_bytes;
    if (right)
        right = pattern_check(&end->pattern, &end->check, board->work[bank], run->length_bytes) == 0;
    end->frames_wrong += !right;
    board->job.detail += !right;
}

/* A frame is through: take stock, begin the next one or end. */
static void frame_done(struct board *board, uint32_t bank)
{
    const struct msg_link_run *run = &board->job.request.link_run;
    struct link_end *end = &board->ends[bank];
    struct link *link = &board->links[bank];
    if (end->lingering)
        end->frames_wrong++; /* a frame that nobody was to send */
    if (run->length_bytes) {
        end->payload_bytes += run->length_bytes;
        end->payload_us += timer_now_us() - link->opened_us;
    }
    int sent = sends_now(end, run);
    if (!sent)
        check_frame(board, bank);
    end->frames++;
    if (end->frames < run->frames) {
        start_frame(board, bank);
    } else if (!sent && run->flags & RUN_LINGER) {
        end->lingering = 1;
        link_receive_start(link, board->work[bank], WORK_BYTES, LINGER_PHASES * link->phase_limit_us);
    } else {
        end->active = 0;
    }
}

static enum job_step poll_end(struct board *board, uint32_t bank)
{
    struct link_end *end = &board->ends[bank];
    enum link_status status = link_poll(&board->links[bank]);
    if (status == LINK_PENDING)
        return STEP_OK;
    if (status == LINK_OK) {
        frame_done(board, bank);
        return STEP_OK;
    }
    if (end->lingering) { /* nobody asked again, which is no fault */
        board->links[bank].counts.timeouts--;
        end->active = 0;
        return STEP_OK;
    }
    return job_report(board, bank, status);
}

static void count_progress(struct board *board)
{
    uint32_t least = UINT32_MAX;
    for (uint32_t bank = 0; bank < BANK_COUNT; bank++) {
        const struct msg_link_run *run = &board->job.request.link_run;
        if ((run->send_banks | run->receive_banks) >> bank & 1)
            least = board->ends[bank].frames < least ? board->ends[bank].frames : least;
    }
    board->job.progress = least;
}

/* A fault of one end: the other one may be about to give up too, and its view is wanted. */
static void hear_other_end(struct board *board, uint32_t bank)
{
    uint32_t from_us = timer_now_us();
    uint32_t patience_us = 3 * board->links[bank].phase_limit_us;
    enum job_step step = STEP_OK;
    while (board->ends[bank].active && step == STEP_OK && timer_now_us() - from_us < patience_us &&
           !job_aborted(board))
        step = poll_end(board, bank);
}

enum job_step link_job_run(struct board *board)
{
    enum job_step step = STEP_OK;
    for (uint32_t bank = 0; bank < BANK_COUNT; bank++)
        start_end(board, bank);
    int both = board->ends[0].active && board->ends[1].active;
    for (uint32_t bank = 0; both && bank < BANK_COUNT; bank++)
        board->links[bank].accesses_per_poll = ACCESSES_BOTH;
    while (step == STEP_OK && (board->ends[0].active || board->ends[1].active)) {
        for (uint32_t bank = 0; bank < BANK_COUNT && step == STEP_OK; bank++) {
            if (board->ends[bank].active)
                step = poll_end(board, bank);
            if (step == STEP_FAULT)
                hear_other_end(board, !bank);
        }
        count_progress(board);
        if (job_aborted(board) && step == STEP_OK)
            step = STEP_ABORTED;
    }
    for (uint32_t bank = 0; step != STEP_OK && bank < BANK_COUNT; bank++)
        link_abort(&board->links[bank]);
    restore_links(board);
    return step;
}

void link_job_result(const struct board *board, uint32_t bank, struct msg_link_result *result)
{
    const struct link_end *end = &board->ends[bank];
    *result = (struct msg_link_result){
        .bytes_checked = end->check.bytes,
        .slips = end->check.slips,
        .frames = end->frames,
        .frames_wrong = end->frames_wrong,
        .payload_bytes = end->payload_bytes,
        .payload_us = end->payload_us,
        .cycles = end->cycles,
    };
    for (uint32_t wire = 0; wire < DATA_WIRES; wire++)
        result->wire_errors[wire] = end->check.wire_errors[wire];
    for (uint32_t i = 0; i < 2 * TIMING_BUCKETS; i++)
        result->timing[i] = end->probe.waits[i / TIMING_BUCKETS][i % TIMING_BUCKETS];
}
