/* burst.h: the instants of a burst, for whoever wants to know when what happened on a link. Private to link.c.
 * Nothing is recorded unless struct link's on_burst is set. Host-buildable. */
#ifndef BURST_H
#define BURST_H

#include "link.h"
#include "port.h"

static inline int burst_sends(const struct link *link)
{
    return link->stage == STAGE_FRAME_OUT || link->stage == STAGE_ANSWER_OUT;
}

/* A burst begins: the stage, its bytes and since_us are set. */
static inline void burst_begins(struct link *link)
{
    if (!link->on_burst)
        return;
    link->burst = (struct link_burst){
        .stage = link->stage,
        .bank = link->burst.bank,
        .attempt = link->attempt,
        .begin_us = link->since_us,
    };
}

/* Before anything is driven, and before a claim is taken, the machines go one access at a time: then the instant
 * between two accesses lies behind what was seen and before what is done about it. */
static inline int burst_opens(const struct link *link)
{
    if (!link->on_burst || link->burst.opened)
        return 0;
    return burst_sends(link) ? link->tx.state == TX_WAIT_GRANT : link->rx.state < RX_LOWER_ACK;
}

/* After the machine's step that burst_opens announced. */
static inline void burst_stepped(struct link *link)
{
    if (burst_opens(link))
        return;
    link->burst.opened = link->rx.state <= RX_DONE || burst_sends(link);
    link->burst.open_us = port_now_us();
}

/* The header is through: acknowledged if this side sends, not yet if it receives. */
static inline void burst_header(struct link *link)
{
    if (link->on_burst)
        link->burst.header_us = port_now_us();
}

/* The burst is over, or broke off. */
static inline void burst_ends(struct link *link, int failed)
{
    struct link_burst *burst = &link->burst;
    int frame = link->stage == STAGE_FRAME_OUT || link->stage == STAGE_FRAME_IN;
    if (!link->on_burst || link->stage == STAGE_IDLE || link->stage == STAGE_PAUSE)
        return;
    burst->end_us = port_now_us();
    if (!burst->opened)
        burst->open_us = burst->end_us;
    /* A whole burst without a payload is a header alone: its last byte was acknowledged before. */
    if (!burst->header_us)
        burst->header_us = burst->end_us;
    burst->failed = failed != 0;
    burst->bytes = link->burst_bytes;
    burst->type = link->header.type;
    burst->sequence = link->header.sequence;
    if (link->stage == STAGE_FRAME_IN && !link->burst_done &&
        failed) /* the header that is there is an old one */
        burst->type = burst->sequence = 0;
    burst->payload = link->sending ? link->payload : link->buffer;
    burst->payload_bytes = frame && !failed && (link->sending || link->is_new) ? link->header.length : 0;
    link->on_burst(link->on_burst_context, burst);
}

#endif
