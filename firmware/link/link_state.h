/* link_state.h: everything that a link knows between two polls, and what its counters, probe and bursts look like.
 * Other files than link.c and instruments.c write only the fields that say so. Host-buildable. */
#ifndef LINK_STATE_H
#define LINK_STATE_H

#include <stdint.h>

#include "handshake.h"
#include "link_frames.h"
#include "messages.h"

/* Watches or disturbs the handshake of frames: then the machines run one access at a time. */
struct link_probe {
    uint32_t (*ticks)(void);           /* when set, waits are measured in these */
    uint32_t waits[2][TIMING_BUCKETS]; /* [0] for the peer's rising edge, [1] for its falling edge */
    uint8_t edge;                      /* enum edge_code: where to stall; 0 nowhere */
    uint8_t stalls;                    /* how many times from now on */
    uint8_t stalling;                  /* in a stall since stall_from_us */
    uint32_t byte;                     /* of the frame's burst, header included */
    uint32_t stall_us;
    uint32_t stall_from_us;
    uint32_t wait_from; /* ticks */
};

/* When what happened in one burst, for link's on_burst; a microsecond timer that wraps. Between begin and open the
 * board waited for the other one. What the instants have to do with those of the other end: docs/timeline.md. */
struct link_burst {
    uint8_t stage; /* enum link_stage */
    uint8_t bank;  /* whatever the owner of the link wrote there */
    uint8_t type;  /* of the frame, as is sequence; both 0 where its header never came */
    uint8_t attempt;
    uint8_t opened, failed;
    uint32_t begin_us, open_us, header_us, end_us;
    uint32_t bytes; /* of the burst */
    uint32_t sequence;
    const uint8_t *payload; /* payload_bytes of it are whole and new */
    uint32_t payload_bytes;
};

enum link_stage {
    STAGE_IDLE,
    STAGE_PAUSE, /* quiet after a fault, or settling before a grant is believed */
    STAGE_FRAME_OUT,
    STAGE_ANSWER_IN,
    STAGE_FRAME_IN,
    STAGE_ANSWER_OUT,
};

struct link {
    /* set by link_init */
    struct link_bank bank;
    uint8_t rank; /* source rank in headers */
    uint32_t phase_limit_us;
    uint32_t accesses_per_poll;
    uint8_t attempts_max;                                            /* per frame */
    struct link_probe *probe;                                        /* 0 unless a test asks */
    void (*on_burst)(void *context, const struct link_burst *burst); /* when set, called as a burst ends */
    void *on_burst_context;
    struct link_burst burst;

    struct link_counters counts;
    struct msg_link_fault fault; /* of the last LINK_ERROR_FAULT; its bank is not set */

    /* the frame in progress */
    uint8_t stage, next_stage; /* enum link_stage; next_stage follows STAGE_PAUSE */
    uint8_t sending;           /* role of this frame */
    uint8_t attempt;
    uint8_t
        patient; /* the answer may have got lost: the peer may be busy with the frame, so wait as at first */
    uint8_t have_frame; /* receiver: delivered, only the answer is missing */
    uint8_t is_new;     /* receiver: the frame being received is not a duplicate */
    uint8_t verdict;
    uint8_t last_role; /* role of the burst before, for counting turnarounds */
    struct link_tx tx;
    struct link_rx rx;
    struct link_header header;
    struct link_answer answer;
    uint32_t payload_crc;
    const uint8_t *payload;
    uint8_t *buffer;
    uint8_t received_type; /* of the frame that was delivered last, with received_length */
    uint32_t received_length;
    uint32_t capacity, burst_bytes, burst_done;
    uint32_t open_limit_us, pause_us, since_us;
    uint32_t looked_us; /* the last poll: whoever was away for longer than a phase must not go on */
    uint32_t opened_us; /* when the header was through */
    uint32_t moves;     /* counts what moved, as far as looks at the clock see it; never reset */
    uint32_t mark;      /* state and byte at the last look, to see progress */
    uint8_t discard;    /* where unwanted bytes go */

    uint32_t sent_sequence, delivered_sequence;
};

/* --- where the burst stands --- */

static inline int link_sends_burst(const struct link *link)
{
    return link->stage == STAGE_FRAME_OUT || link->stage == STAGE_ANSWER_OUT;
}

/* Bytes of the burst that are through; the one in progress has this index. */
static inline uint32_t link_byte_index(const struct link *link)
{
    int sends = link_sends_burst(link);
    uint32_t left = sends ? link->tx.left : link->rx.left;
    uint32_t segment = link->burst_bytes - link->burst_done;
    if (link->burst_done == 0 && segment > LINK_HEADER_BYTES)
        segment = LINK_HEADER_BYTES;
    else if (link->burst_done == LINK_HEADER_BYTES)
        segment -= LINK_CRC_BYTES;
    uint32_t index = link->burst_done + segment - left;
    int acknowledging = !sends && link->rx.state >= RX_RAISE_ACK && link->rx.state <= RX_DONE;
    return index && acknowledging ? index - 1 : index;
}

#endif
