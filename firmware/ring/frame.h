/* frame.h: serial frames in memory: COBS and CRC-32. Format: docs/protocol.md, section 2.
 * Python twin: hil/protocol/frames.py. Pure functions; host-buildable. */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>

#include "messages.h"

enum {
    FRAME_HEAD_BYTES = sizeof(struct frame_head),
    FRAME_CRC_BYTES = 4,
    FRAME_BODY_BYTES_MAX = FRAME_HEAD_BYTES + PAYLOAD_BYTES_MAX + FRAME_CRC_BYTES,
    FRAME_WIRE_BYTES_MAX = FRAME_BODY_BYTES_MAX + FRAME_BODY_BYTES_MAX / 254 + 1 + 2,
};

/* Bytes on the wire for a body, with a delimiter on both ends: at most FRAME_WIRE_BYTES_MAX, at `to`.
 * The body's head and payload are in place; its last FRAME_CRC_BYTES are filled here. Returns the count. */
uint32_t frame_encode(uint8_t *body, uint32_t body_bytes, uint8_t *to);

/* Decodes the bytes between two delimiters in place. Returns head and payload bytes, or 0 when they are no
 * frame (bad COBS, too short, CRC wrong). */
uint32_t frame_decode(uint8_t *piece, uint32_t piece_bytes);

#endif
