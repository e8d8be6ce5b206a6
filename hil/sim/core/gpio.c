/* gpio.c: pads, pulls and the nets between them.
 *
 * Source: BCM2835 ARM Peripherals ch. 6. A net's level follows the outputs on it, then the pulls. Nobody
 * drives and nobody pulls, or pulls disagree: undefined, read as seeded noise. Two outputs disagree:
 * contention, recorded once while it lasts. A board without power neither drives nor pulls. */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    LEVEL_LOW,
    LEVEL_HIGH,
    LEVEL_UNDEFINED,
    LEVEL_CONTENTION
};
enum {
    FUNCTION_OUTPUT = 1,
    FUNCTION_ALT0 = 4,
    FUNCTION_ALT5 = 2
};
enum {
    GPFSEL0 = 0x00,
    GPFSEL5 = 0x14,
    GPSET0 = 0x1C,
    GPSET1 = 0x20,
    GPCLR0 = 0x28,
    GPCLR1 = 0x2C,
    GPLEV0 = 0x34,
    GPLEV1 = 0x38,
    GPEDS0 = 0x40,
    GPAFEN1 = 0x8C,
    GPPUD = 0x94,
    GPPUDCLK0 = 0x98,
    GPPUDCLK1 = 0x9C
};
#define PIN_UART_TX 14u
#define PIN_UART_RX 15u
#define PINS_MASK   ((1ull << SIM_PINS) - 1u)
/* Signal hold of the pull control: 150 core clock cycles. */
#define PULL_CYCLES 150ull

/* ---- netlist ------------------------------------------------------------------------------------------ */

static uint16_t pad_number(uint32_t board, uint32_t pin) { return (uint16_t)(board * SIM_PINS + pin); }

static uint16_t find(sim_t *sim, uint16_t pad)
{
    while (sim->parent[pad] != pad) {
        sim->parent[pad] = sim->parent[sim->parent[pad]];
        pad = sim->parent[pad];
    }
    return pad;
}

int sim_wire(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b)
{
    if (board_a >= sim->board_count || board_b >= sim->board_count || pin_a >= SIM_PINS ||
        pin_b >= SIM_PINS || sim->nets_built) {
        return -1;
    }
    uint16_t a = find(sim, pad_number(board_a, pin_a));
    uint16_t b = find(sim, pad_number(board_b, pin_b));
    sim->parent[a > b ? a : b] = a > b ? b : a;
    return 0;
}

int nets_build(sim_t *sim)
{
    if (sim->nets_built) {
        return 0;
    }
    uint32_t pads = sim->board_count * SIM_PINS;
    sim->nets = calloc(pads, sizeof *sim->nets);
    sim->pad_of_net = calloc(pads, sizeof *sim->pad_of_net);
    if (sim->nets == NULL || sim->pad_of_net == NULL) {
        return -1;
    }
    uint32_t filled = 0;
    for (uint32_t root = 0; root < pads; root++) {
        if (find(sim, (uint16_t)root) != root) {
            continue;
        }
        net_t *net = &sim->nets[sim->net_count];
        net->first = filled;
        net->level = LEVEL_UNDEFINED;
        for (uint32_t pad = root; pad < pads; pad++) {
            if (find(sim, (uint16_t)pad) == root) {
                uint32_t board = pad / SIM_PINS, pin = pad % SIM_PINS;
                sim->pad_of_net[filled++] =
                    (pad_t){&sim->boards[board], 1ull << pin, (uint8_t)board, (uint8_t)pin};
                sim->net_of[pad / SIM_PINS][pad % SIM_PINS] = (uint16_t)sim->net_count;
            }
        }
        net->count = filled - net->first;
        sim->net_count++;
    }
    sim->nets_built = true;
    return 0;
}

/* ---- levels ------------------------------------------------------------------------------------------- */

static void contention_open(sim_t *sim, net_t *net, uint64_t now_ps)
{
    if (sim->contention_count == CONTENTIONS_MAX) {
        return;
    }
    sim_contention_t *c = &sim->contentions[sim->contention_count++];
    memset(c, 0, sizeof *c);
    c->start_ps = now_ps;
    c->end_ps = NEVER;
    for (uint32_t i = 0; i < net->count && c->count < SIM_DRIVERS_MAX; i++) {
        pad_t pad = sim->pad_of_net[net->first + i];
        board_t *b = &sim->boards[pad.board];
        if (b->state != SIM_OFF && (b->out_mask >> pad.pin & 1u)) {
            c->driver[c->count].board = pad.board;
            c->driver[c->count].pin = pad.pin;
            c->driver[c->count].level = (uint32_t)(b->latch >> pad.pin & 1u);
            c->driver[c->count].pc = b->block_pc;
            c->count++;
        }
    }
    net->contention = sim->contention_count;
}

static uint8_t net_resolve(sim_t *sim, const net_t *net)
{
    uint32_t drives = 0, pulls = 0; /* bit 0: low, bit 1: high */
    for (uint32_t i = 0; i < net->count; i++) {
        const pad_t *pad = &sim->pad_of_net[net->first + i];
        const board_t *b = pad->b;
        uint64_t bit = pad->bit;
        drives |= b->driven_high & bit ? 2u : 0u;
        if (b->state == SIM_OFF) {
            continue;
        }
        drives |= b->out_mask & bit ? (b->latch & bit ? 2u : 1u) : 0u;
        pulls |= (b->pull_up & bit ? 2u : 0u) | (b->pull_down & bit ? 1u : 0u);
    }
    static const uint8_t driven[4] = {LEVEL_UNDEFINED, LEVEL_LOW, LEVEL_HIGH, LEVEL_CONTENTION};
    static const uint8_t pulled[4] = {LEVEL_UNDEFINED, LEVEL_LOW, LEVEL_HIGH, LEVEL_UNDEFINED};
    return drives ? driven[drives] : pulled[pulls];
}

static void pad_level(board_t *b, uint64_t bit, uint8_t level, uint64_t now_ps, uint32_t writer)
{
    if (b->level_ps != now_ps || b->level_writer != writer) {
        b->level_before = b->level;
        b->unknown_before = b->unknown;
        b->level_ps = now_ps;
        b->level_writer = writer;
        sched_change(b, now_ps);
    }
    b->level = level == LEVEL_HIGH ? b->level | bit : b->level & ~bit;
    b->unknown = level >= LEVEL_UNDEFINED ? b->unknown | bit : b->unknown & ~bit;
    if (b->state == SIM_SLEEPING) {
        uint32_t seen = b->poll.seen_mask;
        if (b->sleep_period_ticks != 0 && (seen & (bit >> 32 == 0 ? 1u << POLL_LEV0 : 1u << POLL_LEV1))) {
            sched_wake(b, now_ps);
        }
    }
}

static void trace_add(sim_t *sim, uint32_t net, uint8_t level, uint64_t now_ps)
{
    if (sim->trace_count == sim->trace_capacity) {
        size_t capacity = sim->trace_capacity ? sim->trace_capacity * 2 : 4096;
        sim_trace_t *grown = realloc(sim->trace, capacity * sizeof *grown);
        if (grown == NULL) {
            return;
        }
        sim->trace = grown;
        sim->trace_capacity = capacity;
    }
    sim->trace[sim->trace_count++] = (sim_trace_t){now_ps, net, level};
}

static void net_update(sim_t *sim, uint32_t number, uint64_t now_ps, uint32_t writer)
{
    net_t *net = &sim->nets[number];
    uint8_t level = net_resolve(sim, net);
    if (level == net->level) {
        return;
    }
    if (net->level == LEVEL_CONTENTION && net->contention != 0) {
        sim->contentions[net->contention - 1].end_ps = now_ps;
        net->contention = 0;
    }
    net->level = level;
    if (level == LEVEL_CONTENTION) {
        contention_open(sim, net, now_ps);
    }
    if (net->traced) {
        trace_add(sim, number, level, now_ps);
    }
    for (uint32_t i = 0; i < net->count; i++) {
        const pad_t *pad = &sim->pad_of_net[net->first + i];
        pad_level(pad->b, pad->bit, level, now_ps, writer);
    }
}

static void pins_update(board_t *b, uint64_t mask, uint64_t now_ps)
{
    while (mask != 0) {
        uint32_t pin = (uint32_t)__builtin_ctzll(mask);
        mask &= mask - 1;
        net_update(b->sim, b->sim->net_of[b->index][pin], now_ps, b->index);
    }
}

void gpio_power(board_t *b, uint64_t now_ps) { pins_update(b, PINS_MASK, now_ps); }

uint32_t gpio_levels(board_t *b, uint32_t bank, uint64_t now_ps, bool *noisy)
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

/* ---- registers ---------------------------------------------------------------------------------------- */

void gpio_reset(board_t *b)
{
    /* Reset makes every pin an input. Pulls: power-on defaults, GPIO 0-8 up and the rest down, also after a
     * reset here; the manual gives them as reset values, though they have been seen to survive a warm one. */
    memset(b->fsel, 0, sizeof b->fsel);
    b->out_mask = b->latch = 0;
    b->pull_up = 0x1FFull;
    b->pull_down = PINS_MASK & ~0x1FFull;
    b->gppud = b->pud_latched = 0;
    memset(b->gppudclk, 0, sizeof b->gppudclk);
    for (int i = 0; i < 3; i++) {
        b->pads[i] = 0x1Bu; /* slew, hysteresis, 8 mA */
    }
}

void gpio_apply_boot_pulls(board_t *b)
{
    const sim_boot_plan_t *plan = &b->plan;
    uint64_t any = plan->pull_up_mask | plan->pull_down_mask | plan->pull_none_mask;
    b->pull_up = (b->pull_up & ~any) | plan->pull_up_mask;
    b->pull_down = (b->pull_down & ~any) | plan->pull_down_mask;
}

static void fsel_write(board_t *b, uint32_t index, uint32_t value, uint64_t now_ps)
{
    uint32_t tx = gpio_function(b, PIN_UART_TX), rx = gpio_function(b, PIN_UART_RX);
    b->fsel[index] = value & 0x3FFFFFFFu;
    uint64_t outputs = b->out_mask;
    for (uint32_t i = 0; i < 10 && index * 10 + i < SIM_PINS; i++) {
        uint64_t bit = 1ull << (index * 10 + i);
        uint32_t function = (value >> (i * 3)) & 7u;
        outputs = function == FUNCTION_OUTPUT ? outputs | bit : outputs & ~bit;
    }
    if (index == 1 && uart_enabled(b) &&
        (tx != gpio_function(b, PIN_UART_TX) || rx != gpio_function(b, PIN_UART_RX))) {
        board_lint(b, SIM_LINT_FSEL_UART, 0x20200004u, value);
    }
    uint64_t changed = outputs ^ b->out_mask;
    b->out_mask = outputs;
    pins_update(b, changed, now_ps);
}

static void latch_write(board_t *b, uint64_t set, uint64_t clear, uint64_t now_ps)
{
    uint64_t latch = (b->latch | (set & PINS_MASK)) & ~clear;
    uint64_t changed = (latch ^ b->latch) & b->out_mask;
    b->latch = latch;
    pins_update(b, changed, now_ps);
}

static bool held_long_enough(const board_t *b, uint64_t since_ps, uint64_t now_ps)
{
    return now_ps - since_ps >= PULL_CYCLES * (1000000000000ull / b->core_hz);
}

static void pull_release(board_t *b, uint64_t now_ps)
{
    uint64_t mask = ((uint64_t)b->gppudclk[1] << 32 | b->gppudclk[0]) & PINS_MASK;
    if (mask == 0) {
        return;
    }
    b->gppudclk[0] = b->gppudclk[1] = 0;
    if (!held_long_enough(b, b->gppudclk_ps, now_ps)) {
        board_lint(b, SIM_LINT_PULL_HOLD, 0x20200098u, (uint32_t)mask);
        return;
    }
    b->pull_up &= ~mask;
    b->pull_down &= ~mask;
    if (b->pud_latched == 1) {
        b->pull_down |= mask;
    } else if (b->pud_latched == 2) {
        b->pull_up |= mask;
    }
    pins_update(b, mask, now_ps);
}

static void pull_clock(board_t *b, uint32_t bank, uint32_t value, uint64_t now_ps)
{
    pull_release(b, now_ps);
    if (value == 0) {
        return;
    }
    if (!held_long_enough(b, b->gppud_ps, now_ps)) {
        board_lint(b, SIM_LINT_PULL_SETUP, 0x20200098u + 4u * bank, value);
        return;
    }
    b->gppudclk[bank] = value;
    b->gppudclk_ps = now_ps;
    b->pud_latched = b->gppud;
}

uint32_t gpio_read(board_t *b, uint32_t offset, uint64_t now_ps)
{
    bool noisy;
    switch (offset) {
    case GPLEV0:
        return gpio_levels(b, 0, now_ps, &noisy);
    case GPLEV1:
        return gpio_levels(b, 1, now_ps, &noisy);
    case GPSET0:
    case GPSET1:
    case GPCLR0:
    case GPCLR1:
        return 0;
    case GPPUD:
        return b->gppud;
    case GPPUDCLK0:
    case GPPUDCLK1:
        return b->gppudclk[(offset - GPPUDCLK0) / 4];
    default:
        break;
    }
    if (offset <= GPFSEL5) {
        return b->fsel[offset / 4];
    }
    if (offset >= GPEDS0 && offset <= GPAFEN1) { /* edge detection is not modelled: off */
        return 0;
    }
    board_lint(b, SIM_LINT_UNIMPLEMENTED_READ, 0x20200000u + offset, 0);
    return 0;
}

void gpio_write(board_t *b, uint32_t offset, uint32_t value, uint64_t now_ps)
{
    switch (offset) {
    case GPSET0:
        latch_write(b, value, 0, now_ps);
        return;
    case GPSET1:
        latch_write(b, (uint64_t)value << 32, 0, now_ps);
        return;
    case GPCLR0:
        latch_write(b, 0, value, now_ps);
        return;
    case GPCLR1:
        latch_write(b, 0, (uint64_t)value << 32, now_ps);
        return;
    case GPPUD:
        pull_release(b, now_ps);
        b->gppud = value & 3u;
        b->gppud_ps = now_ps;
        return;
    case GPPUDCLK0:
    case GPPUDCLK1:
        pull_clock(b, (offset - GPPUDCLK0) / 4, value, now_ps);
        return;
    default:
        break;
    }
    if (offset <= GPFSEL5) {
        fsel_write(b, offset / 4, value, now_ps);
    } else if (offset >= GPEDS0 && offset <= GPAFEN1) {
        if (value != 0 && offset > 0x44) {
            board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20200000u + offset, value);
        }
    } else {
        board_lint(b, SIM_LINT_UNIMPLEMENTED_WRITE, 0x20200000u + offset, value);
    }
}

uint32_t sim_level(sim_t *sim, uint32_t board, uint32_t pin)
{
    return nets_build(sim) == 0 ? sim->nets[sim->net_of[board][pin]].level : LEVEL_UNDEFINED;
}

uint32_t sim_net_of(sim_t *sim, uint32_t board, uint32_t pin)
{
    return nets_build(sim) == 0 ? sim->net_of[board][pin] : 0;
}

void sim_trace_net(sim_t *sim, uint32_t net, int on)
{
    if (nets_build(sim) == 0 && net < sim->net_count) {
        sim->nets[net].traced = on != 0;
        if (on) {
            trace_add(sim, net, sim->nets[net].level, sim->now_ps);
        }
    }
}

uint32_t sim_trace_take(sim_t *sim, sim_trace_t *out, uint32_t limit)
{
    uint32_t count = sim->trace_count < limit ? (uint32_t)sim->trace_count : limit;
    memcpy(out, sim->trace, count * sizeof *out);
    memmove(sim->trace, sim->trace + count, (sim->trace_count - count) * sizeof *out);
    sim->trace_count -= count;
    return count;
}
