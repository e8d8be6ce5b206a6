/* pins.h: ten wires between two boards for host tests: latches, directions, pull-downs, contention.
 * Board 0's high bank (GPIO 16..25) is wired to board 1's low bank (GPIO 4..13). port_*() act on pins_board. */
#ifndef PINS_H
#define PINS_H

#include <stdint.h>

#include "handshake.h"

struct pins {
    uint32_t latch[2]; /* by board, as ten wire bits: D0..D7, CLK, ACK */
    uint32_t driven[2];
    uint32_t contention; /* wires on which both outputs met with different levels, ever */
    uint32_t fought;     /* reads while they did: how long it lasted */
};

static struct pins pins;
static int pins_board;
static uint32_t pins_flip; /* wires that read inverted in the next port_level() */

static const struct link_bank pins_bank[2] = {
    {.data = 0xFFu << 16, .clk = 1u << 24, .ack = 1u << 25, .shift = 16},
    {.data = 0xFFu << 4, .clk = 1u << 12, .ack = 1u << 13, .shift = 4},
};

static uint32_t wires_of(uint32_t pin_mask) { return pin_mask >> pins_bank[pins_board].shift & 0x3FF; }

static void check_contention(void)
{
    pins.contention |= pins.driven[0] & pins.driven[1] & (pins.latch[0] ^ pins.latch[1]);
}

uint32_t port_level(void)
{
    uint32_t fight = pins.driven[0] & pins.driven[1] & (pins.latch[0] ^ pins.latch[1]); /* reads low */
    uint32_t high = ((pins.driven[0] & pins.latch[0]) | (pins.driven[1] & pins.latch[1])) & ~fight;
    pins.fought += fight != 0;
    uint32_t level = (high ^ pins_flip) << pins_bank[pins_board].shift;
    pins_flip = 0;
    return level;
}

void port_set(uint32_t pin_mask)
{
    pins.latch[pins_board] |= wires_of(pin_mask);
    check_contention();
}

void port_clear(uint32_t pin_mask)
{
    pins.latch[pins_board] &= ~wires_of(pin_mask);
    check_contention();
}

void port_outputs(uint32_t pin_mask)
{
    pins.driven[pins_board] |= wires_of(pin_mask);
    check_contention();
}

void port_inputs(uint32_t pin_mask) { pins.driven[pins_board] &= ~wires_of(pin_mask); }

#endif
