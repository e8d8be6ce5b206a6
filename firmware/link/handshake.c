/* handshake.c: the byte machines. Contract: handshake.h. Protocol: docs/protocol.md, section 3.
 * One pass of a machine's loop is one register access. When nobody waits a byte costs the sender 3 writes and
 * 2 reads, the receiver 2 writes and 3 reads. The latch is always written before the direction. */
#include "handshake.h"

#include "port.h"

enum {
    GRANT_READS = 3, /* a released line decays through its pull-down; a grant lasts */
    CLAIM_READS = 2, /* the eight data lines do not rise in the same instant */
};

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

enum handshake_step link_tx_step(struct link_tx *tx, uint32_t accesses)
{
    const struct link_bank bank = tx->bank;
    const uint8_t *at = tx->at;
    uint32_t left = tx->left;
    uint32_t state = tx->state;
    enum handshake_step result = HANDSHAKE_PENDING;

    for (; accesses && result == HANDSHAKE_PENDING; accesses--) {
        switch (state) {
        case TX_WAIT_GRANT:
            tx->seen = port_level() & bank.ack ? (uint8_t)(tx->seen + 1) : 0;
            if (tx->seen == GRANT_READS)
                state = TX_CLAIM_CLEAR;
            break;
        case TX_CLAIM_CLEAR:
            port_clear(bank.clk | bank.data);
            state = TX_CLAIM_SET;
            break;
        case TX_CLAIM_SET:
            port_set(HANDSHAKE_CLAIM << bank.shift);
            state = TX_DRIVE_DATA;
            break;
        case TX_DRIVE_DATA:
            port_outputs(bank.data);
            state = TX_DRIVE_CLK;
            break;
        case TX_DRIVE_CLK:
            port_outputs(bank.clk);
            state = TX_WAIT_CLAIM_TAKEN;
            break;
        case TX_WAIT_CLAIM_TAKEN:
            if (!(port_level() & bank.ack))
                state = TX_PUT_ZEROS;
            break;
        case TX_PUT_ZEROS: /* lowers CLK and changes data: ACK has shown that the byte before was read */
            port_clear(bank.clk | ((~(uint32_t)*at << bank.shift) & bank.data));
            state = TX_PUT_ONES;
            break;
        case TX_PUT_ONES:
            port_set((uint32_t)*at++ << bank.shift);
            state = TX_WAIT_ACK_LOW;
            break;
        case TX_WAIT_ACK_LOW:
            if (!(port_level() & bank.ack))
                state = TX_RAISE_CLK;
            break;
        case TX_RAISE_CLK:
            port_set(bank.clk);
            state = TX_WAIT_ACK_HIGH;
            break;
        case TX_WAIT_ACK_HIGH:
            if (port_level() & bank.ack) {
                state = TX_PUT_ZEROS;
                if (--left == 0) {
                    if (tx->last)
                        state = TX_RELEASE_DATA;
                    else
                        result = HANDSHAKE_SEGMENT;
                }
            }
            break;
        case TX_RELEASE_DATA:
            port_inputs(bank.data);
            state = TX_RELEASE_CLK;
            break;
        case TX_RELEASE_CLK: /* lowers CLK: whoever sees it low knows that nobody drives it */
            port_inputs(bank.clk);
            state = TX_WAIT_RELEASED;
            break;
        case TX_WAIT_RELEASED:
            if (!(port_level() & bank.ack))
                state = TX_DONE;
            break;
        default:
            result = HANDSHAKE_DONE;
            break;
        }
        if (state == TX_DONE)
            result = HANDSHAKE_DONE;
    }
    tx->at = at;
    tx->left = left;
    tx->state = (uint8_t)state;
    return result;
}

enum handshake_step link_rx_step(struct link_rx *rx, uint32_t accesses)
{
    const struct link_bank bank = rx->bank;
    uint8_t *at = rx->at;
    uint32_t left = rx->left;
    uint32_t state = rx->state;
    enum handshake_step result = HANDSHAKE_PENDING;

    for (; accesses && result == HANDSHAKE_PENDING; accesses--) {
        switch (state) {
        case RX_WAIT_QUIET: /* nobody may hold a line when ACK is taken */
            if (!(port_level() & (bank.data | bank.clk | bank.ack)))
                state = RX_GRANT_SET;
            break;
        case RX_GRANT_SET:
            port_set(bank.ack);
            state = RX_GRANT_DRIVE;
            break;
        case RX_GRANT_DRIVE:
            port_outputs(bank.ack);
            state = RX_WAIT_CLAIM;
            break;
        case RX_WAIT_CLAIM:
            rx->seen = (port_level() & bank.data) == HANDSHAKE_CLAIM << bank.shift ? (uint8_t)(rx->seen + 1) : 0;
            if (rx->seen == CLAIM_READS)
                state = RX_TAKE_CLAIM;
            break;
        case RX_TAKE_CLAIM:
        case RX_LOWER_ACK:
            port_clear(bank.ack);
            state = RX_WAIT_CLK_HIGH;
            break;
        case RX_WAIT_CLK_HIGH:
            if (port_level() & bank.clk)
                state = RX_SAMPLE;
            break;
        case RX_SAMPLE: /* a read of its own: data may settle later than CLK */
            *at = (uint8_t)(port_level() >> bank.shift);
            at += rx->step;
            state = RX_RAISE_ACK;
            if (--left == 0 && !rx->last)
                result = HANDSHAKE_SEGMENT;
            break;
        case RX_RAISE_ACK:
            port_set(bank.ack);
            state = RX_WAIT_CLK_LOW;
            break;
        case RX_WAIT_CLK_LOW:
            if (!(port_level() & bank.clk))
                state = left == 0 && rx->last ? RX_RELEASE_ACK : RX_LOWER_ACK;
            break;
        case RX_RELEASE_ACK:
            port_inputs(bank.ack);
            state = RX_DONE;
            break;
        default:
            result = HANDSHAKE_DONE;
            break;
        }
        if (state == RX_DONE)
            result = HANDSHAKE_DONE;
    }
    rx->at = at;
    rx->left = left;
    rx->state = (uint8_t)state;
    return result;
}
