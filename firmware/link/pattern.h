/* pattern.h: the bytes of link tests, made and checked, with errors counted per data wire.
 * Meaning of each pattern: docs/protocol.md, section 4. A PRBS is a bit stream of its own on each wire; its checker
 * predicts a bit from those before it. While it is in step it goes on from its own predictions, so one wrong bit
 * counts once; eight errors within 256 bits and it finds its step again from what arrives. Host-buildable. */
#ifndef PATTERN_H
#define PATTERN_H

#include <stdint.h>

#include "messages.h"

struct pattern {
    uint8_t kind;          /* enum pattern_code of messages.h */
    uint8_t first, second; /* DE_BRUIJN: the pair that comes next; second is put out next if `half` */
    uint8_t half;
    uint32_t seed;
    uint32_t word;       /* XORSHIFT: state */
    uint32_t index;      /* bytes made so far; of the frame for XORSHIFT */
    uint32_t tap, order; /* PRBS: bit n is bit n - tap ^ bit n - order */
    uint8_t history[32]; /* PRBS: byte n & 31 */
};

/* What a checker found. Starts as zeros but for what pattern_check_start sets. */
struct pattern_check {
    uint64_t bytes;
    uint32_t wire_errors[DATA_WIRES];
    uint32_t slips;                /* PRBS streams that fell out of step */
    uint8_t out_of_step;           /* wires, as bits */
    uint8_t burst[DATA_WIRES];     /* errors of a wire that came close to each other */
    uint32_t error_at[DATA_WIRES]; /* byte of the last error */
    uint32_t one_at[DATA_WIRES];   /* out of step: byte of the last 1; zeros alone obey every recurrence */
};

/* Begins a stream. kind: enum pattern_code. */
void pattern_start(struct pattern *pattern, uint8_t kind, uint32_t seed);
void pattern_check_start(struct pattern_check *check);

/* Call before each frame: XORSHIFT begins anew, the others go on. */
void pattern_frame(struct pattern *pattern, uint32_t frame);

/* Makes the next size_bytes, or counts the bits of `from` that differ from them. The latter returns the number
 * of wrong bits. `to` and `from` are 4-byte aligned. */
void pattern_fill(struct pattern *pattern, uint8_t *to, uint32_t size_bytes);
uint32_t pattern_check(struct pattern *pattern, struct pattern_check *check, const uint8_t *from,
                       uint32_t size_bytes);

#endif
