/* pattern.c: the bytes of link tests. Contract: pattern.h.
 * PRBS polynomials: ITU-T O.150 (15: x^15 + x^14 + 1, 31: x^31 + x^28 + 1). All eight streams advance at once, one
 * bit of each per byte: byte n is byte n - tap ^ byte n - order. B(256, 2) is the chain of Lyndon words whose
 * length divides 2: for each a: a, then a b for every b > a. */
#include "pattern.h"

enum {
    HISTORY_MASK = 31,
    SLIP_ERRORS = 8, /* this many errors, each within SLIP_BYTES of the one before, and the step is lost */
    SLIP_BYTES = 32,
    IN_STEP_BYTES = 64, /* without error, and the step is found */
};

static uint32_t xorshift32(uint32_t x)
{
    x ^= x << 13;
    x ^= x >> 17;
    return x ^ x << 5;
}

static int is_prbs(const struct pattern *pattern)
{
    return pattern->kind == PATTERN_PRBS15 || pattern->kind == PATTERN_PRBS31;
}

void pattern_start(struct pattern *pattern, uint8_t kind, uint32_t seed)
{
    *pattern = (struct pattern){.kind = kind, .seed = seed};
    pattern->order = kind == PATTERN_PRBS15 ? 15 : 31;
    pattern->tap = kind == PATTERN_PRBS15 ? 14 : 28;
    uint32_t word = seed | 1;
    for (uint32_t i = 0; i < sizeof pattern->history; i++) {
        word = xorshift32(word);
        pattern->history[i] = (uint8_t)(word >> 11);
    }
    pattern->history[HISTORY_MASK] = 0xFF; /* no stream may be all zeros */
}

void pattern_check_start(struct pattern_check *check) { *check = (struct pattern_check){0}; }

void pattern_frame(struct pattern *pattern, uint32_t frame)
{
    if (pattern->kind == PATTERN_XORSHIFT) {
        pattern->word = (pattern->seed + frame) | 1;
        pattern->index = 0;
    }
}

static uint8_t next_de_bruijn(struct pattern *p)
{
    if (p->half) {
        p->half = 0;
        uint8_t second = p->second;
        if (second == 0xFF) {
            p->first++;
            p->second = p->first;
        } else {
            p->second++;
        }
        return second;
    }
    uint8_t letter = p->first;
    if (p->second > letter)
        p->half = 1;
    else if (letter == 0xFF) /* the last word */
        p->first = p->second = 0;
    else
        p->second++;
    return letter;
}

static uint8_t predict(const struct pattern *p)
{
    return p->history[(p->index - p->tap) & HISTORY_MASK] ^ p->history[(p->index - p->order) & HISTORY_MASK];
}

static uint8_t next_byte(struct pattern *p)
{
    uint32_t i = p->index++;
    switch (p->kind) {
    case PATTERN_ZEROS_ONES:
        return i & 1 ? 0xFF : 0x00;
    case PATTERN_CHECKERS:
        return i & 1 ? 0xAA : 0x55;
    case PATTERN_WALKING_ONES:
        return (uint8_t)(1u << (i & 7));
    case PATTERN_WALKING_ZEROS:
        return (uint8_t)~(1u << (i & 7));
    case PATTERN_COUNT:
        return (uint8_t)i;
    case PATTERN_DE_BRUIJN:
        return next_de_bruijn(p);
    case PATTERN_XORSHIFT:
        if ((i & 3) == 0)
            p->word = xorshift32(p->word);
        return (uint8_t)(p->word >> (i & 3) * 8);
    default:
        p->index = i;
        p->history[i & HISTORY_MASK] = predict(p);
        p->index = i + 1;
        return p->history[i & HISTORY_MASK];
    }
}

void pattern_fill(struct pattern *pattern, uint8_t *to, uint32_t size_bytes)
{
    uint32_t i = 0;
    if (pattern->kind == PATTERN_XORSHIFT && (pattern->index & 3) == 0) {
        uint32_t *words = (uint32_t *)(void *)to;
        uint32_t word = pattern->word;
        for (; i + 4 <= size_bytes; i += 4)
            *words++ = word = xorshift32(word);
        pattern->word = word;
        pattern->index += i;
    }
    for (; i < size_bytes; i++)
        to[i] = next_byte(pattern);
}

static uint32_t count_errors(struct pattern_check *check, uint32_t wrong, uint32_t at)
{
    uint32_t count = 0;
    for (uint32_t wire = 0; wire < DATA_WIRES; wire++) {
        if (!(wrong >> wire & 1))
            continue;
        count++;
        check->wire_errors[wire]++;
        check->burst[wire] = at - check->error_at[wire] <= SLIP_BYTES ? (uint8_t)(check->burst[wire] + 1) : 1;
        check->error_at[wire] = at;
        if (check->burst[wire] < SLIP_ERRORS)
            continue;
        check->burst[wire] = 0;
        if (!(check->out_of_step >> wire & 1)) {
            check->slips++;
            check->out_of_step |= (uint8_t)(1u << wire);
            check->one_at[wire] = at;
        }
    }
    return count;
}

/* Wires out of step: zeros for longer than any PRBS has are wrong, and long without error is in step again. */
static uint32_t watch_slipped(struct pattern *p, struct pattern_check *check, uint32_t byte, uint32_t wrong)
{
    for (uint32_t wire = 0; wire < DATA_WIRES; wire++) {
        if (!(check->out_of_step >> wire & 1))
            continue;
        if (byte >> wire & 1)
            check->one_at[wire] = p->index;
        else if (p->index - check->one_at[wire] >= p->order)
            wrong |= 1u << wire;
        if (!(wrong >> wire & 1) && p->index - check->error_at[wire] >= IN_STEP_BYTES)
            check->out_of_step &= (uint8_t)~(1u << wire);
    }
    return wrong;
}

/* How many bytes, in whole words, are right from the start; the rest is for a closer look. */
static uint32_t matching_words(struct pattern *p, const uint8_t *from, uint32_t size_bytes)
{
    const uint32_t *words = (const uint32_t *)(const void *)from;
    uint32_t state = p->word;
    uint32_t i = 0;
    for (; i + 4 <= size_bytes; i += 4) {
        uint32_t next = xorshift32(state);
        if (*words++ != next)
            break;
        state = next;
    }
    p->word = state;
    return i;
}

static uint32_t check_prbs(struct pattern *p, struct pattern_check *check, const uint8_t *from,
                           uint32_t size_bytes)
{
    uint32_t errors = 0;
    for (uint32_t i = 0; i < size_bytes; i++) {
        uint32_t predicted = predict(p);
        uint32_t wrong = predicted ^ from[i];
        uint32_t slipped = check->out_of_step;
        if (slipped)
            wrong = watch_slipped(p, check, from[i], wrong);
        if (wrong)
            errors += count_errors(check, wrong, p->index);
        p->history[p->index++ & HISTORY_MASK] = (uint8_t)((predicted & ~slipped) | (from[i] & slipped));
    }
    return errors;
}

uint32_t pattern_check(struct pattern *pattern, struct pattern_check *check, const uint8_t *from,
                       uint32_t size_bytes)
{
    uint32_t errors = 0;
    check->bytes += size_bytes;
    if (is_prbs(pattern))
        return check_prbs(pattern, check, from, size_bytes);
    uint32_t i = 0;
    if (pattern->kind == PATTERN_XORSHIFT && (pattern->index & 3) == 0) {
        i = matching_words(pattern, from, size_bytes);
        pattern->index += i;
    }
    for (; i < size_bytes; i++) {
        uint32_t wrong = (uint32_t)next_byte(pattern) ^ from[i];
        if (wrong)
            errors += count_errors(check, wrong, pattern->index);
    }
    check->out_of_step = 0;
    return errors;
}
