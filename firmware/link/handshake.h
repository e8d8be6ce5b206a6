/* handshake.h: one burst of bytes over ten wires, as two machines that can stop after any register access.
 * Rule: grant before drive, lower by release (docs/protocol.md, section 3). No clock in here: whoever runs a
 * machine decides how long it may stay without progress. Host-buildable; registers only through port.h. */
#ifndef HANDSHAKE_H
#define HANDSHAKE_H

#include <stdint.h>

/* The pins of one bank. D0 is bit `shift`; D0..D7 are contiguous. */
struct link_bank {
    uint32_t data;
    uint32_t clk;
    uint32_t ack;
    uint32_t shift;
};

enum handshake_step {
    HANDSHAKE_PENDING, /* used up its accesses; run it again */
    HANDSHAKE_SEGMENT, /* the segment is used up and was not the last: give the next one, then run again */
    HANDSHAKE_DONE,    /* the burst is over and the lines are idle */
};

enum link_tx_state {
    TX_WAIT_GRANT,
    TX_CLAIM_CLEAR,
    TX_CLAIM_SET,
    TX_DRIVE_DATA,
    TX_DRIVE_CLK,
    TX_WAIT_CLAIM_TAKEN,
    TX_PUT_ZEROS,
    TX_PUT_ONES,
    TX_WAIT_ACK_LOW,
    TX_RAISE_CLK,
    TX_WAIT_ACK_HIGH,
    TX_RELEASE_DATA,
    TX_RELEASE_CLK,
    TX_WAIT_RELEASED,
    TX_DONE,
};

/* Sender of a burst. The burst is made of segments; `last` marks the final one. */
struct link_tx {
    struct link_bank bank;
    const uint8_t *at;
    uint32_t left; /* bytes of the segment that are not acknowledged yet */
    uint8_t last;
    uint8_t state; /* enum link_tx_state */
    uint8_t seen;  /* reads in a row that showed the grant */
};

enum link_rx_state {
    RX_WAIT_QUIET,
    RX_GRANT_SET,
    RX_GRANT_DRIVE,
    RX_WAIT_CLAIM,
    RX_LOWER_ACK, /* also takes the claim */
    RX_WAIT_CLK_HIGH,
    RX_SAMPLE,
    RX_RAISE_ACK,
    RX_WAIT_CLK_LOW,
    RX_RELEASE_ACK,
    RX_DONE,
    RX_LET_GO,
    RX_CONTESTED, /* ACK is low although this side drives it high: it has let go, and stays here */
};

/* Receiver of a burst. At the end of a segment it stops before it acknowledges the byte, so that the
 * caller can look at a header first. `step` 0 writes all bytes to one place: they are not wanted. */
struct link_rx {
    struct link_bank bank;
    uint8_t *at;
    uint32_t left; /* bytes of the segment that have not come yet */
    uint8_t step;  /* 1, or 0 to discard */
    uint8_t last;
    uint8_t state; /* enum link_rx_state */
    uint8_t seen;  /* reads in a row that showed the claim */
    uint8_t low;   /* reads in a row that showed ACK low while this side grants */
};

/* Prepare a burst with its first segment of size_bytes > 0. Touch no register. */
void link_tx_start(struct link_tx *tx, const struct link_bank *bank, const void *segment, uint32_t size_bytes,
                   int last);
void link_rx_start(struct link_rx *rx, const struct link_bank *bank, void *segment, uint32_t size_bytes);

/* After HANDSHAKE_SEGMENT: the next segment, size_bytes > 0. */
void link_tx_segment(struct link_tx *tx, const void *segment, uint32_t size_bytes, int last);
void link_rx_segment(struct link_rx *rx, void *segment, uint32_t size_bytes, int discard, int last);

/* After HANDSHAKE_SEGMENT: the byte just read is the burst's last. */
void link_rx_end(struct link_rx *rx);

/* Do at most `accesses` register accesses. */
enum handshake_step link_tx_step(struct link_tx *tx, uint32_t accesses);
enum handshake_step link_rx_step(struct link_rx *rx, uint32_t accesses);

#endif
