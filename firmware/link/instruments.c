/* instruments.c: watching and disturbing the bursts of a link. Contract: instruments.h. */
#include "instruments.h"

#include "port.h"

/* --- the instants of a burst --- */

void burst_begins(struct link *link)
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
static int burst_opens(const struct link *link)
{
    if (!link->on_burst || link->burst.opened)
        return 0;
    return link_sends_burst(link) ? link->tx.state == TX_WAIT_GRANT : link->rx.state < RX_LOWER_ACK;
}

/* After the machine's step that burst_opens announced. */
static void burst_stepped(struct link *link)
{
    if (burst_opens(link))
        return;
    link->burst.opened = link->rx.state <= RX_DONE || link_sends_burst(link);
    link->burst.open_us = port_now_us();
}

void burst_header(struct link *link)
{
    if (link->on_burst)
        link->burst.header_us = port_now_us();
}

void burst_ends(struct link *link, int failed)
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

/* --- the probe --- */

/* Whether the next access is the probe's edge of the probe's byte. */
static int at_edge(const struct link *link)
{
    uint32_t byte = link_byte_index(link), wanted = link->probe->byte;
    if (link->stage == STAGE_FRAME_OUT) {
        uint32_t state = link->tx.state;
        return link->probe->edge == EDGE_CLK_RAISE ? state == TX_RAISE_CLK && byte == wanted
               : link->probe->edge == EDGE_CLK_LOWER
                   ? (state == TX_PUT_ZEROS || state == TX_RELEASE_CLK) && byte == wanted + 1
                   : 0;
    }
    uint32_t state = link->rx.state;
    return link->probe->edge == EDGE_ACK_RAISE ? state == RX_RAISE_ACK && byte == wanted
           : link->probe->edge == EDGE_ACK_LOWER
               ? (state == RX_LOWER_ACK && byte == wanted + 1) || (state == RX_RELEASE_ACK && byte == wanted)
               : 0;
}

static void note_wait(struct link_probe *probe, int falling, uint32_t ticks)
{
    uint32_t waited = ticks - probe->wait_from;
    uint32_t bucket = 0;
    while (waited && bucket < TIMING_BUCKETS - 1) {
        waited >>= 1;
        bucket++;
    }
    probe->waits[falling][bucket]++;
}

/* The machines with a look at their state before and after every access. */
static enum handshake_step probed_step(struct link *link, uint32_t accesses)
{
    struct link_probe *probe = link->probe;
    int out = link->stage == STAGE_FRAME_OUT;
    uint32_t rising = out ? TX_WAIT_ACK_HIGH : RX_WAIT_CLK_HIGH;
    uint32_t falling = out ? TX_WAIT_ACK_LOW : RX_WAIT_CLK_LOW;
    enum handshake_step step = HANDSHAKE_PENDING;
    while (accesses-- && step == HANDSHAKE_PENDING) {
        if (probe->stalls && at_edge(link)) {
            probe->stalls--;
            probe->stalling = 1;
            probe->stall_from_us = port_now_us();
            return HANDSHAKE_PENDING;
        }
        uint32_t before = out ? link->tx.state : link->rx.state;
        step = out ? link_tx_step(&link->tx, 1) : link_rx_step(&link->rx, 1);
        uint32_t after = out ? link->tx.state : link->rx.state;
        if (before == after || !probe->ticks)
            continue;
        uint32_t ticks = probe->ticks();
        if (before == rising || before == falling)
            note_wait(probe, before == falling, ticks);
        probe->wait_from = ticks;
    }
    return step;
}

/* The machines while somebody watches. Until a burst is open they go one access at a time for on_burst. */
enum handshake_step watched_step(struct link *link, uint32_t accesses)
{
    int opens = burst_opens(link);
    accesses = opens ? 1 : accesses;
    enum handshake_step step;
    if (link->probe && (link->stage == STAGE_FRAME_OUT || link->stage == STAGE_FRAME_IN))
        step = probed_step(link, accesses);
    else
        step = link_sends_burst(link) ? link_tx_step(&link->tx, accesses) : link_rx_step(&link->rx, accesses);
    if (opens)
        burst_stepped(link);
    return step;
}

int probe_stalls(struct link_probe *probe, uint32_t now_us)
{
    probe->stalling = probe->stalling && now_us - probe->stall_from_us < probe->stall_us;
    return probe->stalling;
}
