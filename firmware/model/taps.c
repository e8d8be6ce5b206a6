/* taps.c: digests of tensors. Python twin: golden/taps.py (digest, canonical_bits).
 * Works on the bits in integer registers: no float instruction, so taking a tap changes no result. Slicing by
 * four: one word per step through four tables of 1 KB, half of the data cache's 16 KB left to the tensor. */
#include "taps.h"

#include "ops.h"

#define CRC_POLYNOMIAL 0xEDB88320u /* zlib's, reflected */
#define QUIET_NAN_BITS 0x7FC00000u
#define EXPONENT_BITS  0x7F800000u

/* Reads and clears the sticky "flushed" bits: FPSCR UFC (3) and IDC (7). Nothing of the kind on the host. */
static uint32_t take_flushed(void)
{
#if defined(__arm__)
    uint32_t fpscr;
    const uint32_t sticky = 1u << 3 | 1u << 7;

    __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr)::"memory");
    if ((fpscr & sticky) == 0)
        return 0;
    __asm__ volatile("vmsr fpscr, %0" ::"r"(fpscr & ~sticky) : "memory");
    return TAP_FLUSHED;
#else
    return 0;
#endif
}

void tap_log_init(struct tap_log *log, struct tap_record *entries, uint32_t capacity, uint32_t *crc_table)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (uint32_t bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (CRC_POLYNOMIAL & (0u - (crc & 1u)));
        crc_table[byte] = crc;
    }
    for (uint32_t i = 256; i < TAP_CRC_TABLE_WORDS; i++) {
        uint32_t before = crc_table[i - 256];
        crc_table[i] = (before >> 8) ^ crc_table[before & 0xFFu];
    }
    log->entries = entries;
    log->crc_table = crc_table;
    log->capacity = capacity;
    log->enabled = 1;
    log->keep_first = 0;
    tap_log_keep(log, 0, 0);
    tap_log_clear(log);
}

static void forget_copies(struct tap_log *log)
{
    log->kept_first = log->keep_first;
    log->kept_count = 0;
    log->kept_words = 0;
}

void tap_log_keep(struct tap_log *log, float *memory, uint32_t words)
{
    log->kept = memory;
    log->keep_words = memory == 0 ? 0 : words;
    forget_copies(log);
}

void tap_log_clear(struct tap_log *log)
{
    log->count = 0;
    log->dropped = 0;
    forget_copies(log);
    (void)take_flushed();
}

static inline uint32_t crc_word(const uint32_t *table, uint32_t crc, uint32_t word)
{
    crc ^= word;
    return table[768 + (crc & 0xFFu)] ^ table[512 + ((crc >> 8) & 0xFFu)] ^
           table[256 + ((crc >> 16) & 0xFFu)] ^ table[crc >> 24];
}

/* Float bits to a signed integer of the same order, and back (its own inverse). */
static inline int32_t ordered(uint32_t bits)
{
    return (int32_t)(bits ^ ((uint32_t)((int32_t)bits >> 31) & 0x7FFFFFFFu));
}

static void digest(struct tap_record *entry, const uint32_t *table, const float *data, uint32_t count)
{
    uint32_t crc = 0xFFFFFFFFu;
    uint32_t nonfinite = 0;
    int32_t least = INT32_MAX;
    int32_t most = INT32_MIN;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = float_bits(data[i]);
        uint32_t magnitude = bits & 0x7FFFFFFFu;
        if (magnitude == 0)
            bits = 0;
        if (magnitude >= EXPONENT_BITS) {
            nonfinite++;
            if (magnitude > EXPONENT_BITS) {
                crc = crc_word(table, crc, QUIET_NAN_BITS);
                continue;
            }
        }
        int32_t order = ordered(bits);
        least = order < least ? order : least;
        most = order > most ? order : most;
        crc = crc_word(table, crc, bits);
    }
    entry->crc32 = ~crc;
    entry->count = count;
    entry->nonfinite = nonfinite;
    entry->minimum = most < least ? 0.0f : bits_float((uint32_t)ordered((uint32_t)least));
    entry->maximum = most < least ? 0.0f : bits_float((uint32_t)ordered((uint32_t)most));
}

uint32_t tap_digest(const uint32_t *crc_table, const float *data, uint32_t count)
{
    struct tap_record entry;

    digest(&entry, crc_table, data, count);
    return entry.crc32;
}

/* Copies the tensor of the newest entry if it is the next one to be kept and fits. */
static void keep(struct tap_log *log, uint32_t op, const float *data, uint32_t count)
{
    uint32_t index = log->count - 1;

    if (op >= OP_GRAD_TOK_EMB || index != log->kept_first + log->kept_count ||
        count > log->keep_words - log->kept_words) {
        return;
    }
    float *copy = log->kept + log->kept_words;
    for (uint32_t i = 0; i < count; i++)
        copy[i] = data[i];
    log->kept_words += count;
    log->kept_count++;
}

const float *tap_kept(const struct tap_log *log, uint32_t index)
{
    const float *copy = log->kept;

    if (index < log->kept_first || index - log->kept_first >= log->kept_count)
        return 0;
    for (uint32_t i = log->kept_first; i < index; i++)
        copy += log->entries[i].count;
    return copy;
}

void tap_record(struct tap_log *log, uint32_t op, uint32_t layer, uint32_t position, const float *data,
                uint32_t count)
{
    if (log->enabled == 0)
        return;
    if (log->count == log->capacity) {
        log->dropped++;
        return;
    }
    struct tap_record *entry = &log->entries[log->count++];
    entry->key = (op << 24) | ((layer & 0xFFu) << 16) | (position & 0xFFFFu);
    entry->flags = take_flushed();
    digest(entry, log->crc_table, data, count);
    keep(log, op, data, count);
}
