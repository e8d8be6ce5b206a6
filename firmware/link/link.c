/* link.c: frames over one bank. Contract: link.h. Protocol: docs/protocol.md, section 3.
 * A frame is a burst one way and an answer the other way, each a run of the machines in handshake.c. This file
 * adds the clock: it looks at it once per poll, and a machine that has not moved for its limit is given up. */
#include "link.h"

#include "crc32.h"
#include "instruments.h"
#include "port.h"

enum {
    ROLE_NONE = 0xFF,
};

/* Kept out of link_poll, so that a poll in mid-burst is short and saves few registers. */
#define ONCE_A_BURST __attribute__((noinline))

static uint32_t all_pins(const struct link *link)
{
    return link->bank.data | link->bank.clk | link->bank.ack;
}

void link_init(struct link *link, const struct link_bank *bank, uint8_t rank)
{
    *link = (struct link){
        .bank = *bank,
        .rank = rank,
        .phase_limit_us = LINK_PHASE_LIMIT_US,
        .accesses_per_poll = LINK_ACCESSES_PER_POLL,
        .attempts_max = LINK_ATTEMPTS_MAX,
    };
    link_reset(link);
}

void link_reset(struct link *link)
{
    link_abort(link);
    link->sent_sequence = 0;
    link->delivered_sequence = 0;
    link->last_role = ROLE_NONE;
}

void link_abort(struct link *link)
{
    burst_ends(link, 1);
    port_inputs(all_pins(link));
    link->stage = STAGE_IDLE;
}

/* --- starting bursts --- */

static void pause_before(struct link *link, enum link_stage stage, uint32_t pause_us)
{
    link->stage = STAGE_PAUSE;
    link->next_stage = (uint8_t)stage;
    link->pause_us = pause_us;
    link->since_us = port_now_us();
}

static void note_role(struct link *link, uint8_t role)
{
    link->counts.turnarounds += link->last_role != ROLE_NONE && link->last_role != role;
    link->last_role = role;
}

ONCE_A_BURST static void begin_burst(struct link *link, enum link_stage stage)
{
    link->stage = (uint8_t)stage;
    link->burst_done = 0;
    link->mark = 0xFFFFFFFFu;
    link->since_us = link->looked_us = port_now_us();
    burst_begins(link);
    switch (stage) {
    case STAGE_FRAME_OUT:
        note_role(link, ROLE_SENDER);
        link->burst_bytes =
            LINK_HEADER_BYTES + (link->header.length ? link->header.length + LINK_CRC_BYTES : 0);
        link_tx_start(&link->tx, &link->bank, &link->header, LINK_HEADER_BYTES, link->header.length == 0);
        break;
    case STAGE_ANSWER_OUT:
        note_role(link, ROLE_SENDER);
        link->burst_bytes = LINK_ANSWER_BYTES;
        link_tx_start(&link->tx, &link->bank, &link->answer, LINK_ANSWER_BYTES, 1);
        break;
    case STAGE_FRAME_IN:
        note_role(link, ROLE_RECEIVER);
        link->burst_bytes = LINK_HEADER_BYTES;
        link_rx_start(&link->rx, &link->bank, &link->header, LINK_HEADER_BYTES);
        break;
    default:
        note_role(link, ROLE_RECEIVER);
        link->burst_bytes = LINK_ANSWER_BYTES;
        link_rx_start(&link->rx, &link->bank, &link->answer, LINK_ANSWER_BYTES);
        link_rx_end(&link->rx);
        break;
    }
}

void link_send_start(struct link *link, uint8_t type, const void *payload, uint32_t length,
                     uint32_t open_limit_us)
{
    link->sending = 1;
    link->attempt = 1;
    link->patient = 0;
    link->have_frame = 0;
    link->payload = payload;
    link->open_limit_us = open_limit_us;
    link->header = (struct link_header){
        .magic = LINK_MAGIC,
        .type = type,
        .source = link->rank,
        .sequence = ++link->sent_sequence,
        .length = length,
    };
    link->header.crc32 = crc32_update(CRC32_START, &link->header, LINK_HEADER_BYTES - LINK_CRC_BYTES);
    link->payload_crc = crc32_update(CRC32_START, payload, length);
    pause_before(link, STAGE_FRAME_OUT, LINK_SETTLE_US);
}

void link_receive_start(struct link *link, void *buffer, uint32_t capacity, uint32_t open_limit_us)
{
    link->sending = 0;
    link->attempt = 1;
    link->patient = 0;
    link->have_frame = 0;
    link->buffer = buffer;
    link->capacity = capacity;
    link->open_limit_us = open_limit_us;
    begin_burst(link, STAGE_FRAME_IN);
}

/* --- giving up and trying again --- */

static uint32_t current_phase(const struct link *link)
{
    if (link_sends_burst(link)) {
        switch (link->tx.state) {
        case TX_WAIT_GRANT:
            return PHASE_WAIT_GRANT;
        case TX_WAIT_CLAIM_TAKEN:
            return PHASE_WAIT_CLAIM_TAKEN;
        case TX_WAIT_ACK_HIGH:
            return PHASE_WAIT_ACK_HIGH;
        default:
            return PHASE_WAIT_ACK_LOW;
        }
    }
    switch (link->rx.state) {
    case RX_WAIT_QUIET:
        return PHASE_WAIT_QUIET;
    case RX_WAIT_CLAIM:
        return PHASE_WAIT_CLAIM;
    case RX_WAIT_CLK_LOW:
        return PHASE_WAIT_CLK_LOW;
    case RX_LET_GO:
    case RX_CONTESTED:
        return PHASE_CONTESTED;
    default:
        return PHASE_WAIT_CLK_HIGH;
    }
}

static int is_opening(uint32_t phase)
{
    return phase == PHASE_WAIT_GRANT || phase == PHASE_WAIT_QUIET || phase == PHASE_WAIT_CLAIM;
}

static uint32_t limit_us(const struct link *link, uint32_t phase)
{
    if (!is_opening(phase) || link->stage == STAGE_ANSWER_IN || link->stage == STAGE_ANSWER_OUT)
        return link->phase_limit_us;
    return link->attempt == 1 || link->patient ? link->open_limit_us
                                               : link->phase_limit_us * LINK_REOPEN_FACTOR;
}

static struct msg_link_fault stand_at(const struct link *link, uint32_t phase, uint32_t waited_us)
{
    uint32_t index = link_byte_index(link);
    return (struct msg_link_fault){
        .role = link_sends_burst(link) ? ROLE_SENDER : ROLE_RECEIVER,
        .phase = (uint8_t)phase,
        .byte_index = index < link->burst_bytes ? index : link->burst_bytes - 1,
        .burst_bytes = link->burst_bytes,
        .gplev0 = port_level(),
        .waited_us = waited_us,
    };
}

static void record_fault(struct link *link, uint32_t phase, uint32_t waited_us)
{
    /* A peer that does not open again says less than where the burst broke. */
    if (link->attempt > 1 && is_opening(phase))
        return;
    link->fault = stand_at(link, phase, waited_us);
}

int link_stand(const struct link *link, struct msg_link_fault *stand)
{
    if (link->stage == STAGE_IDLE || link->stage == STAGE_PAUSE)
        return 0;
    *stand = stand_at(link, current_phase(link), port_now_us() - link->since_us);
    return 1;
}

static enum link_status finish(struct link *link, enum link_status status)
{
    link->stage = STAGE_IDLE;
    return status;
}

/* The burst failed: release everything, stay quiet until the peer has given up too, start the frame again. */
static enum link_status try_again(struct link *link)
{
    burst_ends(link, 1);
    port_inputs(all_pins(link));
    if (link->attempt == link->attempts_max)
        return finish(link, link->have_frame ? LINK_OK : LINK_ERROR_FAULT);
    link->attempt++;
    link->counts.resends += link->sending;
    pause_before(link, link->sending ? STAGE_FRAME_OUT : STAGE_FRAME_IN, 2 * link->phase_limit_us + 1000);
    return LINK_PENDING;
}

static enum link_status give_up(struct link *link, uint32_t phase, uint32_t waited_us)
{
    link->patient = link->stage == STAGE_ANSWER_IN;
    int opening = is_opening(phase) && (link->stage == STAGE_FRAME_IN || link->stage == STAGE_FRAME_OUT);
    record_fault(link, phase, waited_us);
    if (opening) { /* the peer is not there */
        link_abort(link);
        /* Delivered, and the sender does not ask again: it has the answer, or has given up. */
        if (link->have_frame)
            return LINK_OK;
        link->counts.timeouts++;
        return LINK_ERROR_FAULT;
    }
    link->counts.timeouts++;
    return try_again(link);
}

/* Somebody holds ACK low against the grant: a short, or a peer that lost count and still receives. It will give up. */
static enum link_status contested(struct link *link)
{
    record_fault(link, PHASE_CONTESTED, 0);
    link->patient = link->stage == STAGE_ANSWER_IN;
    link->counts.timeouts++;
    return try_again(link);
}

/* --- events of the machines --- */

ONCE_A_BURST static enum link_status next_segment_out(struct link *link)
{
    if (link->burst_done == 0) {
        link->burst_done = LINK_HEADER_BYTES;
        link->opened_us = link->looked_us;
        burst_header(link);
        link_tx_segment(&link->tx, link->payload, link->header.length, 0);
    } else {
        link->burst_done += link->header.length;
        link_tx_segment(&link->tx, &link->payload_crc, LINK_CRC_BYTES, 1);
    }
    return LINK_PENDING;
}

static int header_good(const struct link *link)
{
    const struct link_header *header = &link->header;
    return header->magic == LINK_MAGIC && header->length <= link->capacity &&
           header->crc32 == crc32_update(CRC32_START, header, LINK_HEADER_BYTES - LINK_CRC_BYTES);
}

/* The header is here and its last byte not acknowledged yet: go on only if the frame can be taken. */
static enum link_status header_in(struct link *link)
{
    const struct link_header *header = &link->header;
    if (!header_good(link)) {
        link->counts.bad_headers++;
        record_fault(link, PHASE_DAMAGED, 0);
        return try_again(link);
    }
    link->is_new = header->sequence != link->delivered_sequence;
    link->opened_us = link->looked_us;
    burst_header(link);
    if (link->have_frame && link->is_new) {
        /* The sender has gone on, so it has our answer. Its new frame must wait for the next receive. */
        link_abort(link);
        return LINK_OK;
    }
    if (header->length == 0) {
        link_rx_end(&link->rx);
        return LINK_PENDING;
    }
    link->burst_done = LINK_HEADER_BYTES;
    link->burst_bytes = LINK_HEADER_BYTES + header->length + LINK_CRC_BYTES;
    link_rx_segment(&link->rx, link->is_new ? link->buffer : &link->discard, header->length, !link->is_new,
                    0);
    return LINK_PENDING;
}

ONCE_A_BURST static enum link_status next_segment_in(struct link *link)
{
    if (link->burst_done == 0)
        return header_in(link);
    link->burst_done += link->header.length;
    link_rx_segment(&link->rx, (uint8_t *)&link->payload_crc, LINK_CRC_BYTES, 0, 1);
    return LINK_PENDING;
}

/* A whole frame came: deliver it once, and answer in any case. */
static enum link_status frame_in(struct link *link)
{
    const struct link_header *header = &link->header;
    link->verdict = ANSWER_GOOD;
    if (!link->is_new) {
        link->counts.duplicates++;
    } else if (header->length &&
               link->payload_crc != crc32_update(CRC32_START, link->buffer, header->length)) {
        link->counts.bad_payloads++;
        record_fault(link, PHASE_DAMAGED, 0);
        if (header->type != LINK_RAW)
            link->verdict = ANSWER_BAD;
    }
    if (link->is_new && link->verdict == ANSWER_GOOD) {
        link->delivered_sequence = header->sequence;
        link->have_frame = 1;
        link->received_type = header->type;
        link->received_length = header->length;
        link->counts.frames_received++;
        link->counts.bytes_received += header->length;
    }
    link->answer = (struct link_answer){
        .verdict = link->verdict,
        .type = header->type,
        .sequence = (uint16_t)header->sequence,
    };
    link->answer.crc32 = crc32_update(CRC32_START, &link->answer, LINK_ANSWER_BYTES - LINK_CRC_BYTES);
    pause_before(link, STAGE_ANSWER_OUT, LINK_SETTLE_US);
    return LINK_PENDING;
}

static enum link_status answer_out(struct link *link)
{
    if (link->have_frame)
        return finish(link, LINK_OK);
    if (link->verdict == ANSWER_BAD) {
        if (link->attempt == link->attempts_max)
            return finish(link, LINK_ERROR_FAULT);
        link->attempt++;
    }
    begin_burst(link, STAGE_FRAME_IN); /* the resend, or the frame behind a duplicate */
    return LINK_PENDING;
}

static enum link_status answer_in(struct link *link)
{
    const struct link_answer *answer = &link->answer;
    int sound = answer->crc32 == crc32_update(CRC32_START, answer, LINK_ANSWER_BYTES - LINK_CRC_BYTES) &&
                answer->type == link->header.type && answer->sequence == (uint16_t)link->header.sequence;
    if (sound && answer->verdict == ANSWER_GOOD) {
        link->counts.frames_sent++;
        link->counts.bytes_sent += link->header.length;
        return finish(link, LINK_OK);
    }
    record_fault(link, PHASE_DAMAGED, 0);
    link->patient = !sound;
    if (link->attempt == link->attempts_max)
        return finish(link, LINK_ERROR_FAULT);
    link->attempt++;
    link->counts.resends++;
    pause_before(link, STAGE_FRAME_OUT, LINK_SETTLE_US);
    return LINK_PENDING;
}

ONCE_A_BURST static enum link_status burst_over(struct link *link)
{
    burst_ends(link, 0);
    switch (link->stage) {
    case STAGE_FRAME_OUT:
        begin_burst(link, STAGE_ANSWER_IN);
        return LINK_PENDING;
    case STAGE_ANSWER_IN:
        return answer_in(link);
    case STAGE_FRAME_IN:
        return frame_in(link);
    default:
        return answer_out(link);
    }
}

/* Nothing moved since the last look: has it lasted too long? */
static enum link_status check_limit(struct link *link, uint32_t now_us)
{
    uint32_t mark =
        link_sends_burst(link) ? link->tx.left << 8 | link->tx.state : link->rx.left << 8 | link->rx.state;
    if (mark != link->mark) {
        link->mark = mark;
        link->moves++;
        link->since_us = now_us;
        return LINK_PENDING;
    }
    uint32_t phase = current_phase(link);
    uint32_t waited_us = now_us - link->since_us;
    return waited_us > limit_us(link, phase) ? give_up(link, phase, waited_us) : LINK_PENDING;
}

/* Whether the board itself was away in mid-burst for so long that the peer has given up. */
static int was_held_up(const struct link *link, uint32_t now_us)
{
    return now_us - link->looked_us > link->phase_limit_us && !is_opening(current_phase(link));
}

enum link_status link_poll(struct link *link)
{
    uint32_t now_us = port_now_us();
    if (link->stage == STAGE_PAUSE) {
        if (now_us - link->since_us >= link->pause_us)
            begin_burst(link, (enum link_stage)link->next_stage);
        return LINK_PENDING;
    }
    if (link->probe && probe_stalls(link->probe, now_us))
        return LINK_PENDING;
    if (was_held_up(link, now_us))
        return give_up(link, PHASE_HELD_UP, now_us - link->looked_us);
    link->looked_us = now_us;
    int out = link_sends_burst(link);
    int opening = out ? link->tx.state == TX_WAIT_GRANT : link->rx.state == RX_WAIT_CLAIM;
    uint32_t accesses = opening ? LINK_ACCESSES_OPENING : link->accesses_per_poll;
    enum handshake_step step;
    if (link->probe || link->on_burst)
        step = watched_step(link, accesses);
    else
        step = out ? link_tx_step(&link->tx, accesses) : link_rx_step(&link->rx, accesses);
    if (step == HANDSHAKE_SEGMENT)
        return out ? next_segment_out(link) : next_segment_in(link);
    if (!out && link->rx.state == RX_CONTESTED)
        return contested(link);
    return step == HANDSHAKE_DONE ? burst_over(link) : check_limit(link, now_us);
}
