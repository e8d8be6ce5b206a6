/* trace.h: what the board did and when, in memory of fixed size that keeps the newest events.
 * Off until asked for; then every event costs a read or two of the system timer. Meaning: docs/timeline.md. */
#ifndef TRACE_H
#define TRACE_H

#include <stdint.h>

#include "link.h"
#include "messages.h"
#include "timer.h"

enum {
    TRACE_EVENTS_MAX = 4096, /* 128 KiB */
};

struct trace {
    uint8_t on;
    uint8_t computing;          /* `open` has begun and not ended */
    uint32_t total;             /* recorded since it was cleared; the newest TRACE_EVENTS_MAX are there */
    struct trace_event compute; /* the stretch of computing that goes on */
    struct trace_event events[TRACE_EVENTS_MAX];
};

/* Forgets all events; `on` stays. */
void trace_clear(struct trace *trace);

/* How many events are there; the i-th of them, the oldest first. */
uint32_t trace_kept(const struct trace *trace);
const struct trace_event *trace_at(const struct trace *trace, uint32_t i);

/* Hooks: struct model's enter_layer, struct link's on_burst. The context is the struct trace. */
void trace_layer(void *trace, uint32_t layer);
void trace_burst(void *trace, const struct link_burst *burst);

/* The rest of the inline functions below, when tracing is on. */
void trace_compute_begin(struct trace *trace, enum trace_code kind, uint32_t microbatch, uint32_t position);
void trace_compute_end(struct trace *trace);
void trace_span(struct trace *trace, enum trace_code kind, uint8_t detail, uint32_t bytes, uint32_t begin_us);

/* The board computes from now on, until trace_computed. FORWARD and BACKWARD are cut where layers begin. */
static inline void trace_compute(struct trace *trace, enum trace_code kind, uint32_t microbatch,
                                 uint32_t position)
{
    if (trace->on)
        trace_compute_begin(trace, kind, microbatch, position);
}

static inline void trace_computed(struct trace *trace)
{
    if (trace->on)
        trace_compute_end(trace);
}

/* Begin of what trace_since records: a JOB, or HOST. */
static inline uint32_t trace_now(const struct trace *trace) { return trace->on ? timer_now_us() : 0; }

static inline void trace_since(struct trace *trace, enum trace_code kind, uint8_t detail, uint32_t bytes,
                               uint32_t begin_us)
{
    if (trace->on)
        trace_span(trace, kind, detail, bytes, begin_us);
}

#endif
