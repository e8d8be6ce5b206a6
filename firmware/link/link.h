/* link.h: frames over one bank: header, payload, CRC-32, answer, resend, time limits, counters.
 * Rules: docs/protocol.md, section 3. Format: link_frames.h, generated from hil/protocol/link_frames.py.
 * Owns the bank's ten pins from link_init on. One struct per bank; one frame at a time per bank. Host-buildable. */
#ifndef LINK_H
#define LINK_H

#include <stdint.h>

#include "link_state.h"

enum {
    LINK_SETTLE_US = 5,           /* a released line falls within 2 us through two 50 kOhm pull-downs */
    LINK_REOPEN_FACTOR = 10,      /* limit for opening again after a fault, in phase limits */
    LINK_ACCESSES_PER_POLL = 256, /* between looks at the clock, and per poll */
    LINK_ACCESSES_OPENING =
        8, /* the same while it waits for a burst to open: the serial line comes first then */
};

enum link_status {
    LINK_OK = 0,
    LINK_PENDING = 1,
    LINK_ERROR_FAULT = -1, /* link->fault says where; all ten pins are inputs */
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

/* Where the frame in progress stands now, with the levels of now; its bank is not set. 0 if no burst is under way. */
int link_stand(const struct link *link, struct msg_link_fault *stand);

/* Gives up the frame in progress: all ten pins inputs. */
void link_abort(struct link *link);

#endif
