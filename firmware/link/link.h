/* link.h: frames over one bank: header, payload, CRC-32, answer, resend, time limits, counters.
 * Format and rules: docs/protocol.md, section 3. Owns the bank's ten pins from link_init on.
 * One struct per bank; one frame at a time per bank. Host-buildable. */
#ifndef LINK_H
#define LINK_H

#include <stdint.h>

#include "handshake.h"

enum {
    LINK_HEADER_BYTES = 16,
    LINK_ANSWER_BYTES = 8,
    LINK_CRC_BYTES = 4,
    LINK_ATTEMPTS_MAX = 8,
    LINK_PHASE_LIMIT_US = 10000,
    LINK_SETTLE_US = 5,           /* a released line falls within 2 us through two 50 kOhm pull-downs */
    LINK_REOPEN_FACTOR = 10,      /* limit for opening again after a fault, in phase limits */
    LINK_ACCESSES_PER_POLL = 256, /* between looks at the clock and calls of service */
    LINK_ACCESSES_OPENING = 8, /* the same while no burst runs: nobody is in a hurry then, and service is */
};

enum link_frame_type {
    LINK_PATTERN = 1,
    LINK_ACTIVATION = 2,
    LINK_END = 3,
    LINK_GRADIENT = 4,
    LINK_RAW = 5,     /* a damaged payload is counted and delivered: whoever takes it looks at the bits */
    LINK_SQUARES = 6, /* the sum of squares of all gradients so far */
};

enum link_status {
    LINK_OK = 0,
    LINK_PENDING = 1,
    LINK_ERROR_FAULT = -1,   /* struct link_fault says where; all ten pins are inputs */
    LINK_ERROR_ABORTED = -2, /* service asked for it; all ten pins are inputs */
};

/* Where an operation gave up. role and phase: enum role_code, enum phase_code of messages.h. */
struct link_fault {
    uint32_t role, phase;
    uint32_t byte_index;  /* within the burst, header included */
    uint32_t burst_bytes; /* as far as known: a receiver knows 16 until it has the header */
    uint32_t gplev0;      /* before the pins were released */
    uint32_t waited_us;
};

enum {
    LINK_PROBE_BUCKETS = 24
};

/* Watches or disturbs the handshake of frames, for tests: then the machines run one access at a time. */
struct link_probe {
    uint32_t (*ticks)(void);               /* when set, waits are measured in these */
    uint32_t waits[2][LINK_PROBE_BUCKETS]; /* [0] for the peer's rising edge, [1] for its falling edge */
    uint8_t edge;                          /* enum edge_code: where to stall; 0 nowhere */
    uint8_t stalls;                        /* how many times from now on */
    uint8_t stalling;                      /* in a stall since stall_from_us */
    uint32_t byte;                         /* of the frame's burst, header included */
    uint32_t stall_us;
    uint32_t stall_from_us;
    uint32_t wait_from; /* ticks */
};

struct link_counts {
    uint32_t frames_sent, frames_received;
    uint64_t bytes_sent, bytes_received; /* payload of frames answered good */
    uint32_t resends, bad_headers, bad_payloads, duplicates, timeouts, turnarounds;
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

struct link_header {
    uint16_t magic;
    uint8_t type;
    uint8_t source;
    uint32_t sequence;
    uint32_t length;
    uint32_t crc32; /* of the twelve bytes before */
};
_Static_assert(sizeof(struct link_header) == LINK_HEADER_BYTES, "link header");

struct link_answer {
    uint8_t verdict;
    uint8_t type;
    uint16_t sequence;
    uint32_t crc32; /* of the four bytes before */
};
_Static_assert(sizeof(struct link_answer) == LINK_ANSWER_BYTES, "link answer");

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
    uint8_t attempts_max;          /* per frame */
    struct link_probe *probe;      /* 0 unless a test asks */
    int (*service)(void *context); /* called between polls of the blocking calls; nonzero aborts. May be 0 */
    void *service_context;
    void (*on_burst)(void *context, const struct link_burst *burst); /* when set, called as a burst ends */
    void *on_burst_context;
    struct link_burst burst;

    struct link_counts counts;
    struct link_fault fault; /* of the last LINK_ERROR_FAULT */

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
    uint8_t received_type; /* of the frame that link_poll delivered, with received_length */
    uint32_t received_length;
    uint32_t capacity, burst_bytes, burst_done;
    uint32_t open_limit_us, pause_us, since_us;
    uint32_t looked_us; /* the last poll: whoever was away for longer than a phase must not go on */
    uint32_t opened_us; /* when the header was through */
    uint32_t mark;      /* state and byte at the last look, to see progress */
    uint8_t discard;    /* where unwanted bytes go */

    uint32_t sent_sequence, delivered_sequence;
};

/* Prepares a bank: all ten pins inputs (pulls are the board's business), counters and sequences zero. */
void link_init(struct link *link, const struct link_bank *bank, uint8_t rank);

/* All ten pins inputs, frame in progress forgotten, sequences from 1. Counters stay. */
void link_reset(struct link *link);

/* Resumable: start one, then poll until the result is not LINK_PENDING. open_limit_us: how long the first
 * grant (sender) or claim (receiver) may take. Payload and buffer must live until then. */
void link_send_start(struct link *link, uint8_t type, const void *payload, uint32_t length,
                     uint32_t open_limit_us);
void link_receive_start(struct link *link, void *buffer, uint32_t capacity, uint32_t open_limit_us);
enum link_status link_poll(struct link *link);

/* Gives up the frame in progress: all ten pins inputs. */
void link_abort(struct link *link);

/* The same, blocking. */
enum link_status link_send_frame(struct link *link, uint8_t type, const void *payload, uint32_t length,
                                 uint32_t open_limit_us);
enum link_status link_receive_frame(struct link *link, void *buffer, uint32_t capacity, uint8_t *type,
                                    uint32_t *length, uint32_t open_limit_us);

#endif
