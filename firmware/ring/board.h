/* board.h: what one board knows about itself. One instance, in main.c; everything else gets a pointer. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

#include "link.h"
#include "messages.h"
#include "model.h"
#include "pattern.h"
#include "shard_header.h"
#include "trace.h"
#include "train.h"

enum {
    MODEL_TEXT_BYTES = 160,
    TOKENS_MAX = 32768, /* the longest context that a model may have */
    PROMPT_TOKENS_MAX = PAYLOAD_BYTES_MAX / 2,
    FORWARD_TAPS_PER_LAYER = 16,
    FORWARD_TAPS_PER_POSITION = 8, /* embedding, head and hops */
};

/* Taps of a generation over the whole context on a rank with so many layers. */
static inline uint32_t forward_taps(uint32_t seq_len, uint32_t layers)
{
    return seq_len * (layers * FORWARD_TAPS_PER_LAYER + FORWARD_TAPS_PER_POSITION);
}

/* struct msg_generate without its tail; the prompt is in struct board. */
struct generate_request {
    uint32_t flags, positions, timeout_ms, prompt_count;
    float temperature, topp;
    uint64_t rng_seed;
};

struct job {
    uint32_t number;
    uint8_t command;
    uint8_t result;  /* enum job_code */
    uint8_t pending; /* accepted, not started: the response goes out first */
    volatile uint8_t abort;
    uint32_t progress, detail;
    uint32_t moves; /* counts parts of computations, since boot; job_state adds those of links */
    union {
        struct msg_link_run link_run;
        struct msg_serve serve;
        struct generate_request generate;
        struct msg_train_step train;
        struct msg_replay replay;
    } request;
};

/* One bank in a link test, and what the last test found there. */
struct link_end {
    uint8_t active, sends; /* sends: in even frames; in odd ones it depends on RUN_ALTERNATE */
    uint8_t lingering;     /* after the last frame */
    uint32_t frames, frames_wrong;
    struct pattern pattern;
    struct pattern_check check;
    struct link_probe probe;
    uint8_t cycles; /* the probe's ticks */
    uint64_t payload_bytes, payload_us;
};

enum training_state {
    TRAINING_NONE,
    TRAINING_READY,
    TRAINING_HELD,   /* a step has all gradients; parameters change with TRAIN_APPLY */
    TRAINING_BROKEN, /* a step broke off: ranks may hold weights of different steps */
};

/* A training that has been set up; its memory lies behind the arenas of the models. */
struct training {
    uint8_t state; /* enum training_state */
    uint32_t positions, microbatches, slots;
    uint32_t steps;
    uint32_t token_count;
    uint16_t *tokens; /* (microbatches, positions + 1); on the rank with the head, as are losses */
    float *losses;    /* (microbatches,) */
    float *x;         /* (microbatches, positions, dim) on the rank with the head, else (positions, dim) */
    float loss;
    float squares_in, squares_out; /* sums over the ranks before this board, and with its own */
    uint32_t bytes, taps_bytes;    /* of memory: all of it, and the logs of taps among it */
};

/* The serial line's baud and the watchdog: line.c. */
struct line {
    uint32_t clock_hz;
    uint32_t boot_baud, asked_baud; /* asked: 0 when nothing is */
    uint32_t trial_us, trial_from_us;
    uint32_t framing_errors, commands; /* when they were looked at last */
    uint32_t beat_us;                  /* 0: the watchdog is not armed */
    uint8_t raised, on_trial;
    uint8_t busy; /* something of the above is set: line_serve and line_change have work */
};

struct board {
    void (*serve)(
        struct board *board); /* the line: bytes, then commands that may be served now; for every wait */
    struct line line;
    uint32_t session;
    uint64_t serial;
    uint32_t revision, arm_memory_bytes, baud, reset_status;

    /* One, or all ranks of a ring in order: then this board plays every rank and its hops go through jumpers. */
    struct model models[MODEL_WORLD_MAX];
    uint32_t shard_count; /* 0: no model */
    uint8_t rank, world_size;
    uint32_t shard_bytes, shard_crc32;
    uint8_t shard_crc32_known;
    char model_text[MODEL_TEXT_BYTES]; /* why there is no model */

    struct model_train trains[MODEL_WORLD_MAX];
    struct training training;
    uint32_t free_address;  /* first byte behind the models' arenas */
    uint32_t spare_address; /* first byte behind the memory of a training, too */

    struct link links[BANK_COUNT];
    struct link_end ends[BANK_COUNT];
    struct job job;
    uint16_t prompt[PROMPT_TOKENS_MAX];
    uint16_t tokens[TOKENS_MAX];
    uint32_t token_count;

    uint8_t crash_asked, crash_kind;
    uint8_t reboot_asked;
    uint32_t reboot_from_us, reboot_delay_us;

    struct trace trace;

    /* A frame that leaves or comes, per bank: of a link test, or a hop of dim up to 8192 with its head. */
    _Alignas(8) uint8_t work[BANK_COUNT][WORK_BYTES];
};

/* The shard with embedding and head, if any shard of this board has them: the last. */
static inline struct model *head_model(struct board *board)
{
    return &board->models[board->shard_count ? board->shard_count - 1 : 0];
}

#endif
