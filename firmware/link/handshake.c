/* handshake.c: the byte machines. Contract: handshake.h. Protocol: docs/protocol.md, section 3.
 * One pass of a machine's loop is one register access. When nobody waits a byte costs the sender 3 writes and
 * 2 reads, the receiver 2 writes and 3 reads. The latch is always written before the direction. */
#include "handshake.h"

#include "link_frames.h"
#include "port.h"

enum {
    GRANT_READS = 3,   /* a released line decays through its pull-down; a grant lasts */
    CLAIM_READS = 2,   /* the eight data lines do not rise in the same instant */
    CONTEST_READS = 4, /* ACK takes its time to rise, through a series resistor too */
};

/* Counts an access; jumps to `pause` with the state that is set when none is left. For the loops below: a branch
 * for each access and no function call is what a byte can afford. */
#define COUNT_ACCESS_OR_GOTO(pause)                                                                          \
    do {                                                                                                     \
        if (accesses-- == 0)                                                                                 \
            goto pause;                                                                                      \
    } while (0)
#define FALL_THROUGH __attribute__((fallthrough))

void link_tx_start(struct link_tx *tx, const struct link_bank *bank, const void *segment, uint32_t size_bytes,
                   int last)
{
    *tx = (struct link_tx){.bank = *bank, .state = TX_WAIT_GRANT};
    link_tx_segment(tx, segment, size_bytes, last);
}

void link_rx_start(struct link_rx *rx, const struct link_bank *bank, void *segment, uint32_t size_bytes)
{
    *rx = (struct link_rx){.bank = *bank, .state = RX_WAIT_QUIET};
    link_rx_segment(rx, segment, size_bytes, 0, 0);
}

void link_tx_segment(struct link_tx *tx, const void *segment, uint32_t size_bytes, int last)
{
    tx->at = segment;
    tx->left = size_bytes;
    tx->last = last != 0;
}

void link_rx_segment(struct link_rx *rx, void *segment, uint32_t size_bytes, int discard, int last)
{
    rx->at = segment;
    rx->left = size_bytes;
    rx->step = !discard;
    rx->last = last != 0;
}

void link_rx_end(struct link_rx *rx) { rx->last = 1; }

/* One access of the opening or the end of a burst; returns the next state. */
static uint32_t tx_edge(struct link_tx *tx, uint32_t state)
{
    const struct link_bank *bank = &tx->bank;
    switch (state) {
    case TX_WAIT_GRANT:
        tx->seen = port_level() & bank->ack ? (uint8_t)(tx->seen + 1) : 0;
        return tx->seen == GRANT_READS ? TX_CLAIM_CLEAR : TX_WAIT_GRANT;
    case TX_CLAIM_CLEAR:
        port_clear(bank->clk | bank->data);
        return TX_CLAIM_SET;
    case TX_CLAIM_SET:
        port_set(LINK_CLAIM << bank->shift);
        return TX_DRIVE_DATA;
    case TX_DRIVE_DATA:
        port_outputs(bank->data);
        return TX_DRIVE_CLK;
    case TX_DRIVE_CLK:
        port_outputs(bank->clk);
        return TX_WAIT_CLAIM_TAKEN;
    case TX_WAIT_CLAIM_TAKEN:
        return port_level() & bank->ack ? TX_WAIT_CLAIM_TAKEN : TX_PUT_ZEROS;
    case TX_RELEASE_DATA:
        port_inputs(bank->data);
        return TX_RELEASE_CLK;
    case TX_RELEASE_CLK: /* lowers CLK: whoever sees it low knows that nobody drives it */
        port_inputs(bank->clk);
        return TX_WAIT_RELEASED;
    case TX_WAIT_RELEASED:
        return port_level() & bank->ack ? TX_WAIT_RELEASED : TX_DONE;
    default:
        return TX_DONE;
    }
}

/* The states of a byte fall through to each other, so that a peer that keeps up costs no dispatch. */
enum handshake_step link_tx_step(struct link_tx *tx, uint32_t accesses)
{
    const uint32_t data = tx->bank.data, clk = tx->bank.clk, ack = tx->bank.ack, shift = tx->bank.shift;
    const uint8_t *at = tx->at;
    uint32_t left = tx->left;
    uint32_t state = tx->state;
    enum handshake_step result = HANDSHAKE_PENDING;

    while (accesses--) {
        switch (state) {
        put_zeros:
        case TX_PUT_ZEROS: /* lowers CLK and changes data: ACK has shown that the byte before was read */
            port_clear(clk | ((~(uint32_t)*at << shift) & data));
            state = TX_PUT_ONES;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case TX_PUT_ONES:
            port_set((uint32_t)*at++ << shift);
            state = TX_WAIT_ACK_LOW;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case TX_WAIT_ACK_LOW:
            while (port_level() & ack)
                COUNT_ACCESS_OR_GOTO(pause);
            state = TX_RAISE_CLK;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case TX_RAISE_CLK:
            port_set(clk);
            state = TX_WAIT_ACK_HIGH;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case TX_WAIT_ACK_HIGH:
            while (!(port_level() & ack))
                COUNT_ACCESS_OR_GOTO(pause);
            state = TX_PUT_ZEROS;
            if (--left) {
                COUNT_ACCESS_OR_GOTO(pause);
                goto put_zeros;
            }
            if (!tx->last) {
                result = HANDSHAKE_SEGMENT;
                goto pause;
            }
            state = TX_RELEASE_DATA;
            continue;
        default:
            state = tx_edge(tx, state);
            if (state == TX_DONE) {
                result = HANDSHAKE_DONE;
                goto pause;
            }
            continue;
        }
    }
pause:
    tx->at = at;
    tx->left = left;
    tx->state = (uint8_t)state;
    return result;
}

/* One access of the opening or the end of a burst; returns the next state. */
static uint32_t rx_edge(struct link_rx *rx, uint32_t state)
{
    const struct link_bank *bank = &rx->bank;
    uint32_t level;
    switch (state) {
    case RX_WAIT_QUIET: /* nobody may hold a line when ACK is taken */
        level = port_level() & (bank->data | bank->clk | bank->ack);
        return level ? RX_WAIT_QUIET : RX_GRANT_SET;
    case RX_GRANT_SET:
        port_set(bank->ack);
        return RX_GRANT_DRIVE;
    case RX_GRANT_DRIVE:
        port_outputs(bank->ack);
        return RX_WAIT_CLAIM;
    case RX_WAIT_CLAIM:
        level = port_level();
        rx->low = level & bank->ack ? 0 : (uint8_t)(rx->low + 1);
        if (rx->low == CONTEST_READS)
            return RX_LET_GO;
        level &= bank->data;
        rx->seen = level == LINK_CLAIM << bank->shift ? (uint8_t)(rx->seen + 1) : 0;
        return rx->seen == CLAIM_READS ? RX_LOWER_ACK : RX_WAIT_CLAIM;
    case RX_LET_GO:
        port_inputs(bank->ack);
        return RX_CONTESTED;
    case RX_CONTESTED:
        (void)port_level();
        return RX_CONTESTED;
    case RX_RELEASE_ACK:
        port_inputs(bank->ack);
        return RX_DONE;
    default:
        return RX_DONE;
    }
}

enum handshake_step link_rx_step(struct link_rx *rx, uint32_t accesses)
{
    const uint32_t clk = rx->bank.clk, ack = rx->bank.ack, shift = rx->bank.shift, step = rx->step;
    uint8_t *at = rx->at;
    uint32_t left = rx->left;
    uint32_t state = rx->state;
    enum handshake_step result = HANDSHAKE_PENDING;

    while (accesses--) {
        switch (state) {
        lower_ack:
        case RX_LOWER_ACK:
            port_clear(ack);
            state = RX_WAIT_CLK_HIGH;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case RX_WAIT_CLK_HIGH:
            while (!(port_level() & clk))
                COUNT_ACCESS_OR_GOTO(pause);
            state = RX_SAMPLE;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case RX_SAMPLE: /* a read of its own: data may settle later than CLK */
            *at = (uint8_t)(port_level() >> shift);
            at += step;
            state = RX_RAISE_ACK;
            if (--left == 0 && !rx->last) {
                result = HANDSHAKE_SEGMENT;
                goto pause;
            }
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case RX_RAISE_ACK:
            port_set(ack);
            state = RX_WAIT_CLK_LOW;
            COUNT_ACCESS_OR_GOTO(pause);
            FALL_THROUGH;
        case RX_WAIT_CLK_LOW:
            while (port_level() & clk)
                COUNT_ACCESS_OR_GOTO(pause);
            if (left) {
                state = RX_LOWER_ACK;
                COUNT_ACCESS_OR_GOTO(pause);
                goto lower_ack;
            }
            state = rx->last ? RX_RELEASE_ACK : RX_LOWER_ACK;
            continue;
        default:
            state = rx_edge(rx, state);
            if (state == RX_DONE) {
                result = HANDSHAKE_DONE;
                goto pause;
            }
            continue;
        }
    }
pause:
    rx->at = at;
    rx->left = left;
    rx->state = (uint8_t)state;
    return result;
}
