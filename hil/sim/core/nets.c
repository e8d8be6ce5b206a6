/* nets.c: the nets between pads: wiring, levels, contention, traces.
 *
 * A net's level follows the outputs on it, then the pulls. Nobody drives and nobody pulls, or pulls disagree:
 * undefined, read as seeded noise. Two outputs disagree: contention, recorded once while it lasts. A board
 * without power neither drives nor pulls. Nets that carry a fault go through faults.c. Wires may be replaced at
 * any time between two calls of sim_run: sim_nets_clear, then sim_wire and the faults, then sim_nets_commit. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define PINS_MASK ((1ull << SIM_PINS) - 1u)

/* ---- wiring ------------------------------------------------------------------------------------------- */

static uint16_t find(sim_t *sim, uint16_t pad)
{
    while (sim->parent[pad] != pad) {
        sim->parent[pad] = sim->parent[sim->parent[pad]];
        pad = sim->parent[pad];
    }
    return pad;
}

static void join(sim_t *sim, uint16_t pad_a, uint16_t pad_b)
{
    uint16_t a = find(sim, pad_a), b = find(sim, pad_b);
    sim->parent[a > b ? a : b] = a > b ? b : a;
}

/* Number of a pad, or -1 if there is no such pad or the nets are in use. */
static int pad_number(const sim_t *sim, uint32_t board, uint32_t pin)
{
    bool known = board < sim->board_count && pin < SIM_PINS && !sim->nets_built;
    return known ? (int)(board * SIM_PINS + pin) : -1;
}

void sim_nets_clear(sim_t *sim)
{
    for (uint32_t pad = 0; pad < sim->board_count * SIM_PINS; pad++) {
        sim->parent[pad] = (uint16_t)pad;
        sim->tie[pad] = 0;
    }
    sim->bridge_count = 0;
    sim->nets_built = false;
    faults_clear(sim);
}

int sim_wire(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b)
{
    int a = pad_number(sim, board_a, pin_a), b = pad_number(sim, board_b, pin_b);
    if (a < 0 || b < 0)
        return -1;
    join(sim, (uint16_t)a, (uint16_t)b);
    return 0;
}

int sim_bridge(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b, uint32_t level)
{
    int a = pad_number(sim, board_a, pin_a), b = pad_number(sim, board_b, pin_b);
    if (a < 0 || b < 0 || sim->bridge_count == BRIDGES_MAX)
        return -1;
    sim->bridges[sim->bridge_count++] = (bridge_t){(uint16_t)a, (uint16_t)b, level != 0};
    return 0;
}

int sim_tie(sim_t *sim, uint32_t board, uint32_t pin, uint32_t level)
{
    int pad = pad_number(sim, board, pin);
    if (pad < 0)
        return -1;
    sim->tie[pad] |= level ? TIE_HIGH : TIE_LOW;
    return 0;
}

int sim_noise(sim_t *sim, uint32_t board, uint32_t pin)
{
    int pad = pad_number(sim, board, pin);
    if (pad < 0)
        return -1;
    sim->tie[pad] |= TIE_NOISE;
    return 0;
}

static void segments_build(sim_t *sim, uint32_t pads)
{
    for (uint32_t pad = 0; pad < pads; pad++)
        sim->segment[pad] = find(sim, (uint16_t)pad);
    for (uint32_t i = 0; i < sim->bridge_count; i++)
        join(sim, sim->bridges[i].a, sim->bridges[i].b);
}

static void net_fill(sim_t *sim, net_t *net, uint32_t root, uint32_t first, uint32_t pads)
{
    memset(net, 0, sizeof *net);
    net->first = first;
    net->level = LEVEL_UNDEFINED;
    for (uint32_t pad = root; pad < pads; pad++) {
        if (find(sim, (uint16_t)pad) == root) {
            uint32_t board = pad / SIM_PINS, pin = pad % SIM_PINS;
            sim->pad_of_net[first + net->count++] =
                (pad_t){&sim->boards[board], 1ull << pin, (uint8_t)board, (uint8_t)pin, sim->segment[pad]};
            sim->net_of[board][pin] = (uint16_t)(net - sim->nets);
            net->tie |= sim->tie[pad];
        }
    }
    for (uint32_t i = 0; i < sim->bridge_count; i++)
        if (find(sim, sim->bridges[i].a) == root)
            net->bridged |= sim->bridges[i].level ? TIE_HIGH : TIE_LOW;
    net->faulty = net->tie != 0 || net->bridged != 0;
}

static int nets_build(sim_t *sim)
{
    uint32_t pads = sim->board_count * SIM_PINS;
    if (sim->nets == NULL) {
        sim->nets = calloc(pads, sizeof *sim->nets);
        sim->pad_of_net = calloc(pads, sizeof *sim->pad_of_net);
        if (sim->nets == NULL || sim->pad_of_net == NULL)
            return -1;
    }
    segments_build(sim, pads);
    uint32_t filled = 0;
    sim->net_count = 0;
    for (uint32_t root = 0; root < pads; root++) {
        if (find(sim, (uint16_t)root) == root) {
            net_t *net = &sim->nets[sim->net_count++];
            net_fill(sim, net, root, filled, pads);
            filled += net->count;
        }
    }
    sim->nets_built = true;
    return 0;
}

/* ---- contention --------------------------------------------------------------------------------------- */

static void contention_name(sim_t *sim, sim_contention_t *c, const net_t *net)
{
    for (uint32_t i = 0; i < net->count && c->count < SIM_DRIVERS_MAX; i++) {
        const pad_t *pad = &sim->pad_of_net[net->first + i];
        if (pad_drives(pad)) {
            c->driver[c->count].board = pad->board;
            c->driver[c->count].pin = pad->pin;
            c->driver[c->count].level = pad_drives_high(pad);
            c->driver[c->count].pc = pad->b->block_pc;
            c->count++;
        }
    }
}

static void contention_open(sim_t *sim, net_t *net, uint64_t now_ps)
{
    if (sim->contention_count == sim->contention_capacity) {
        uint32_t capacity = sim->contention_capacity ? sim->contention_capacity * 2 : 64;
        sim_contention_t *grown = realloc(sim->contentions, capacity * sizeof *grown);
        if (grown == NULL)
            return;
        sim->contentions = grown;
        sim->contention_capacity = capacity;
    }
    sim_contention_t *c = &sim->contentions[sim->contention_count++];
    memset(c, 0, sizeof *c);
    c->start_ps = now_ps;
    c->end_ps = NEVER;
    c->kind = net->conflict;
    contention_name(sim, c, net);
    for (uint32_t i = 0; net->lined && i < sim->line_count; i++) {
        for (int end = 0; end < 2; end++)
            if (&sim->nets[sim->lines[i].net[end]] == net)
                contention_name(sim, c, &sim->nets[sim->lines[i].net[!end]]);
    }
    net->contention = sim->contention_count;
}

static void contention_close(sim_t *sim, net_t *net, uint64_t now_ps)
{
    if (net->contention != 0) {
        sim->contentions[net->contention - 1].end_ps = now_ps;
        net->contention = 0;
    }
}

static void conflict_set(sim_t *sim, net_t *net, uint8_t conflict, uint64_t now_ps)
{
    if (conflict != net->conflict) {
        contention_close(sim, net, now_ps);
        net->conflict = conflict;
        if (conflict != SIM_CONFLICT_NONE)
            contention_open(sim, net, now_ps);
    }
}

uint32_t sim_contentions(sim_t *sim, const sim_contention_t **out)
{
    *out = sim->contentions;
    return sim->contention_count;
}

void sim_contentions_forget(sim_t *sim)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sim->contention_count; i++) {
        if (sim->contentions[i].end_ps != NEVER)
            continue;
        for (uint32_t n = 0; n < sim->net_count; n++)
            if (sim->nets[n].contention == i + 1)
                sim->nets[n].contention = kept + 1;
        sim->contentions[kept++] = sim->contentions[i];
    }
    sim->contention_count = kept;
}

/* ---- levels ------------------------------------------------------------------------------------------- */

/* What drives a net (bit 0: low, bit 1: high) and what pulls it (bits 2 and 3). */
static inline uint32_t hands_on(const sim_t *sim, const net_t *net)
{
    uint32_t driven = 0, pulls = 0;
    const pad_t *end = &sim->pad_of_net[net->first + net->count];
    for (const pad_t *pad = &sim->pad_of_net[net->first]; pad < end; pad++) {
        const board_t *b = pad->b;
        uint64_t bit = pad->bit;
        driven |= b->driven_high & bit ? 2u : 0u;
        if (b->state == SIM_OFF)
            continue;
        driven |= b->out_mask & bit ? (b->latch & bit ? 2u : 1u) : 0u;
        pulls |= (b->pull_up & bit ? 2u : 0u) | (b->pull_down & bit ? 1u : 0u);
    }
    return driven | pulls << 2;
}

uint32_t net_hands(const sim_t *sim, const net_t *net) { return hands_on(sim, net); }

const uint8_t LEVEL_DRIVEN[4] = {LEVEL_UNDEFINED, LEVEL_LOW, LEVEL_HIGH, LEVEL_CONTENTION};
const uint8_t LEVEL_PULLED[4] = {LEVEL_UNDEFINED, LEVEL_LOW, LEVEL_HIGH, LEVEL_UNDEFINED};

static inline uint8_t net_resolve(sim_t *sim, uint32_t number, uint8_t *conflict)
{
    const net_t *net = &sim->nets[number];
    if (__builtin_expect(net->faulty, 0))
        return faulty_resolve(sim, number, conflict);
    uint32_t hands = hands_on(sim, net), driven = hands & 3u;
    *conflict = driven == 3u ? SIM_CONFLICT_OUTPUTS : SIM_CONFLICT_NONE;
    return driven ? LEVEL_DRIVEN[driven] : LEVEL_PULLED[hands >> 2];
}

static inline void pad_level(board_t *b, uint64_t bit, uint8_t level, uint64_t now_ps, uint32_t writer)
{
    if (b->level_ps != now_ps || b->level_writer != writer) {
        b->level_before = b->level;
        b->unknown_before = b->unknown;
        b->level_ps = now_ps;
        b->level_writer = writer;
        sched_change(b, now_ps);
    }
    bool was_high = (b->level & bit) != 0;
    b->level = level == LEVEL_HIGH ? b->level | bit : b->level & ~bit;
    if (was_high != (level == LEVEL_HIGH))
        gpio_edge(b, bit, level == LEVEL_HIGH);
    b->unknown = level >= LEVEL_UNDEFINED ? b->unknown | bit : b->unknown & ~bit;
    if (b->state == SIM_SLEEPING) {
        uint32_t seen = b->poll.seen_mask;
        bool interrupted = b->irq_ticks == 0; /* also in WFI */
        if (interrupted ||
            (b->sleep_period_ticks != 0 && (seen & (bit >> 32 == 0 ? 1u << POLL_LEV0 : 1u << POLL_LEV1))))
            sched_wake(b, now_ps);
    }
}

enum {
    TRACE_RECORDS_MAX = 1 << 22
}; /* 64 MiB; beyond it the older half is forgotten */

void sim_trace_keep(sim_t *sim, uint32_t latest)
{
    if (sim->trace_count > latest) {
        memmove(sim->trace, sim->trace + (sim->trace_count - latest), latest * sizeof *sim->trace);
        sim->trace_count = latest;
    }
}

static void trace_add(sim_t *sim, uint32_t pad, uint8_t level, uint64_t now_ps)
{
    if (sim->trace_count == TRACE_RECORDS_MAX)
        sim_trace_keep(sim, TRACE_RECORDS_MAX / 2u);
    if (sim->trace_count == sim->trace_capacity) {
        size_t capacity = sim->trace_capacity ? sim->trace_capacity * 2 : 4096;
        sim_trace_t *grown = realloc(sim->trace, capacity * sizeof *grown);
        if (grown == NULL)
            return;
        sim->trace = grown;
        sim->trace_capacity = capacity;
    }
    sim->trace[sim->trace_count++] = (sim_trace_t){now_ps, pad, level};
}

/* A pad that is traced or watched has changed. */
static void pad_noted(sim_t *sim, const pad_t *pad, uint8_t level, uint64_t now_ps)
{
    if (pad->b->traced & pad->bit)
        trace_add(sim, pad->board * SIM_PINS + pad->pin, level, now_ps);
    if (pad->b->watched & pad->bit)
        sched_stop(sim, now_ps);
}

static inline void net_change(sim_t *sim, uint32_t number, uint64_t now_ps, uint32_t writer)
{
    net_t *net = &sim->nets[number];
    uint8_t conflict;
    uint8_t level = net_resolve(sim, number, &conflict);
    if (__builtin_expect(conflict != net->conflict, 0))
        conflict_set(sim, net, conflict, now_ps);
    if (__builtin_expect(net->faulty, 0))
        level = faulty_level(sim, number, level, now_ps);
    if (level == net->level)
        return;
    net->level = level;
    const pad_t *end = &sim->pad_of_net[net->first + net->count];
    for (const pad_t *pad = &sim->pad_of_net[net->first]; pad < end; pad++) {
        pad_level(pad->b, pad->bit, level, now_ps, writer);
        if (__builtin_expect((pad->b->noted & pad->bit) != 0, 0))
            pad_noted(sim, pad, level, now_ps);
    }
}

void net_update(sim_t *sim, uint32_t number, uint64_t now_ps, uint32_t writer)
{
    net_change(sim, number, now_ps, writer);
}

void pins_update(board_t *b, uint64_t mask, uint64_t now_ps)
{
    while (mask != 0) {
        uint32_t pin = (uint32_t)__builtin_ctzll(mask);
        mask &= mask - 1;
        net_change(b->sim, b->sim->net_of[b->index][pin], now_ps, b->index);
    }
}

void pins_power(board_t *b, uint64_t now_ps) { pins_update(b, PINS_MASK, now_ps); }

/* A pad that hangs on another net now shows that net's level; the others keep what they have. */
static void pad_catch_up(sim_t *sim, const net_t *net, const pad_t *pad, uint64_t now_ps)
{
    uint8_t before = pad->b->unknown & pad->bit ? LEVEL_UNDEFINED : (pad->b->level & pad->bit) != 0;
    uint8_t after = net->level >= LEVEL_UNDEFINED ? LEVEL_UNDEFINED : net->level;
    if (before != after) {
        pad_level(pad->b, pad->bit, net->level, now_ps, pad->board);
        pad_noted(sim, pad, net->level, now_ps);
    }
}

int sim_nets_commit(sim_t *sim)
{
    for (uint32_t n = 0; n < sim->net_count; n++)
        contention_close(sim, &sim->nets[n], sim->now_ps);
    if (nets_build(sim) != 0)
        return -1;
    faults_attach(sim);
    for (uint32_t n = 0; n < sim->net_count; n++) {
        net_t *net = &sim->nets[n];
        uint8_t conflict;
        net->level = net->clean = net_resolve(sim, n, &conflict);
        conflict_set(sim, net, conflict, sim->now_ps);
        for (uint32_t i = 0; i < net->count; i++)
            pad_catch_up(sim, net, &sim->pad_of_net[net->first + i], sim->now_ps);
    }
    return 0;
}

uint32_t pins_levels(board_t *b, uint32_t bank, uint64_t now_ps, bool *noisy)
{
    /* A sleeper that was woken may still have reads to make before the change that woke it. */
    bool before = now_ps < b->level_ps || (now_ps == b->level_ps && b->index < b->level_writer);
    uint32_t shift = bank * 32u;
    uint32_t level = (uint32_t)((before ? b->level_before : b->level) >> shift);
    uint32_t unknown = (uint32_t)((before ? b->unknown_before : b->unknown) >> shift);
    *noisy = unknown != 0;
    while (unknown != 0) {
        uint32_t pin = (uint32_t)__builtin_ctz(unknown);
        unknown &= unknown - 1;
        uint64_t net = b->sim->net_of[b->index][pin + shift];
        uint64_t draw = mix64(mix64(b->sim->seed ^ (net << 48)) + now_ps);
        level = (level & ~(1u << pin)) | (uint32_t)(draw & 1u) << pin;
    }
    return level;
}

uint32_t sim_level(sim_t *sim, uint32_t board, uint32_t pin)
{
    return sim->nets[sim->net_of[board][pin]].level;
}

/* ---- traces ------------------------------------------------------------------------------------------- */

void trace_mark(sim_t *sim, uint32_t mark, uint32_t board)
{
    uint64_t traced = 0;
    for (uint32_t i = 0; i < sim->board_count; i++)
        traced |= sim->boards[i].traced;
    if (traced)
        trace_add(sim, SIM_TRACE_MARK | board, (uint8_t)mark, sim->now_ps);
}

void sim_trace_pad(sim_t *sim, uint32_t board, uint32_t pin, int on)
{
    board_t *b = &sim->boards[board];
    uint64_t bit = 1ull << pin;
    b->traced = on ? b->traced | bit : b->traced & ~bit;
    b->noted = b->traced | b->watched;
    if (on)
        trace_add(sim, board * SIM_PINS + pin, (uint8_t)sim_level(sim, board, pin), sim->now_ps);
}

uint32_t sim_trace_take(sim_t *sim, sim_trace_t *out, uint32_t limit)
{
    uint32_t count = sim->trace_count < limit ? (uint32_t)sim->trace_count : limit;
    memcpy(out, sim->trace, count * sizeof *out);
    memmove(sim->trace, sim->trace + count, (sim->trace_count - count) * sizeof *out);
    sim->trace_count -= count;
    return count;
}
