/* trace_commands.c: commands of tracing. Contract: handlers.h. Record: trace.h. */
#include "handlers.h"
#include "runtime.h"
#include "timer.h"
#include "trace.h"

/* Where events come from; nothing is called while tracing is off. */
static void set_hooks(struct board *board, int on)
{
    for (uint32_t bank = 0; bank < BANK_COUNT; bank++) {
        board->links[bank].on_burst = on ? trace_burst : 0;
        board->links[bank].on_burst_context = &board->trace;
        board->links[bank].burst.bank = (uint8_t)bank;
    }
    for (uint32_t i = 0; i < board->shard_count; i++) {
        board->models[i].enter_layer = on ? trace_layer : 0;
        board->models[i].enter_layer_context = &board->trace;
    }
    board->trace.on = on != 0;
}

static void give_state(const struct board *board, struct reply *reply)
{
    const struct trace *trace = &board->trace;
    struct msg_trace_state state = {
        .now_us = timer_now64_us(),
        .kept = trace_kept(trace),
        .dropped = trace->total - trace_kept(trace),
        .capacity = TRACE_EVENTS_MAX,
        .on = trace->on,
    };
    give(reply, &state, sizeof state);
}

void handle_trace_start(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    trace_clear(&board->trace);
    set_hooks(board, 1);
    give_state(board, reply);
}

void handle_trace_stop(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    set_hooks(board, 0);
    give_state(board, reply);
}

void handle_trace_clear(struct board *board, const struct request *request, struct reply *reply)
{
    (void)request;
    trace_clear(&board->trace);
    give_state(board, reply);
}

void handle_trace_read(struct board *board, const struct request *request, struct reply *reply)
{
    const struct trace *trace = &board->trace;
    struct msg_trace_read asked;
    memcpy(&asked, request->payload, sizeof asked);
    struct msg_trace_part part = {
        .kept = trace_kept(trace), .first = asked.first, .dropped = trace->total - trace_kept(trace)};
    uint32_t count = asked.first < part.kept ? part.kept - asked.first : 0;
    uint32_t count_max = (REPLY_BYTES_MAX - (uint32_t)sizeof part) / (uint32_t)sizeof(struct trace_event);
    count = count < asked.count ? count : asked.count;
    count = count < count_max ? count : count_max;
    give(reply, &part, sizeof part);
    for (uint32_t i = asked.first; i < asked.first + count; i++)
        give(reply, trace_at(trace, i), sizeof(struct trace_event));
}
