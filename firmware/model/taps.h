/* taps.h: the log of tensor digests that a board keeps while it computes.
 * Meaning of op numbers and keys: golden/taps.py (numbers reach C through the generated messages.h).
 * A digest is zlib's CRC-32 over the little-endian words of the tensor, -0 as +0 and NaN as 0x7FC00000.
 * Owns: struct tap_log. No registers but FPSCR's sticky flags, no globals. */
#ifndef TAPS_H
#define TAPS_H

#include <stdint.h>

#include "messages.h"

enum {
    TAP_CRC_TABLE_WORDS = 4 * 256,
};

struct tap_log {
    struct tap_record *entries; /* capacity entries, count of them valid, in execution order */
    const uint32_t *crc_table;  /* TAP_CRC_TABLE_WORDS words, filled by tap_log_init */
    uint32_t capacity;
    uint32_t count;
    uint32_t dropped; /* taps that found the log full */
    uint32_t enabled; /* 0: tap_record does nothing */

    /* Copies of the tensors of taps [kept_first, kept_first + kept_count), one behind the other. */
    float *kept;         /* keep_words of memory; 0: nothing is kept */
    uint32_t keep_words; /* the first tensor that does not fit ends the keeping */
    uint32_t keep_first; /* becomes kept_first when the log is cleared */
    uint32_t kept_first;
    uint32_t kept_count;
    uint32_t kept_words;
};

/* Prepares an empty, enabled log over `entries`; fills `crc_table` (TAP_CRC_TABLE_WORDS words). */
void tap_log_init(struct tap_log *log, struct tap_record *entries, uint32_t capacity, uint32_t *crc_table);

/* Forgets all entries, copies and the count of dropped ones; `enabled` and what is to be kept stay. Clears the sticky
 * FPSCR flags. */
void tap_log_clear(struct tap_log *log);

/* Forgets all copies; keeps others in words of memory (0: none) from the tap keep_first on. Tensors of parameters and
 * of their gradients are never kept: they stay where they are. */
void tap_log_keep(struct tap_log *log, float *memory, uint32_t words);

/* The copy of entry `index`, which has entries[index].count floats; 0 when there is none. */
const float *tap_kept(const struct tap_log *log, uint32_t index);

/* The digest of `count` floats by a filled table. */
uint32_t tap_digest(const uint32_t *crc_table, const float *data, uint32_t count);

/* Records the digest of `count` floats. layer is NO_LAYER where there is none; position is below 65536. */
void tap_record(struct tap_log *log, uint32_t op, uint32_t layer, uint32_t position, const float *data,
                uint32_t count);

#endif
