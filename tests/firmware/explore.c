/* explore.c: every interleaving of two boards' handshakes, one register access at a time.
 * Bursts 0 -> 1, 1 -> 0, 0 -> 1, so two reversals. Checked in every reachable state: no contention, no wrong
 * byte, and the end can still be reached (neither deadlock nor livelock). With the argument `abort` either
 * board may also give up at any step (all pins inputs, for good); then only contention is checked: what the other
 * board reads from released wires is for the checksums.
 * Prints the number of states, or what is wrong and returns 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handshake.h"
#include "port.h"

#include "pins.h"

enum {
    BURSTS = 3,
    BYTES_MAX = 3,
    STATES_MAX = 200000,
    HEADER = 1
};

static const uint8_t content[BURSTS][BYTES_MAX] = {{0x5A, 0x00, 0xFF}, {0xA5, 0x3C}, {0x81}};
static const uint32_t length[BURSTS] = {3, 2, 1};
static int sender_of(uint32_t burst) { return burst == 1; }

struct side {
    uint32_t burst; /* BURSTS: finished */
    uint32_t dead;
    struct link_tx tx;
    struct link_rx rx;
    uint8_t received[BYTES_MAX];
};

struct world {
    struct side side[2];
    struct pins pins;
};

static struct world worlds[STATES_MAX];
static uint64_t keys[STATES_MAX][8];
static uint32_t edges[STATES_MAX][4], edge_count[STATES_MAX];
static uint32_t hash_table[1 << 19];
static uint32_t state_count;

static int fail(const char *what, const struct world *world)
{
    printf("%s: board 0 in burst %u, board 1 in burst %u, contention on wires %x\n", what,
           world->side[0].burst, world->side[1].burst, world->pins.contention);
    exit(1);
}

/* What makes two worlds the same; padding and stale pointers are left out. */
static void key_of(const struct world *world, uint64_t key[8])
{
    memset(key, 0, 8 * sizeof key[0]);
    for (int i = 0; i < 2; i++) {
        const struct side *side = &world->side[i];
        int sends = side->burst < BURSTS && sender_of(side->burst) == i;
        key[i] = side->burst | side->dead << 4 | (uint64_t)(sends ? side->tx.state : side->rx.state) << 8 |
                 (uint64_t)(sends ? side->tx.seen : side->rx.seen) << 16 |
                 (uint64_t)(sends ? side->tx.left : side->rx.left) << 24 |
                 (uint64_t)(sends ? side->tx.last : side->rx.last) << 32 |
                 (uint64_t)(sends ? 0 : side->rx.low) << 40;
        key[2 + i] = world->pins.latch[i] | (uint64_t)world->pins.driven[i] << 32;
        memcpy(&key[4 + i], side->received, BYTES_MAX);
    }
    key[6] = world->pins.contention;
}

static void start_burst(struct side *side, int board)
{
    if (side->burst == BURSTS)
        return;
    memset(side->received, 0, sizeof side->received);
    if (sender_of(side->burst) == board)
        link_tx_start(&side->tx, &pins_bank[board], content[side->burst], HEADER,
                      length[side->burst] == HEADER);
    else
        link_rx_start(&side->rx, &pins_bank[board], side->received, HEADER);
}

/* One register access of one board, and what the frame layer does at once after it. */
static void step(struct world *world, int board)
{
    struct side *side = &world->side[board];
    pins = world->pins;
    pins_board = board;
    if (!side->dead && side->burst < BURSTS) {
        int sends = sender_of(side->burst) == board;
        uint32_t total = length[side->burst];
        if (!sends) /* the copied world has its own buffer */
            side->rx.at = side->received + total - side->rx.left - (side->rx.last ? 0 : total - HEADER);
        enum handshake_step result = sends ? link_tx_step(&side->tx, 1) : link_rx_step(&side->rx, 1);
        if (result == HANDSHAKE_SEGMENT && sends)
            link_tx_segment(&side->tx, content[side->burst] + HEADER, total - HEADER, 1);
        else if (result == HANDSHAKE_SEGMENT && total == HEADER)
            link_rx_end(&side->rx);
        else if (result == HANDSHAKE_SEGMENT)
            link_rx_segment(&side->rx, side->received + HEADER, total - HEADER, 0, 1);
        if (result == HANDSHAKE_DONE) {
            if (!sends && !world->side[!board].dead && memcmp(side->received, content[side->burst], total))
                fail("wrong byte", world);
            side->burst++;
            start_burst(side, board);
        }
    }
    world->pins = pins;
    if (pins.contention)
        fail("contention", world);
}

static void give_up(struct world *world, int board)
{
    pins = world->pins;
    pins_board = board;
    port_inputs(pins_bank[board].data | pins_bank[board].clk | pins_bank[board].ack);
    world->pins = pins;
    world->side[board].dead = 1;
}

/* The number of a world, new or known. */
static uint32_t number_of(const struct world *world)
{
    uint64_t key[8];
    uint64_t hash = 1469598103934665603ull;
    key_of(world, key);
    for (int i = 0; i < 8; i++)
        hash = (hash ^ key[i]) * 1099511628211ull ^ key[i] >> 17;
    uint32_t mask = sizeof hash_table / sizeof hash_table[0] - 1;
    uint32_t slot = (uint32_t)(hash >> 20) & mask;
    while (hash_table[slot]) {
        if (!memcmp(keys[hash_table[slot] - 1], key, sizeof key))
            return hash_table[slot] - 1;
        slot = (slot + 1) & mask;
    }
    if (state_count == STATES_MAX)
        fail("too many states", world);
    worlds[state_count] = *world;
    memcpy(keys[state_count], key, sizeof key);
    hash_table[slot] = ++state_count;
    return state_count - 1;
}

static int finished(const struct world *world)
{
    return world->side[0].burst == BURSTS && world->side[1].burst == BURSTS;
}

/* Marks everything from which a finished world can be reached; the graph is small, so sweep until stable. */
static void check_end_reachable(void)
{
    static uint8_t good[STATES_MAX];
    for (int changed = 1; changed;) {
        changed = 0;
        for (uint32_t i = state_count; i-- > 0;) {
            int now = finished(&worlds[i]);
            for (uint32_t e = 0; e < edge_count[i]; e++)
                now |= good[edges[i][e]];
            changed |= now && !good[i];
            good[i] |= (uint8_t)now;
        }
    }
    for (uint32_t i = 0; i < state_count; i++)
        if (!good[i])
            fail("stuck", &worlds[i]);
}

int main(int argc, char **argv)
{
    int with_abort = argc > 1 && !strcmp(argv[1], "abort");
    struct world first = {0};
    for (int board = 0; board < 2; board++)
        start_burst(&first.side[board], board);
    number_of(&first);
    for (uint32_t i = 0; i < state_count; i++) {
        for (int board = 0; board < 2; board++) {
            struct world next = worlds[i];
            step(&next, board);
            edges[i][edge_count[i]++] = number_of(&next);
            if (with_abort && !worlds[i].side[board].dead) {
                next = worlds[i];
                give_up(&next, board);
                edges[i][edge_count[i]++] = number_of(&next);
            }
        }
    }
    if (!with_abort)
        check_end_reachable();
    printf("%u states\n", state_count);
    return 0;
}
