/* trace.c: the board's record of events. Contract: trace.h. Owns struct trace. */
#include "trace.h"

#include "runtime.h"

static struct trace_event *next(struct trace *trace)
{
    return &trace->events[trace->total++ % TRACE_EVENTS_MAX];
}

void trace_clear(struct trace *trace)
{
    trace->total = 0;
    trace->computing = 0;
}

uint32_t trace_kept(const struct trace *trace)
{
    return trace->total < TRACE_EVENTS_MAX ? trace->total : TRACE_EVENTS_MAX;
}

const struct trace_event *trace_at(const struct trace *trace, uint32_t i)
{
    return &trace->events[(trace->total - trace_kept(trace) + i) % TRACE_EVENTS_MAX];
}

/* --- computing --- */

static int by_layer(uint32_t kind) { return kind == TRACE_FORWARD || kind == TRACE_BACKWARD; }

static void end_compute(struct trace *trace, uint32_t now_us)
{
    struct trace_event *compute = &trace->compute;
    compute->end_us = now_us;
    if (!by_layer(compute->kind) || compute->detail != NO_LAYER) /* a rank may own no layer */
        *next(trace) = *compute;
}

void trace_compute_begin(struct trace *trace, enum trace_code kind, uint32_t microbatch, uint32_t position)
{
    trace->compute = (struct trace_event){
        .kind = (uint8_t)kind,
        .detail = NO_LAYER,
        .microbatch = (uint16_t)microbatch,
        .position = (uint16_t)position,
        .begin_us = timer_now_us(),
    };
    trace->computing = 1;
}

void trace_compute_end(struct trace *trace)
{
    if (!trace->computing)
        return;
    trace->computing = 0;
    end_compute(trace, timer_now_us());
}

void trace_layer(void *context, uint32_t layer)
{
    struct trace *trace = context;
    struct trace_event *compute = &trace->compute;
    if (!trace->computing || !by_layer(compute->kind))
        return;
    if (compute->detail != NO_LAYER) {
        uint32_t now_us = timer_now_us();
        end_compute(trace, now_us);
        compute->begin_us = now_us;
    }
    compute->detail = (uint8_t)layer;
}

/* --- the rest --- */

void trace_span(struct trace *trace, enum trace_code kind, uint8_t detail, uint32_t bytes, uint32_t begin_us)
{
    *next(trace) = (struct trace_event){
        .kind = (uint8_t)kind,
        .detail = detail,
        .bytes = bytes,
        .begin_us = begin_us,
        .end_us = timer_now_us(),
    };
}

void trace_burst(void *context, const struct link_burst *burst)
{
    static const uint8_t kinds[] = {
        [STAGE_FRAME_OUT] = TRACE_FRAME_OUT,
        [STAGE_ANSWER_IN] = TRACE_ANSWER_IN,
        [STAGE_FRAME_IN] = TRACE_FRAME_IN,
        [STAGE_ANSWER_OUT] = TRACE_ANSWER_OUT,
    };
    struct trace_event *event = next(context);
    *event = (struct trace_event){
        .begin_us = burst->begin_us,
        .open_us = burst->open_us,
        .header_us = burst->header_us,
        .end_us = burst->end_us,
        .bytes = burst->bytes,
        .sequence = burst->sequence,
        .kind = kinds[burst->stage],
        .bank = burst->bank,
        .detail = burst->type,
        .attempt = (uint8_t)(burst->attempt | (burst->failed ? BURST_FAILED : 0)),
    };
    if ((burst->type == LINK_ACTIVATION || burst->type == LINK_GRADIENT) &&
        burst->payload_bytes >= sizeof(struct hop)) {
        const struct hop *hop = (const struct hop *)(const void *)burst->payload;
        event->position = (uint16_t)hop->position;
        event->microbatch = (uint16_t)(hop->position >> 16);
    }
}
