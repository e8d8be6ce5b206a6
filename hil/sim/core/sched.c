/* sched.c: which board runs next, and until when.
 *
 * Conservative discrete events: shared state (pads) changes in order of (time, board index). The board with
 * the smallest key runs; it may go on until somebody else could change a pad. A board that is about to read
 * cannot do so before its read and the bus time of a write are over, and its pads remember the levels
 * before the last change, so that little may be overtaken. A sleeper's key is the time of the event that it
 * waits for, so it holds nobody back. */
#include <stdio.h>
#include <stdlib.h>

#include "internal.h"

void board_set_clock(board_t *b, uint32_t arm_hz)
{
    b->base_ps = board_now(b);
    b->base_ticks = b->ticks;
    b->arm_hz = arm_hz;
    double ps_per_tick = 1e12 / (4.0 * (double)arm_hz * (1.0 + b->setup.drift_ppm * 1e-6));
    b->ps_per_tick_q32 = (uint64_t)(ps_per_tick * 4294967296.0 + 0.5);
    b->read_ticks = (uint64_t)MMIO_READ_NS * 4u * (arm_hz / 1000000u) / 1000u;
    b->write_ticks = (uint64_t)MMIO_WRITE_NS * 4u * (arm_hz / 1000000u) / 1000u;
    b->write_ps = (uint64_t)(((unsigned __int128)b->write_ticks * b->ps_per_tick_q32) >> 32);
    b->window_ps = 0;
}

/* Ticks that the board will have counted at a time; rounded down by up to two. */
static uint64_t ticks_at(const board_t *b, uint64_t time_ps)
{
    if (time_ps <= b->base_ps)
        return b->base_ticks;
    double span = (double)(time_ps - b->base_ps) / ((double)b->ps_per_tick_q32 / 4294967296.0);
    if (span > 1e17)
        return NEVER / 2;
    return b->base_ticks + (uint64_t)span - (span >= 2.0 ? 1u : 0u);
}

uint64_t sched_ticks(const board_t *b, uint64_t time_ps)
{
    return time_ps >= NEVER ? NEVER : ticks_at(b, time_ps) + 4u;
}

static void window_set(board_t *b, uint64_t window_ps)
{
    if (b->watchdog_ps < window_ps)
        window_ps = b->watchdog_ps;
    if (window_ps != b->window_ps) {
        b->window_ps = window_ps;
        /* Block hooks compare ticks; being a tick or two late is within the block's own granularity. */
        b->window_ticks = ticks_at(b, window_ps) + 4u;
    }
}

/* The board with the smallest (key, index); *limit: what its time must stay below; *others: the smallest other key. */
static board_t *pick(sim_t *sim, uint64_t *limit_out, uint64_t *others_out)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < sim->board_count; i++)
        best = sim->key[i] < sim->key[best] ? i : best;
    uint64_t events = sim->due_min < sim->until_ps ? sim->due_min : sim->until_ps;
    uint64_t limit = events, others = events;
    for (uint32_t i = 0; i < sim->board_count; i++) {
        if (i != best) {
            uint64_t key = sim->key[i];
            others = key < others ? key : others;
            /* Equal times go to the smaller index. */
            key += sim->slack[i] ? sim->slack[i] : i > best;
            limit = key < limit ? key : limit;
        }
    }
    *limit_out = limit;
    *others_out = others;
    return &sim->boards[best];
}

/* Whether main has something to do before the board may run. */
static bool main_first(const sim_t *sim, const board_t *b)
{
    uint64_t key = sim->key[b->index];
    return key >= sim->until_ps || key >= sim->due_min || key == NEVER || b->state == SIM_BOOTING ||
           b->watchdog_ps <= key;
}

static void sleeper_resume(board_t *b, uint64_t event_ps)
{
    uint64_t target = ticks_at(b, event_ps);
    if (b->sleep_period_ticks == 0) { /* WFI: nothing happens in between */
        if (target > b->ticks) {
            b->charged_ticks += target - b->ticks;
            b->ticks = target;
        }
    } else if (target > b->ticks) {
        uint64_t rounds = (target - b->ticks) / b->sleep_period_ticks;
        b->ticks += rounds * b->sleep_period_ticks;
        b->charged_ticks += rounds * b->sleep_period_charged;
    }
    b->state = SIM_RUNNING;
    b->wake_ps = NEVER;
    b->sim->key[b->index] = board_now(b);
    b->sim->slack[b->index] = 0;
}

static void enter(sim_t *sim, board_t *next, uint64_t limit, uint64_t others)
{
    if (next->state == SIM_SLEEPING)
        sleeper_resume(next, next->wake_ps);
    uint64_t key = sim->key[next->index];
    if (key > sim->now_ps)
        sim->now_ps = key;
    sim->limit_ps = limit;
    uint64_t window = others + WINDOW_PS;
    window = sim->until_ps < window ? sim->until_ps : window;
    window = key + WINDOW_MAX_PS < window ? key + WINDOW_MAX_PS : window;
    /* A window that is too small only costs a visit here, so it is moved rarely. */
    if (next->window_ps > window || next->window_ps < key + WINDOW_PS / 2)
        window_set(next, window);
    sim->running = next;
}

/* Gives up the processor; returns when this board is the earliest again (or killed). */
static void reschedule(board_t *b)
{
    sim_t *sim = b->sim;
    uint64_t limit, others;
    board_t *next = pick(sim, &limit, &others);
    if (main_first(sim, next)) {
        b->counters.switches++;
        sim->running = NULL;
        coroutine_switch(&b->co, &sim->main);
        return;
    }
    enter(sim, next, limit, others);
    if (next != b) {
        b->counters.switches++;
        coroutine_switch(&b->co, &next->co);
    }
}

uint64_t sched_sync(board_t *b, bool reading)
{
    sim_t *sim = b->sim;
    for (;;) {
        uint64_t now = board_now(b);
        if (b->kill || (now < sim->limit_ps && now < b->watchdog_ps))
            return now;
        sim->key[b->index] = now < b->watchdog_ps ? now : b->watchdog_ps;
        sim->slack[b->index] = reading && b->level_ps <= now && now < b->watchdog_ps ? b->write_ps : 0;
        reschedule(b);
        if (sim->running == b && sim->key[b->index] >= sim->limit_ps) {
            /* Cannot happen: the picked board is below the limit. Guard against an endless loop. */
            snprintf(sim->error, sizeof sim->error, "scheduler: board %u was picked above its limit",
                     b->index);
            abort();
        }
    }
}

void sched_window(board_t *b)
{
    sim_t *sim = b->sim;
    while (!b->kill && board_now(b) >= b->window_ps) {
        uint64_t now = board_now(b);
        sim->key[b->index] = now < b->watchdog_ps ? now : b->watchdog_ps;
        sim->slack[b->index] = 0;
        uint64_t window = b->window_ps;
        reschedule(b);
        if (b->window_ps == window && sim->running == b && board_now(b) >= window) {
            b->window_ticks = b->ticks + 4u; /* rounding of ticks_at */
            return;
        }
    }
    if (b->ticks >= b->window_ticks)
        b->window_ticks = b->ticks + 1u;
}

void sched_sleep(board_t *b, uint64_t wake_ps, uint64_t period_ticks, uint64_t period_charged)
{
    if (b->watchdog_ps < wake_ps)
        wake_ps = b->watchdog_ps;
    b->counters.sleeps++;
    b->sleep_period_ticks = period_ticks;
    b->sleep_period_charged = period_charged;
    b->wake_ps = wake_ps;
    b->state = SIM_SLEEPING;
    b->sim->key[b->index] = wake_ps;
    b->sim->slack[b->index] = 0;
    do {
        reschedule(b);
    } while (b->state == SIM_SLEEPING && !b->kill);
}

/* Something that the sleeper waits for happens at event_ps, no later than it was going to wake. */
void sched_wake(board_t *b, uint64_t event_ps)
{
    sim_t *sim = b->sim;
    if (b->state != SIM_SLEEPING)
        return;
    sleeper_resume(b, event_ps);
    board_t *running = sim->running;
    if (running != NULL && running != b) {
        uint64_t key = sim->key[b->index];
        uint64_t limit = key + (running->index < b->index && key != NEVER ? 1u : 0u);
        if (limit < sim->limit_ps)
            sim->limit_ps = limit;
        uint64_t window = key + WINDOW_PS;
        if (window < running->window_ps)
            window_set(running, window);
    }
}

void sched_change(board_t *b, uint64_t change_ps)
{
    sim_t *sim = b->sim;
    uint64_t key = sim->key[b->index];
    if (b->state == SIM_RUNNING && b != sim->running && key <= change_ps) {
        sim->slack[b->index] = 0; /* its pads remember one change only: it goes first now */
        sim->limit_ps = key < sim->limit_ps ? key : sim->limit_ps;
    }
}

void sched_leave(board_t *b)
{
    b->sim->key[b->index] = b->state == SIM_HALTED ? b->watchdog_ps : NEVER;
    b->sim->running = NULL;
    for (;;)
        coroutine_switch(&b->co, &b->sim->main);
}

static void due_refresh(sim_t *sim)
{
    sim->due_min = sim->event_ps;
    for (uint32_t i = 0; i < sim->board_count; i++)
        if (sim->due[i] < sim->due_min)
            sim->due_min = sim->due[i];
    board_t *running = sim->running;
    if (running != NULL) {
        if (sim->due_min < sim->limit_ps)
            sim->limit_ps = sim->due_min;
        uint64_t window = sim->due_min + WINDOW_PS;
        if (window < running->window_ps)
            window_set(running, window);
    }
}

void sched_due(board_t *b, uint64_t due_ps)
{
    b->sim->due[b->index] = due_ps;
    due_refresh(b->sim);
}

static void event_next(sim_t *sim, uint64_t event_ps)
{
    sim->event_ps = event_ps;
    due_refresh(sim);
}

void sched_event(sim_t *sim, event_t event)
{
    if (sim->event_count == sim->event_capacity) {
        uint32_t capacity = sim->event_capacity ? sim->event_capacity * 2 : 32;
        event_t *grown = realloc(sim->events, capacity * sizeof *grown);
        if (grown == NULL)
            return;
        sim->events = grown;
        sim->event_capacity = capacity;
    }
    sim->events[sim->event_count++] = event;
    if (event.time_ps < sim->event_ps)
        event_next(sim, event.time_ps);
}

event_t sched_event_take(sim_t *sim)
{
    uint32_t first = 0;
    for (uint32_t i = 1; i < sim->event_count; i++) /* the list is in order of arrival, which settles ties */
        first = sim->events[i].time_ps < sim->events[first].time_ps ? i : first;
    event_t event = sim->events[first];
    sim->event_count--;
    for (uint32_t i = first; i < sim->event_count; i++)
        sim->events[i] = sim->events[i + 1];
    uint64_t earliest = NEVER;
    for (uint32_t i = 0; i < sim->event_count; i++)
        earliest = sim->events[i].time_ps < earliest ? sim->events[i].time_ps : earliest;
    event_next(sim, earliest);
    return event;
}

void sched_events_clear(sim_t *sim)
{
    sim->event_count = 0;
    event_next(sim, NEVER);
}

void sched_stop(sim_t *sim, uint64_t now_ps)
{
    sim->stopped = true;
    sim->until_ps = now_ps < sim->until_ps ? now_ps : sim->until_ps;
    sim->limit_ps = now_ps < sim->limit_ps ? now_ps : sim->limit_ps;
}

void sched_watchdog(board_t *b)
{
    if (b->watchdog_ps < b->window_ps)
        window_set(b, b->watchdog_ps);
}

/* The board whose adapter's packet is due first. */
static board_t *packet_board(sim_t *sim)
{
    uint32_t i = 0;
    while (sim->due[i] != sim->due_min)
        i++;
    return &sim->boards[i];
}

turn_t sched_turn(sim_t *sim, board_t **board)
{
    uint64_t limit, others;
    board_t *b = *board = pick(sim, &limit, &others);
    uint64_t key = sim->key[b->index], time_ps = key;
    turn_t turn = TURN_RAN;
    if ((sim->due_min < key ? sim->due_min : key) >= sim->until_ps) {
        turn = TURN_OVER;
        time_ps = sim->until_ps;
    } else if (sim->event_ps <= key && sim->event_ps <= sim->due_min) {
        turn = TURN_EVENT;
        time_ps = sim->event_ps;
    } else if (sim->due_min <= key) {
        turn = TURN_PACKET;
        time_ps = sim->due_min;
        *board = packet_board(sim);
    } else if (b->state == SIM_BOOTING) {
        turn = TURN_START;
    } else if (b->watchdog_ps <= key) {
        turn = TURN_WATCHDOG;
    } else {
        enter(sim, b, limit, others);
        coroutine_switch(&sim->main, &b->co);
        return turn;
    }
    if (time_ps > sim->now_ps)
        sim->now_ps = time_ps;
    return turn;
}
