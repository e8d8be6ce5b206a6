/* faults.c: nets that carry a fault, and what is set to happen at a time or at a byte.
 *
 * What comes later (a level out of a delay line, a glitch, a board that stops) is an event in the scheduler's queue:
 * no board passes the earliest of them, so pads still change in order of time. This file does those about nets.
 *
 * A delayed wire is two nets and a line between them: each end sees what the other's outputs and pulls were one
 * delay ago. A glitch inverts what a net shows, at a random time after a rising edge of its link's clock. */
#include <string.h>

#include "internal.h"

/* A glitch begins this long after the clock's edge at the latest; a byte takes about 1 us. */
#define GLITCH_SPAN_PS (1000ull * PS_PER_NS)

void faults_clear(sim_t *sim)
{
    sim->line_count = 0;
    sim->glitch_count = 0;
    sim->trigger_count = 0;
    sched_events_clear(sim);
    for (uint32_t i = 0; i < sim->board_count; i++) {
        uart_t *u = &sim->boards[i].uart;
        u->hung_up = false;
        u->limit_baud = 0;
        memset(u->noise, 0, sizeof u->noise);
    }
}

/* ---- setting ------------------------------------------------------------------------------------------ */

static bool pad_ok(const sim_t *sim, uint32_t board, uint32_t pin)
{
    return board < sim->board_count && pin < SIM_PINS && !sim->nets_built;
}

int sim_delay(sim_t *sim, uint32_t board_a, uint32_t pin_a, uint32_t board_b, uint32_t pin_b,
              uint64_t delay_ps)
{
    if (!pad_ok(sim, board_a, pin_a) || !pad_ok(sim, board_b, pin_b) || sim->line_count == FAULTS_MAX)
        return -1;
    line_t *line = &sim->lines[sim->line_count++];
    *line = (line_t){.pad = {(uint16_t)(board_a * SIM_PINS + pin_a), (uint16_t)(board_b * SIM_PINS + pin_b)},
                     .delay_ps = delay_ps};
    return 0;
}

int sim_glitch(sim_t *sim, uint32_t board, uint32_t pin, uint32_t clock_board, uint32_t clock_pin,
               double rate, uint64_t width_ps)
{
    if (!pad_ok(sim, board, pin) || !pad_ok(sim, clock_board, clock_pin) || sim->glitch_count == FAULTS_MAX)
        return -1;
    uint64_t random = mix64(sim->seed ^ mix64(sim->glitch_count + 1u));
    sim->glitches[sim->glitch_count++] =
        (glitch_t){(uint16_t)(board * SIM_PINS + pin), (uint16_t)(clock_board * SIM_PINS + clock_pin), rate,
                   width_ps, random};
    return 0;
}

int sim_strike_at(sim_t *sim, uint32_t board, uint32_t action, uint64_t after_ps)
{
    if (board >= sim->board_count || action > SIM_STRIKE_OFF)
        return -1;
    sched_event(sim, (event_t){sim->now_ps + after_ps, action, EVENT_STRIKE, board});
    return 0;
}

int sim_strike_after(sim_t *sim, uint32_t board, uint32_t action, uint64_t clock_pins, uint64_t edges)
{
    if (board >= sim->board_count || action > SIM_STRIKE_OFF || edges == 0 || sim->nets_built ||
        sim->trigger_count == FAULTS_MAX) {
        return -1;
    }
    sim->triggers[sim->trigger_count++] = (trigger_t){board, action, clock_pins, edges};
    return 0;
}

int sim_hang_up_at(sim_t *sim, uint32_t board, uint64_t after_ps)
{
    if (board >= sim->board_count)
        return -1;
    sched_event(sim, (event_t){sim->now_ps + after_ps, 0, EVENT_HANG_UP, board});
    return 0;
}

static net_t *net_of_pad(sim_t *sim, uint32_t pad)
{
    return &sim->nets[sim->net_of[pad / SIM_PINS][pad % SIM_PINS]];
}

void faults_attach(sim_t *sim)
{
    for (uint32_t i = 0; i < sim->line_count; i++) {
        line_t *line = &sim->lines[i];
        for (int end = 0; end < 2; end++) {
            net_t *net = net_of_pad(sim, line->pad[end]);
            line->net[end] = (uint32_t)(net - sim->nets);
            line->far[end] = line->sent[end] = 0;
            net->faulty = net->lined = true;
        }
        line->moot = line->net[0] == line->net[1]; /* another wire goes past it */
    }
    for (uint32_t i = 0; i < sim->glitch_count; i++) {
        net_of_pad(sim, sim->glitches[i].pad)->faulty = true;
        net_t *clock = net_of_pad(sim, sim->glitches[i].clock);
        clock->faulty = clock->watched = true;
    }
    for (uint32_t i = 0; i < sim->trigger_count; i++) {
        const trigger_t *trigger = &sim->triggers[i];
        for (uint32_t pin = 0; pin < SIM_PINS; pin++) {
            if (trigger->pins >> pin & 1u) {
                net_t *net = net_of_pad(sim, trigger->board * SIM_PINS + pin);
                net->faulty = net->watched = true;
            }
        }
    }
    for (uint32_t round = 0; round < sim->line_count; round++) { /* what has been steady for long */
        for (uint32_t i = 0; i < sim->line_count; i++) {
            line_t *line = &sim->lines[i];
            for (uint32_t end = 0; end < 2 && !line->moot; end++)
                line->sent[end] = line->far[!end] = net_state(sim, line->net[end], i);
        }
    }
}

/* ---- levels ------------------------------------------------------------------------------------------- */

/* What drives (bit 0 low, bit 1 high) and pulls (bits 2 and 3) a net, without what comes out of one line. */
uint32_t net_state(sim_t *sim, uint32_t number, uint32_t without_line)
{
    const net_t *net = &sim->nets[number];
    uint32_t tied = net->tie & (TIE_LOW | TIE_HIGH);
    uint32_t state = net_hands(sim, net);
    state = tied ? (state & ~3u) | tied : state;
    for (uint32_t i = 0; net->lined && i < sim->line_count; i++) {
        const line_t *line = &sim->lines[i];
        for (int end = 0; end < 2; end++)
            if (i != without_line && !line->moot && line->net[end] == number)
                state |= (uint32_t)line->far[end];
    }
    return state;
}

/* Whether two outputs of one segment disagree: without the bridge they would still meet. */
static bool segment_fights(const sim_t *sim, const net_t *net)
{
    for (uint32_t i = 0; i < net->count; i++) {
        const pad_t *a = &sim->pad_of_net[net->first + i];
        for (uint32_t j = i + 1; j < net->count && pad_drives(a); j++) {
            const pad_t *b = &sim->pad_of_net[net->first + j];
            if (pad_drives(b) && a->segment == b->segment && pad_drives_high(a) != pad_drives_high(b))
                return true;
        }
    }
    return false;
}

uint8_t faulty_resolve(sim_t *sim, uint32_t number, uint8_t *conflict)
{
    const net_t *net = &sim->nets[number];
    uint32_t local = net_hands(sim, net) & 3u, tied = net->tie & (TIE_LOW | TIE_HIGH);
    uint32_t state = net_state(sim, number, UINT32_MAX);
    uint32_t driven = (state & 3u) | local;
    *conflict = SIM_CONFLICT_NONE;
    if (local == 3u)
        *conflict = !net->bridged || segment_fights(sim, net) ? SIM_CONFLICT_OUTPUTS : SIM_CONFLICT_BRIDGE;
    else if (tied != 0 && (local & ~tied) != 0)
        *conflict = SIM_CONFLICT_STUCK;
    else if (tied == 0 && driven == 3u && local != 0)
        *conflict = SIM_CONFLICT_OUTPUTS; /* with the other end of a line */
    if (tied != 0)
        return LEVEL_PULLED[tied];
    if (driven == 3u && (net->bridged == TIE_LOW || net->bridged == TIE_HIGH))
        return LEVEL_PULLED[net->bridged];
    if (driven != 0)
        return LEVEL_DRIVEN[driven];
    return net->tie & TIE_NOISE ? LEVEL_UNDEFINED : LEVEL_PULLED[state >> 2];
}

static double draw(glitch_t *glitch)
{
    glitch->random += 0x9E3779B97F4A7C15ull;
    return (double)(mix64(glitch->random) >> 11) / 9007199254740992.0;
}

static void clock_rose(sim_t *sim, const net_t *net, uint64_t now_ps)
{
    for (uint32_t i = 0; i < sim->glitch_count; i++) {
        glitch_t *glitch = &sim->glitches[i];
        if (net_of_pad(sim, glitch->clock) == net && draw(glitch) < glitch->rate) {
            uint64_t at = now_ps + 1u + (uint64_t)(draw(glitch) * (double)GLITCH_SPAN_PS);
            uint32_t victim = (uint32_t)(net_of_pad(sim, glitch->pad) - sim->nets);
            sched_event(sim, (event_t){at, glitch->width_ps, EVENT_GLITCH, victim});
        }
    }
    for (uint32_t i = 0; i < sim->trigger_count; i++) {
        trigger_t *trigger = &sim->triggers[i];
        for (uint32_t pin = 0; pin < SIM_PINS && trigger->edges > 0; pin++) {
            bool here = (trigger->pins >> pin & 1u) && &sim->nets[sim->net_of[trigger->board][pin]] == net;
            if (here && --trigger->edges == 0)
                sched_event(sim, (event_t){now_ps, trigger->action, EVENT_STRIKE, trigger->board});
        }
    }
}

static void lines_feed(sim_t *sim, uint32_t number, uint64_t now_ps)
{
    for (uint32_t i = 0; i < sim->line_count; i++) {
        line_t *line = &sim->lines[i];
        for (uint32_t end = 0; end < 2 && !line->moot; end++) {
            uint32_t state = line->net[end] == number ? net_state(sim, number, i) : line->sent[end];
            if (state != line->sent[end]) {
                line->sent[end] = (uint8_t)state;
                uint32_t far_end = i << 1 | (end == 0);
                sched_event(sim, (event_t){now_ps + line->delay_ps, state, EVENT_LINE, far_end});
            }
        }
    }
}

/* The level that a faulty net shows; what hangs on its changes is set in motion. */
uint8_t faulty_level(sim_t *sim, uint32_t number, uint8_t level, uint64_t now_ps)
{
    net_t *net = &sim->nets[number];
    if (net->lined)
        lines_feed(sim, number, now_ps);
    if (net->watched && level == LEVEL_HIGH && net->clean != LEVEL_HIGH)
        clock_rose(sim, net, now_ps);
    net->clean = level;
    return net->inverted > 0 && level <= LEVEL_HIGH ? !level : level;
}

/* ---- events ------------------------------------------------------------------------------------------- */

static void invert(sim_t *sim, uint32_t net, int step, uint64_t now_ps)
{
    sim->nets[net].inverted = (uint8_t)(sim->nets[net].inverted + step);
    net_update(sim, net, now_ps, 0);
}

void faults_event(sim_t *sim, const event_t *event)
{
    switch (event->kind) {
    case EVENT_LINE: {
        line_t *line = &sim->lines[event->subject >> 1];
        line->far[event->subject & 1u] = (uint8_t)event->value;
        net_update(sim, line->net[event->subject & 1u], event->time_ps, 0);
        break;
    }
    case EVENT_GLITCH:
        invert(sim, event->subject, 1, event->time_ps);
        sched_event(sim, (event_t){event->time_ps + event->value, 0, EVENT_GLITCH_OVER, event->subject});
        break;
    default: /* EVENT_GLITCH_OVER */
        invert(sim, event->subject, -1, event->time_ps);
        break;
    }
}
